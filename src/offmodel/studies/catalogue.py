"""Finding a study by name or by the path of its file.

Invariant: building a study loads no model and computes nothing, so its mistakes show in a second.
"""

import importlib
import importlib.util
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from offmodel.core.errors import OffmodelError, UnknownName, UserError
from offmodel.data import Sources
from offmodel.studies.study import BuildStudy, Study
from offmodel.studies.tokens import check_tokens

STUDIES = {
    "quickstart": "offmodel.studies.quickstart",
    "relapse": "offmodel.studies.relapse",
    "paper": "offmodel.studies.paper",
    "pocket-methods": "offmodel.studies.pocket_methods",
}


class StudyError(UserError):
    """A study file that raises or has no `study` function; the message holds the file's own traceback."""


def load_study(name: str) -> Study:
    """The study of a name, or of a Python file with a function `study(sources) -> Study`.

    Raises:
        UnknownName: there is no such study.
        StudyError: the file raises.
        ModelError: a method needs equal tokenizers and is given two different ones.
    """
    sources = Sources()
    if name.endswith(".py"):
        study = _build_file(Path(name), sources)
    elif name in STUDIES:
        study = importlib.import_module(STUDIES[name]).study(sources)
    else:
        raise UnknownName("study", name, STUDIES)
    check_tokens(study.cells, sources.locations)
    return replace(study, locations=tuple(sorted(sources.locations.items())))


def _build_file(path: Path, sources: Sources) -> Study:
    if not path.is_file():
        raise UserError(f"There is no study file {path}; give the path of a Python file.")
    _look_beside(path.resolve().parent)
    try:
        module = module_of(path, f"study_{path.stem}")
        build: BuildStudy | None = getattr(module, "study", None)
        if build is None:
            raise StudyError(f"The study file {path} has no function 'study(sources)'; add one that returns a Study.")
        return build(sources)
    except OffmodelError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the user's own file raises is shown with its own traceback
        raise StudyError(f"The study file {path} raises:\n{_own_traceback(error, path)}") from None


def module_of(path: Path, name: str) -> ModuleType:
    """A study file as a module of this name: another study may build on its pieces."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while they are made.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _look_beside(folder: Path) -> None:
    """Let a study file import the modules beside it, as `python FILE` does.

    The folder stays on the path until a study of another folder is loaded, since recipes import while they are
    computed; it comes last, so that no file in it hides a package.
    """
    for old in _beside - {folder}:
        _beside.remove(old)
        sys.path[:] = [p for p in sys.path if p != str(old)]
        # A module of the same name beside another study is another module.
        for name in [n for n, module in sys.modules.items() if _lies_in(old, n, getattr(module, "__file__", None))]:
            del sys.modules[name]
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        _beside.add(folder)
    importlib.invalidate_caches()


_beside: set[Path] = set()


def _lies_in(folder: Path, name: str, file: str | None) -> bool:
    first = folder / name.partition(".")[0]
    return file is not None and (Path(file) == first.with_suffix(".py") or Path(file).is_relative_to(first))


def _own_traceback(error: Exception, path: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, f in enumerate(frames) if Path(f.filename).resolve() == path.resolve()]
    # A slip of syntax is found before the file has a frame; its message names the line.
    lines = traceback.format_list(frames[own[0] :]) if own else []
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()
