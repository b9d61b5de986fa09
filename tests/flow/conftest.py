"""Puts the toy recipes of the store's tests on the path, where worker processes find them too."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "store")]


@pytest.fixture
def executions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that takes a line for each execution of a toy recipe."""
    path = tmp_path / "executions.txt"
    path.touch()
    monkeypatch.setenv("TOY_LOG", str(path))
    return path
