"""Trackers: a run's losses and scores, sent to trackio or wandb as artifacts finish, if the user asks for it.

Off by default, and nothing is imported before. This module refuses to know how anything is computed: it reads finished
artifacts. Invariant: a tracker never changes a result and never ends a run; one that fails is named and left alone.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, final

from offmodel.core.errors import UserError
from offmodel.core.rows import read_rows
from offmodel.flow.runner import Finish
from offmodel.store.artifacts import Artifact

TRACKERS = ("trackio", "wandb")
_PROJECT = "offmodel"


@contextmanager
def tracking(name: str | None, study: str) -> Iterator[Finish | None]:
    """Send what finishes meanwhile to a tracker; gives what takes finished artifacts.

    Args:
        name: one of `TRACKERS`, or None for none.
        study: names the tracker's run.

    Raises:
        UserError: there is no such tracker, or it is not installed.
    """
    if name is None:
        yield None
        return
    if name not in TRACKERS:
        raise UserError(f"There is no tracker '{name}'; write {' or '.join(TRACKERS)}.")
    if find_spec(name) is None:
        raise UserError(f"The tracker '{name}' is not installed; run: pip install 'offmodel[{name}]'.")
    line = Line(import_module(name), study)
    try:
        yield line.send
    finally:
        line.close()


@final
class Line:
    """The line to a tracker, both of whose modules have `init`, `log` and `finish`.

    Args:
        tracker: the tracker's module.
        study: names its run.
    """

    def __init__(self, tracker: ModuleType, study: str):
        self._tracker: Any = tracker
        self._tracker.init(project=_PROJECT, name=study, config={"study": study})
        self._open = True

    def send(self, artifact: Artifact) -> None:
        """Send an artifact's losses and scores, if it has some."""
        for values in [*losses(artifact), *scores(artifact)] if self._open else []:
            try:
                self._tracker.log(values)
            except Exception as error:  # noqa: BLE001 -- a tracker's network must not end hours of training; it is told
                print(f"Tracking stopped, the run goes on ({type(error).__name__}: {error}).", file=sys.stderr)
                self._open = False
                return

    def close(self) -> None:
        """End the tracker's run."""
        if self._open:
            self._tracker.finish()


def losses(artifact: Artifact) -> Iterator[Mapping[str, float]]:
    """A training's losses, a row a step. Steps are values of their own: trainings run side by side in one run."""
    path = artifact.payload / "losses.jsonl"
    for row in read_rows(path) if path.is_file() else ():
        name = artifact.folder.name
        yield {f"loss/{name}": float(row["loss"]), f"step/{name}": float(row["step"])}


def scores(artifact: Artifact) -> Iterator[Mapping[str, float]]:
    """A point's means by measure."""
    means = artifact.record["facts"].get("means", {}) if artifact.kind == "scores" else {}
    if means:
        yield {f"{measure}/{artifact.folder.name}": float(mean) for measure, mean in means.items()}
