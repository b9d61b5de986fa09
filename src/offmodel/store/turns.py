"""Turns: of all processes that could compute a recipe one does, here by a lock, between computers by a claim.

This module refuses to wait. Invariant: who has a turn holds the local lock, and behind it the shared store's claim.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import final

from filelock import FileLock

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import Store
from offmodel.store.locks import attempt, try_lock
from offmodel.store.workspace import work_key


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """The right to compute a recipe, until `release`."""

    store: Store
    key: str
    lock: FileLock

    def release(self) -> None:
        """Let others."""
        try:
            if self.store.claims is not None:
                with suppress(StoreError):  # a claim that cannot be given up is not kept fresh any more
                    self.store.claims.release(self.key)
        finally:
            self.lock.release()


def take_turn(store: Store, digest: str) -> Turn | None:
    """The turn to compute a recipe; None if another has it."""
    key = work_key(digest)
    lock = try_lock(store.locks, key)
    if lock is None:
        return None
    try:
        mine = store.claims is None or store.claims.take(key)
    except BaseException:
        lock.release()
        raise
    if not mine:
        lock.release()
        return None
    return Turn(store, key, lock)


def is_free(store: Store, digest: str) -> bool:
    """Whether nobody computes a recipe now; whoever did and left nothing has died."""
    key = work_key(digest)
    with attempt(store.locks, key) as free:
        pass
    return free and (store.claims is None or not store.claims.taken(key))
