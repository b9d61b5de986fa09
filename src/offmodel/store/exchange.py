"""Between a store and the shared shelf behind it: what is computed here goes there, what is needed comes from there.

Records and rows come when they are asked for, weights only when something missing is computed from them. This module
refuses to compute. Invariant: what comes is checked against its record's hashes and published like a result of one's
own; what goes is published by its record, last.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import PAYLOAD, RECORD, Artifact, Store, open_artifact
from offmodel.store.locks import attempt
from offmodel.store.maintenance import mark_record_only
from offmodel.store.publication import full_disk, place
from offmodel.store.recipe import Recipe, folder_name
from offmodel.store.records import FileStates, seal
from offmodel.store.shelf import AT_ONCE, Shelf, file_name
from offmodel.store.transfer import is_row
from offmodel.store.workspace import remove, work_key

Wanted = Callable[[str], bool]
"""Which payload files are to be fetched, by name."""
_SECONDS_BETWEEN_TRIES = (0.5, 2.0)


def bring(store: Store, label: str) -> Artifact | None:
    """Record and rows of a shared artifact; None if there is none."""
    return fetch(store, label, is_row)


def complete(store: Store, label: str) -> Artifact | None:
    """A shared artifact with all of its files; None if there is none."""
    return fetch(store, label, lambda name: True)


def bring_all(store: Store, recipes: Iterable[Recipe]) -> None:
    """Records and rows of those recipes that are not here, several at once."""
    if store.shelf is None:
        return
    lacking = {label for r in recipes if open_artifact(store.root / (label := folder_name(r))) is None}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda label: bring(store, label), sorted(lacking & store.shelf.labels())))


def share(store: Store, artifact: Artifact) -> Artifact:
    """Put a whole artifact on the shelf; gives the artifact that counts, which is another's if that was first.

    The caller holds the recipe's turn. A record-only artifact is left as it is.
    """
    shelf, label = _shelf(store), artifact.label
    if artifact.record_only:
        return artifact
    if shelf.record(label) is None:
        files = {artifact.payload / name: state for name, state in artifact.record["files"].items()}
        shelf.put(label, (artifact.folder / RECORD).read_bytes(), files)
    standing = shelf.record(label)
    if standing is None or standing["content"] == artifact.content:
        return artifact
    return fetch(store, label, is_row, instead=True) or artifact


def share_left(store: Store, recipes: Iterable[Recipe]) -> None:
    """Put on the shelf what is whole here and not there: the run that computed it was killed before it could."""
    if store.shelf is None:
        return
    for recipe in recipes:
        artifact = open_artifact(store.folder(recipe))
        if artifact is None or artifact.record_only or store.shelf.has(artifact.label):
            continue
        with attempt(store.locks, work_key(recipe.digest)) as free:
            if free and store.shelf.record(artifact.label) is None:
                share(store, artifact)


def fetch(store: Store, label: str, wanted: Wanted, *, instead: bool = False) -> Artifact | None:
    """Fetch a shared artifact and publish it here, record-only if files are left behind.

    Args:
        store: with a shelf behind it.
        label: `kind/name-digest12`.
        wanted: which files.
        instead: also if another result of the same recipe is here, which is replaced.

    Raises:
        StoreError: a file is damaged or missing there, or the shelf cannot be reached.
    """
    shelf, key = _shelf(store), work_key("fetch " + label)
    with _alone(store, key), full_disk(store.root):
        mine = open_artifact(store.root / label)
        if mine is not None and not mine.record_only and not instead:
            return mine
        record = shelf.record(label)
        if record is None:
            return mine
        names = [n for n in record["files"] if wanted(n)]
        kept = mine if mine is not None and mine.content == record["content"] else None
        if kept is not None and all((kept.payload / n).is_file() for n in names):
            return kept
        draft = store.tmp / key
        remove(draft)
        (draft / PAYLOAD).mkdir(parents=True)
        missing = set(record["files"]) - set(_fill(shelf, draft / PAYLOAD, record, names, kept))
        if missing:
            mark_record_only(draft, missing)
        return place(draft, store.root / label, record, aside=store.tmp / f"{key}-replaced")


def _fill(shelf: Shelf, payload: Path, record: dict[str, Any], names: list[str], kept: Artifact | None) -> FileStates:
    """Link what is here, fetch the rest; gives the files' states, which are the record's."""
    states: FileStates = record["files"]
    here = [n for n in states if kept is not None and (kept.payload / n).is_file()]
    for name in {*names, *here}:
        (payload / name).parent.mkdir(parents=True, exist_ok=True)
    for name in here:
        assert kept is not None
        _link(kept.payload / name, payload / name)
    lacking = [n for n in names if n not in here]
    for pause in (*_SECONDS_BETWEEN_TRIES, None):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: shelf.get(states[name], payload / name), lacking))
        found = seal(payload)
        lacking = [n for n, state in found.items() if state != states[n]]
        if not lacking:
            return found
        if pause is not None:  # on some file systems a file shows while it is being written
            time.sleep(pause)
        for name in lacking:
            (payload / name).unlink()
    raise StoreError(
        f"The file '{lacking[0]}' of {record['kind']}/{record['name']} is damaged in the shared store; delete "
        f"{shelf.url(file_name(states[lacking[0]]))} and the artifact's record there, and it is computed again."
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links: a copy gives the same bytes
        shutil.copyfile(source, target)


@contextmanager
def _alone(store: Store, key: str) -> Iterator[None]:
    """Wait until no other process here fetches the same; its holder waits for the shelf alone, so nobody is stuck."""
    for folder in (store.tmp, store.locks):
        folder.mkdir(exist_ok=True)
    with FileLock(store.locks / f"{key}.lock", thread_local=False):
        yield


def _shelf(store: Store) -> Shelf:
    assert store.shelf is not None, "a store without a shelf shares nothing"
    return store.shelf
