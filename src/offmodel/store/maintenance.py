"""Keeping a store small: leftovers, artifacts that nothing needs, weights that can be computed again.

This module refuses to touch what a running process holds: it takes the same locks as computations do. Invariant: rows
and records of an artifact are deleted only with the whole artifact.
"""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from offmodel.store.artifacts import EVICTED, Artifact, Store
from offmodel.store.locks import attempt
from offmodel.store.publication import full_disk
from offmodel.store.records import sync_folder, write_json
from offmodel.store.workspace import remove, work_key

WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt")
_SCRATCH_KEPT = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was removed, or would be.

    Attributes:
        what: paths below the store's root.
        bytes: their size.
    """

    what: tuple[str, ...]
    bytes: int


def gc(
    store: Store, *, keep: Collection[str] | None = None, older_than: float | None = None, dry_run: bool = False
) -> Swept:
    """Remove leftovers of killed runs and, if asked, artifacts that are no longer wanted.

    Args:
        store: where.
        keep: digests of the artifacts to keep, for example all of `flow.graph.closure(study.targets)`; the others go.
        older_than: of the others, only those finished so many seconds ago or more go. Without `keep`, artifacts of
            this age go. Without both, no artifact goes.
        dry_run: only say what would go.

    A killed training's checkpoints are kept for a day, so that it can go on.
    """
    now = time.time()
    what: list[str] = []
    size = 0
    for folder in sorted(store.tmp.iterdir()) if store.tmp.is_dir() else []:
        with attempt(store.locks, folder.name) as free:
            if not free or (_has_scratch(folder) and now - _last_written(folder) < _SCRATCH_KEPT):
                continue
            what.append(f"tmp/{folder.name}")
            size += size_of(folder)
            if not dry_run:
                remove(folder)
    for artifact in list(store.all()) if keep is not None or older_than is not None else []:
        if keep is not None and artifact.digest in keep:
            continue
        if older_than is not None and now - artifact.stamp / 1e9 < older_than:
            continue
        with attempt(store.locks, work_key(artifact.digest)) as free:
            if not free:
                continue
            what.append(artifact.label)
            size += size_of(artifact.folder)
            if not dry_run:
                _delete(store, artifact)
    return Swept(what=tuple(what), bytes=size)


def evict(store: Store, artifacts: Iterable[Artifact], *, dry_run: bool = False) -> Swept:
    """Delete the weights of artifacts, which become record-only: numbers and rows stay.

    They are computed again only if something missing needs them.

    Args:
        store: where.
        artifacts: whose weights go; those without weights stay as they are.
        dry_run: only say what would go.

    Raises:
        StoreError: the disk is too full for the note of what is gone; the artifact at hand keeps its weights.
    """
    what: list[str] = []
    size = 0
    for artifact in artifacts:
        weights = [n for n in artifact.record["files"] if n.endswith(WEIGHTS) and (artifact.payload / n).exists()]
        if not weights:  # one that is record-only may have some: a kill came between the note and their end
            continue
        with attempt(store.locks, work_key(artifact.digest)) as free:
            if not free:
                continue
            what += [f"{artifact.label}/payload/{name}" for name in weights]
            size += sum(artifact.record["files"][n]["bytes"] for n in weights)
            if not dry_run:
                gone = [n for n in artifact.record["files"] if not (artifact.payload / n).exists()]
                with full_disk(store.root):
                    mark_record_only(artifact.folder, {*weights, *gone})
                for name in weights:
                    (artifact.payload / name).unlink()
    return Swept(what=tuple(what), bytes=size)


def mark_record_only(folder: Path, missing: Collection[str]) -> None:
    """Note which payload files are not there. Written before they are deleted, so no kill leaves a false whole.

    The note is there whole or not at all: on a full disk nothing changes.
    """
    draft = folder / f"{EVICTED}.draft"
    draft.unlink(missing_ok=True)
    try:
        write_json(draft, {"files": sorted(missing)})
        draft.replace(folder / EVICTED)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(folder)


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; a file with several links counts each time."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())


def _has_scratch(folder: Path) -> bool:
    scratch = folder / "scratch"
    return scratch.is_dir() and any(scratch.iterdir())


def _last_written(folder: Path) -> float:
    # Writing below scratch/ leaves the times of the folders above as they were.
    return max(p.lstat().st_mtime for p in (folder, folder / "scratch", *(folder / "scratch").rglob("*")))


def _delete(store: Store, artifact: Artifact) -> None:
    # Renamed first: a kill in the middle of deleting leaves a leftover in tmp/, never half an artifact.
    store.tmp.mkdir(exist_ok=True)
    grave = store.tmp / work_key("deleted " + artifact.digest)
    remove(grave)
    artifact.folder.rename(grave)
    remove(grave)
