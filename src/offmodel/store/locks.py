"""Locks between processes, one a computation, which the kernel frees when their holder dies.

This module refuses to know what is locked: it sees keys. Nobody waits for a lock; who does not get one goes on with
other work, so no two runs can wait for each other. Invariant: of all processes that share a store, one at most holds a
key.
"""

import fcntl
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from offmodel.core.errors import StoreError


def try_lock(folder: Path, key: str) -> FileLock | None:
    """The lock of a key, held until its `release()` or this process' end; None if another holds it."""
    lock = FileLock(folder / f"{key}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


@contextmanager
def attempt(folder: Path, key: str) -> Iterator[bool]:
    """Hold a key inside a `with` block, if it is free; yields whether it is held."""
    lock = try_lock(folder, key)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def probe(folder: Path) -> None:
    """Check that a folder's file system can do what a store needs: rename folders and lock files.

    Raises:
        StoreError: it cannot.
    """
    # No two probes share a name, and none meets what a killed one has left; process ids come again.
    first, second = (folder / f"probe-{uuid.uuid4().hex}-{end}" for end in "ab")
    try:
        first.mkdir()
        first.rename(second)
        with (second / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreError(
            f"The file system of {folder} cannot keep a store ({error.strerror or error}); "
            "name a folder on a local disk or a network disk with working locks."
        ) from error
    finally:
        for left in (first, second):
            shutil.rmtree(left, ignore_errors=True)
