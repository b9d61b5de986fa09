"""Execution of one recipe, or of a group of one class, in this process: lock, stage, compute, publish.

This module refuses to know which recipe comes next and who asked for it. It waits for no turn: what another process
computes is reported as busy. Invariant: every recipe given gets exactly one outcome, and whatever is reported as
finished lies in the store, and on the shelf if there is one; what the shelf alone refused is kept, and reported as
failed.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.core.errors import OffmodelError, RunError, StoreError
from offmodel.flow.meter import Meter
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.exchange import share
from offmodel.store.publication import full_disk, publish
from offmodel.store.recipe import Facts, Job, Progress, Recipe, Runtime, folder_name
from offmodel.store.turns import take_turn
from offmodel.store.workspace import Workspace, check_inputs, make_job, prepare


@dataclass(frozen=True, slots=True)
class Finished:
    """The artifact is there. `seconds` is what computing it took, None if another process did it."""

    digest: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process computes it."""

    digest: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot be computed."""

    digest: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Its group broke before its turn came, perhaps through another member: to be tried alone."""

    digest: str


Outcome = Finished | Busy | Failed | Unfinished


def execute(
    store: Store, recipes: Sequence[Recipe], runtime: Runtime, progress: Callable[[str], Progress]
) -> Iterator[Outcome]:
    """Compute recipes of one class, all whose lock is free, and publish each as it is finished.

    Args:
        store: where to.
        recipes: one recipe, or several of one class and batch key whose parents are in the store.
        runtime: device, threads and such.
        progress: gives the taker of a recipe's progress, by digest.
    """
    mine: list[Recipe] = []
    with ExitStack() as held:
        for recipe in recipes:
            outcome = _begin(store, recipe, held)
            if outcome is None:
                mine.append(recipe)
            else:
                yield outcome
        if mine:
            yield from _compute(store, mine, runtime, progress)


def _begin(store: Store, recipe: Recipe, held: ExitStack) -> Outcome | None:
    """Take the turn of a recipe; None if it is to be computed here now."""
    try:
        with full_disk(store.root):
            turn = take_turn(store, recipe.digest)
            if turn is None:
                return Busy(recipe.digest)
            held.callback(turn.release)
            artifact = store.find(recipe, fresh=True)
            there = artifact is not None and store.at_hand(artifact)
            if artifact is not None and store.shelf is not None and not store.shelf.has(artifact.label, fresh=True):
                share(store, artifact)  # it was computed here when the shelf could not be reached
    except Exception as error:  # noqa: BLE001 -- as below; a lock file that cannot be made must not end a worker
        return Failed(recipe.digest, _explain(store, recipe, error))
    return Finished(recipe.digest, None) if there else None


def _compute(
    store: Store, mine: list[Recipe], runtime: Runtime, progress: Callable[[str], Progress]
) -> Iterator[Outcome]:
    left = {r.digest for r in mine}
    try:
        with full_disk(store.root):
            spaces = [prepare(store, r) for r in mine]
            jobs = [make_job(r, s, runtime, progress(r.digest)) for r, s in zip(mine, spaces, strict=True)]
            for i, facts, seconds, work in _timed(type(mine[0]), jobs, runtime):
                if isinstance(facts, OffmodelError):
                    left.remove(mine[i].digest)
                    yield Failed(mine[i].digest, _explain(store, mine[i], facts))
                    continue
                machine = _machine(runtime, mine) | work
                artifact = _finish(store, mine[i], spaces[i], facts=facts, seconds=seconds, machine=machine)
                left.remove(mine[i].digest)
                try:
                    if store.shelf is not None:
                        share(store, artifact)
                except StoreError as error:  # the shelf's trouble: what others of the group compute can still be kept
                    yield Failed(mine[i].digest, _explain(store, mine[i], error))
                else:
                    yield Finished(mine[i].digest, seconds)
        if left:
            raise RunError(f"{type(mine[0]).__name__}.execute_many left out {len(left)} of {len(mine)} jobs.")
    except Exception as error:  # noqa: BLE001 -- one failure must not stop other work; it is raised at the run's end
        for recipe in (r for r in mine if r.digest in left):
            yield Unfinished(recipe.digest) if len(mine) > 1 else Failed(recipe.digest, _explain(store, recipe, error))


def _timed(
    cls: type[Recipe], jobs: list[Job], runtime: Runtime
) -> Iterator[tuple[int, Facts | OffmodelError, float, dict[str, float]]]:
    """Index, facts, seconds since the one before, and the device's work in them: a group's times add up to its own."""
    with Meter(runtime.device, runtime.threads) as meter:
        mark = time.perf_counter()
        for i, facts in cls.execute_many(jobs) if len(jobs) > 1 else ((0, cls.execute(j)) for j in jobs):
            now = time.perf_counter()
            yield i, facts, now - mark, meter.lap()
            mark = time.perf_counter()


def _finish(
    store: Store, recipe: Recipe, space: Workspace, *, facts: Facts, seconds: float, machine: dict[str, Any]
) -> Artifact:
    check_inputs(recipe, space)
    artifact = publish(store, recipe, space, facts=facts, seconds=seconds, machine=machine)
    with suppress(OSError):  # an old traceback that stays takes nothing from what is published
        failure_file(store, recipe).unlink()
    return artifact


def _machine(runtime: Runtime, group: list[Recipe]) -> dict[str, Any]:
    found: dict[str, Any] = {"device": runtime.device, "threads": runtime.threads, "micro_batch": runtime.micro_batch}
    torch = sys.modules.get("torch")  # named only if the execution has loaded it: flow itself never does
    # What asked for a GPU may have been computed without one; to name it must not fail what is finished.
    if torch is not None and runtime.device.startswith("cuda") and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    if len(group) > 1:
        # One name for the group, not all its members: each of hundreds of records would hold hundreds of digests.
        found |= {"group": min(r.digest for r in group), "group_size": len(group)}
    return found


def failure_file(store: Store, recipe: Recipe) -> Path:
    """Where the traceback of an unexpected error of this recipe is kept."""
    return store.failures / f"{folder_name(recipe).replace('/', '-')}.txt"


def _explain(store: Store, recipe: Recipe, error: Exception) -> Exception:
    """The error as the user shall see it; the traceback of an unexpected one goes into a file."""
    label = f"{recipe.kind}/{recipe.name()}"
    if isinstance(error, OffmodelError):
        error.add_note(f"While computing {label} ({recipe.digest[:12]}).")
        return error
    path = failure_file(store, recipe)
    where = f"traceback in {path}"
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError as trouble:  # a disk that is full takes no traceback; the error itself must still be told
        where = f"its traceback could not be kept: {trouble.strerror or trouble}"
    text = (str(error).strip() or "no message").splitlines()[0]
    return RunError(f"{label} failed with {type(error).__name__}: {text} ({where}).")
