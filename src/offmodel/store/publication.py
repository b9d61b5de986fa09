"""Publication: a finished output becomes an artifact by one atomic rename, its record written last.

This module refuses to know how the output was computed. A full disk, a kill or a power cut before the rename leaves
nothing that looks like an artifact. Invariant: whoever finds an artifact's folder finds all of its files, on disk.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import RECORD, Artifact, Store, open_artifact
from offmodel.store.recipe import Facts, Recipe
from offmodel.store.records import make_record, seal, sync_folder, write_json
from offmodel.store.workspace import Workspace, remove

_FULL = (errno.ENOSPC, errno.EDQUOT)


def publish(
    store: Store, recipe: Recipe, space: Workspace, *, facts: Facts, seconds: float, machine: Mapping[str, Any]
) -> Artifact:
    """Make the artifact of what an execution wrote, and remove its work folder.

    The caller holds the recipe's lock.

    Args:
        store: where to.
        recipe: what was computed.
        space: the work folder of the execution.
        facts: what the execution told about itself.
        seconds: wall time.
        machine: device, threads and such, for the record.

    Raises:
        StoreError: the disk is full, or the payload or the facts cannot be kept.
    """
    with full_disk(store.root):
        files = seal(space.payload)
        record = make_record(
            recipe, files=files, parents=list(space.parents), facts=facts, seconds=seconds, machine=machine
        )
        artifact = place(space.artifact, store.folder(recipe), record, aside=space.root / "replaced")
        remove(space.root)
    return artifact


def place(draft: Path, folder: Path, record: dict[str, Any], *, aside: Path) -> Artifact:
    """Rename a draft folder with its sealed payload to its place; a record-only artifact there is replaced.

    Args:
        draft: folder with `payload/`, on the store's file system.
        folder: where the artifact belongs.
        record: written into the draft last.
        aside: a free path to which a record-only artifact is moved before it is removed.
    """
    replaced = open_artifact(folder)
    if replaced is not None and replaced.content != record["content"]:
        record = {**record, "replaces": {"content": replaced.content, "created": replaced.record["created"]}}
    (draft / RECORD).unlink(missing_ok=True)
    write_json(draft / RECORD, record)
    sync_folder(draft)
    folder.parent.mkdir(exist_ok=True)
    if replaced is not None:
        folder.rename(aside)
    draft.rename(folder)
    sync_folder(folder.parent)
    remove(aside)
    artifact = open_artifact(folder)
    assert artifact is not None
    return artifact


@contextmanager
def full_disk(where: Path) -> Iterator[None]:
    """Turn the many errors that a full disk causes into one sentence.

    Raises:
        StoreError: the body failed because no space was left.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(error):
            raise
        raise StoreError(
            f"The disk that holds {where} is full; free some space (`offmodel store gc` helps) or name a store on "
            "another disk, then run again: what is finished is kept."
        ) from error


def _is_full(error: BaseException | None) -> bool:
    # Libraries written in other languages raise errors of their own that only quote the system's number or text.
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "(os error 28)" in str(error) or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
