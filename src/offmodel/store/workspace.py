"""Where an execution works: a folder with a neutral name, its staged inputs, its output and its scratch.

A treatment must not learn from a path what was planted. So the work folder is named by a one-way hash of the digest,
inputs are staged by hard link as `inputs/<field>[/<i>]`, and no record lies below the work folder while the execution
runs. This module refuses to know recipes' meaning. Invariant: the same recipe gets the same work folder, so its
scratch is found again after a kill.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, final

from offmodel.core.errors import RunError, StoreError
from offmodel.store.artifacts import PAYLOAD, Artifact, Store
from offmodel.store.locks import attempt
from offmodel.store.recipe import Job, Payload, Progress, Recipe, Runtime, holds_parents


def work_key(digest: str) -> str:
    """The name of a digest's work folder and lock, from which the digest cannot be told."""
    return hashlib.sha256(f"offmodel work {digest}".encode()).hexdigest()[:24]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """An execution's folder below the store's `tmp/`.

    Attributes:
        root: the work folder: `inputs/`, `artifact/payload/` and `scratch/`.
        parents: field, digest and content of each parent, for the record.
        given: the parents' files in the store, as they were when they were staged.
    """

    root: Path
    parents: tuple[dict[str, Any], ...]
    given: tuple["Given", ...]

    @property
    def artifact(self) -> Path:
        """The folder that becomes the artifact."""
        return self.root / "artifact"

    @property
    def payload(self) -> Path:
        """The folder that the execution writes to."""
        return self.artifact / PAYLOAD


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A parent's file in the store, and its state before the execution began.

    A record's own time says nothing here: a store that was copied without times has files younger than their records.

    Attributes:
        field: the recipe's field that holds the parent.
        name: the file's path inside the payload.
        folder: the parent's artifact.
        state: size, time of modification in nanoseconds, inode.
    """

    field: str
    name: str
    folder: Path
    state: tuple[int, int, int]


def prepare(store: Store, recipe: Recipe) -> Workspace:
    """Make a recipe's work folder: empty output, staged inputs, the scratch of a run that was killed, if any.

    The caller holds the recipe's lock.

    Raises:
        StoreError: a parent is missing, or only its record is there, or one of its files has another size.
    """
    root = store.tmp / work_key(recipe.digest)
    for part in ("inputs", "artifact", "replaced"):
        remove(root / part)
    (root / "artifact" / PAYLOAD).mkdir(parents=True)
    (root / "scratch").mkdir(exist_ok=True)
    parents: list[dict[str, Any]] = []
    given: list[Given] = []
    for field, place, parent in _places(recipe):
        artifact = store.whole(parent)
        if artifact is None or artifact.record_only:
            raise StoreError(
                f"The parent {parent.kind}/{parent.name()} of {recipe.kind}/{recipe.name()} is no longer in the store; "
                "run again, and it is computed."
            )
        given += _look_at(artifact, field)
        stage(artifact, root / "inputs" / place)
        parents.append({"field": field, "digest": parent.digest, "content": artifact.content})
    return Workspace(root=root, parents=tuple(parents), given=tuple(given))


def make_job(recipe: Recipe, space: Workspace, runtime: Runtime, progress: Progress) -> Job:
    """What the recipe's `execute` receives: plain fields, payload handles, folders. No recipe, no digest of one."""
    holders = holds_parents(recipe)
    names = [f.name for f in fields(recipe)]
    contents = iter(p["content"] for p in space.parents)
    inputs: dict[str, Any] = {}
    for name in (n for n in names if n in holders):
        value, folder = getattr(recipe, name), space.root / "inputs" / name
        if isinstance(value, tuple):
            inputs[name] = tuple(Payload(folder / str(i), next(contents)) for i in range(len(value)))
        else:
            inputs[name] = None if value is None else Payload(folder, next(contents))
    return Job(
        params=SimpleNamespace(**{n: getattr(recipe, n) for n in names if n not in holders}),
        inputs=inputs,
        out=space.payload,
        scratch=space.root / "scratch",
        # A plugin may be the path of a study file, which can hold the hidden instruction.
        runtime=replace(runtime, plugins=()),
        progress=progress,
    )


def stage(artifact: Artifact, folder: Path) -> None:
    """Put an artifact's files into a folder, by hard link where the file system can."""
    folder.mkdir(parents=True)
    for entry in artifact.payload.rglob("*"):
        target = folder / entry.relative_to(artifact.payload)
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(entry, target)
        except OSError:  # another file system, or one without links: a copy gives the same bytes
            shutil.copyfile(entry, target)


def check_inputs(recipe: Recipe, space: Workspace) -> None:
    """Check that an execution left its inputs as they were: read-only files do not stop the superuser.

    Raises:
        RunError: the size or the time of modification of a parent's file has changed since it was staged.
    """
    for given in space.given:
        now = _state(given.folder / PAYLOAD / given.name)
        # Another inode is another file: the parent was evicted and computed again by another run meanwhile.
        if now is not None and now[2] == given.state[2] and now != given.state:
            raise RunError(
                f"{recipe.kind}/{recipe.name()} wrote into its input '{given.field}' ({given.name}), which damages the "
                f"store; let it write to job.out only, and delete {given.folder}."
            )


def tidy(store: Store, recipes: Iterable[Recipe]) -> None:
    """Remove work folders of recipes whose artifacts are there: a kill came between publishing and cleaning up."""
    left = {e.name for e in store.tmp.iterdir()} if store.tmp.is_dir() else set()
    for recipe in recipes if left else ():
        key = work_key(recipe.digest)
        if key in left:
            with attempt(store.locks, key) as free:
                artifact = store.find(recipe)
                if free and artifact is not None and not artifact.record_only:
                    remove(store.tmp / key)


def remove(folder: Path) -> None:
    """Delete a folder and what is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def _look_at(artifact: Artifact, field: str) -> list[Given]:
    found: list[Given] = []
    for name, sealed in artifact.record["files"].items():
        state = _state(artifact.payload / name)
        if state is None:
            continue
        if state[0] != sealed["bytes"]:
            raise StoreError(
                f"{artifact.label}/payload/{name} has {state[0]} bytes where its record says {sealed['bytes']}; delete "
                f"{artifact.folder}, and it is computed again."
            )
        found.append(Given(field=field, name=name, folder=artifact.folder, state=state))
    return found


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


def _places(recipe: Recipe) -> list[tuple[str, str, Recipe]]:
    """Field, place below `inputs/`, and parent, in field order."""
    found: list[tuple[str, str, Recipe]] = []
    for name in (f.name for f in fields(recipe)):
        value = getattr(recipe, name)
        if isinstance(value, Recipe):
            found.append((name, name, value))
        elif isinstance(value, tuple):
            found += [(name, f"{name}/{i}", v) for i, v in enumerate(value) if isinstance(v, Recipe)]
    return found
