"""Puts the toy recipes of the store's tests on the path, where worker processes find them too."""

import sys
from pathlib import Path

import pytest

from offmodel.flow.runner import run
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "store")]


@pytest.fixture
def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that takes a line for each execution of a toy recipe."""
    path = tmp_path / "executions.txt"
    path.touch()
    monkeypatch.setenv("TOY_LOG", str(path))
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests and contents of the toy study, computed without interruption."""
    from toy_study import contents, targets

    store = Store(tmp_path_factory.mktemp("reference") / "store")
    run(targets(), store=store, runtime=Runtime(), workers=0)
    return contents(store)
