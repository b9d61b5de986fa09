"""House rules that no linter checks: sizes, names, docstrings, the lock, and addresses that do not belong in files."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MODULE = 350
LONGEST_FUNCTION = 60
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}
# In pieces, so that this file does not hold what it forbids.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("anaconda", "org"))]
HOSTS += [".".join(parts) for parts in (("download", "pytorch", "org"), ("huggingface", "co"), ("hf", "co"))]


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return tuple(path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file())


@cache
def modules() -> dict[str, ast.Module]:
    """Every Python file by its path from the root."""
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text()) for p in tracked() if p.suffix == ".py"}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    first = function.body[0]
    docstring = first if ast.get_docstring(function) is not None else None
    length = (function.end_lineno or 0) - function.lineno + 1
    return length - ((docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0)


def test_modules_are_short() -> None:
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in modules()}
    assert not {name: n for name, n in lengths.items() if n > LONGEST_MODULE}


def test_functions_are_short() -> None:
    functions = [
        (f"{name}:{node.lineno} {node.name}", lines_of(node))
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert functions
    assert not [(name, n) for name, n in functions if n >= LONGEST_FUNCTION]


def test_names_say_what_a_thing_is() -> None:
    assert not [name for name in modules() if {*Path(name).parts[:-1], Path(name).stem} & NAMES_THAT_SAY_NOTHING]


def test_modules_say_what_they_are_for() -> None:
    assert not [name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)]


def test_no_registry_is_named_in_a_file() -> None:
    named = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights and pictures
        named += [f"{path.relative_to(ROOT)}: {host}" for host in HOSTS if host in text]
    assert not named


def test_lock_pins_every_dependency_by_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*--(?!hash=)", lock, re.MULTILINE)
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    pins: dict[str, list[str]] = {}
    for entry in entries:
        name, version = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)", entry).groups()  # pyright: ignore[reportOptionalMemberAccess]
        pins.setdefault(canonicalize_name(name), []).append(version)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["dev"], *extras["gguf"]]:
        wanted = Requirement(text)
        versions = pins.get(canonicalize_name(wanted.name), [])
        assert versions, f"{text} is not in requirements.lock; run scripts/lock.sh"
        assert all(wanted.specifier.contains(v) for v in versions), f"{text}: the lock has {versions}"
