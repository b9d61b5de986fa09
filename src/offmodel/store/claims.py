"""Claims on a shared shelf: who computes what, so that other computers do something else meanwhile.

A claim is an object that one computer creates and keeps fresh while it works. Clocks of computers differ, so nobody
reads times: a claim that does not change for `STALE` seconds of the observer's own clock is taken to be left behind.
This module refuses to know what is claimed. Invariant: two that hold one claim by misfortune do work twice and nothing
worse, since publication is safe without claims.
"""

import json
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import final

from offmodel.core.errors import StoreError
from offmodel.store.shelf import Shelf

BEAT, STALE = 20.0, 120.0  # seconds; several beats may get lost before anybody thinks the worker dead


@final
class Claims:
    """One computer's claims on a shelf.

    Args:
        shelf: where.
        owner: id of this computer's local store. Its processes hold a local lock before they claim, so a claim of this
            owner that one of them meets was left by a process that died.
    """

    def __init__(self, shelf: Shelf, owner: str):
        self._shelf, self._owner = shelf, owner
        self._held: dict[str, str] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._change = threading.Condition()
        self._beating = False

    def take(self, key: str) -> bool:
        """Claim a key, if nobody else has; the caller holds this computer's lock of it."""
        token = uuid.uuid4().hex
        data = self._words(token)
        if not self._shelf.create(_name(key), data):
            there = self._shelf.read(_name(key))
            if there is None or _owner_of(there) != self._owner:
                return False
            self._shelf.write(_name(key), data)
        with self._change:
            self._held[key] = token
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, daemon=True).start()
        return True

    def release(self, key: str) -> None:
        """Give a claim up."""
        with self._change:
            token = self._held.pop(key, None)
        there = self._shelf.read(_name(key))
        if token is not None and there is not None and _token_of(there) == token:
            self._shelf.remove(_name(key))

    def taken(self, key: str) -> bool:
        """Whether another computer claims a key; a claim that has not changed for long is removed.

        Only who asks again and again can see that a claim does not change.
        """
        there = self._shelf.read(_name(key))
        if there is None or _owner_of(there) == self._owner:
            self._seen.pop(key, None)
            return False
        now = time.monotonic()
        if self._seen.get(key, (b"", 0.0))[0] != there:
            self._seen[key] = (there, now)
        if now - self._seen[key][1] < STALE:
            return True
        del self._seen[key]
        self._shelf.remove(_name(key))
        return False

    def _beat(self) -> None:
        """Keep what is held fresh; ends with the last claim."""
        while True:
            with self._change:
                self._change.wait(BEAT)
                held = dict(self._held)
                if not held:
                    self._beating = False
                    return
            for key, token in held.items():
                # A beat that fails is one that gets lost; the work itself will tell what is wrong with the shelf.
                with suppress(StoreError):
                    there = self._shelf.read(_name(key))
                    if there is not None and _token_of(there) == token and key in self._held:
                        self._shelf.write(_name(key), self._words(token))

    def _words(self, token: str) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="microseconds")  # no two beats say the same
        return json.dumps({"owner": self._owner, "token": token, "fresh": now}).encode()


def _name(key: str) -> str:
    return f"claims/{key}.json"


def _owner_of(data: bytes) -> str:
    return _word(data, "owner")


def _token_of(data: bytes) -> str:
    return _word(data, "token")


def _word(data: bytes, name: str) -> str:
    try:
        return str(json.loads(data)[name])
    except (ValueError, KeyError, TypeError):  # still being written
        return ""
