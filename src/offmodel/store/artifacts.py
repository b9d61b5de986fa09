"""The store: finished results in folders `kind/name-digest12/`, each a `payload/` and a `record.json`.

An artifact comes into being by one rename of a finished folder and does not change, except that its weights may be
evicted: then `evicted.json` lists them, and the artifact is record-only. This module refuses to compute, and to know
what payloads mean. Invariant: a folder under a kind is a whole artifact; what is unfinished lies in `tmp/`.
"""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from offmodel.core.errors import StoreError
from offmodel.store import locks
from offmodel.store.recipe import Recipe, folder_name
from offmodel.store.records import RECORD_FORMAT, offmodel_version, write_json

if TYPE_CHECKING:
    from offmodel.store.claims import Claims
    from offmodel.store.shelf import Shelf

STORE_FORMAT = 1
RECORD, EVICTED, PAYLOAD = "record.json", "evicted.json", "payload"
_MOST_NAMED = 4
_OWN_FOLDERS = ("tmp", "locks", "failures", "logs", "answers")
_OLD_PROBE = re.compile(r"probe-\d+-[ab]", re.ASCII)  # what a killed probe left here before probes lay in tmp/


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A finished result.

    Attributes:
        folder: `kind/name-digest12` below the store's root.
        record_only: its weights were evicted or left on another machine; its record and rows are here.
        stamp: modification time of the record, in nanoseconds.
    """

    folder: Path
    record_only: bool
    stamp: int

    @property
    def payload(self) -> Path:
        """The folder of the result's files."""
        return self.folder / PAYLOAD

    @property
    def record(self) -> dict[str, Any]:
        """The parsed record; not to be changed."""
        return _read_record(self.folder / RECORD, self.stamp)

    @property
    def digest(self) -> str:
        """The recipe's digest, 64 hexadecimal digits."""
        return self.record["digest"]

    @property
    def content(self) -> str:
        """The digest of the payload's files."""
        return self.record["content"]

    @property
    def kind(self) -> str:
        """The recipe's kind."""
        return self.folder.parent.name

    @property
    def label(self) -> str:
        """`kind/name-digest12`."""
        return f"{self.folder.parent.name}/{self.folder.name}"


@final
class Store:
    """A folder of artifacts, shared by any number of processes, and perhaps before a shelf that computers share.

    Args:
        root: the store's folder.
        create: make it if it is not there.
        shelf: where artifacts that are not in the folder are looked for; `addresses.open_store` knows.

    Attributes:
        claims: this computer's claims on the shelf; None without a shelf.

    Raises:
        StoreError: there is no store, or it was written by a newer version, or the folder holds other things.
    """

    def __init__(self, root: Path | str, *, create: bool = True, shelf: "Shelf | None" = None):
        self.root = Path(root).absolute()
        self.shelf = shelf
        self.claims: Claims | None = None
        if not (self.root / "store.json").is_file():
            if not create:
                raise StoreError(f"There is no store at {self.root}; run a study first, or name another folder.")
            _create(self.root)
        _check_format(self.root)

    def __repr__(self) -> str:
        return f"Store('{self.address}')"

    @property
    def address(self) -> str:
        """By which other processes open the store: the folder, or the shared store's address."""
        return str(self.root) if self.shelf is None else self.shelf.address

    @property
    def tmp(self) -> Path:
        """Where unfinished work lies."""
        return self.root / "tmp"

    @property
    def locks(self) -> Path:
        """Where lock files lie."""
        return self.root / "locks"

    @property
    def answers(self) -> Path:
        """Where answers of remote endpoints are kept: paid for once, used by every recipe that asks the same."""
        return self.root / "answers"

    @property
    def failures(self) -> Path:
        """Where tracebacks of unexpected errors are kept."""
        return self.root / "failures"

    def folder(self, recipe: Recipe) -> Path:
        """Where the recipe's artifact is, or would be."""
        if recipe.kind in _OWN_FOLDERS:
            raise StoreError(f"A recipe's kind cannot be '{recipe.kind}', which the store needs; use another word.")
        return self.root / folder_name(recipe)

    def find(self, recipe: Recipe, *, fresh: bool = False) -> Artifact | None:
        """The recipe's artifact, whole or record-only; None if it is missing.

        Costs two looks at the disk. With a shelf, record and rows of what is missing come from there, if its listing of
        a few seconds ago has them; `fresh` asks again.
        """
        folder = self.folder(recipe)
        artifact = open_artifact(folder)
        if artifact is not None or self.shelf is None:
            return artifact
        return self._bring(f"{folder.parent.name}/{folder.name}", fresh=fresh)

    def whole(self, recipe: Recipe) -> Artifact | None:
        """The recipe's artifact, with files that were left on the shelf fetched; record-only if they are nowhere."""
        artifact = self.find(recipe, fresh=True)
        if artifact is None or not artifact.record_only or self.shelf is None:
            return artifact
        from offmodel.store.exchange import complete

        return complete(self, artifact.label)

    def at_hand(self, artifact: Artifact) -> bool:
        """Whether all files of an artifact are here or on the shelf, so that nothing needs to be computed again."""
        return not artifact.record_only or (self.shelf is not None and self.shelf.has(artifact.label, fresh=True))

    def _bring(self, label: str, *, fresh: bool = False) -> Artifact | None:
        assert self.shelf is not None
        if not self.shelf.has(label, fresh=fresh):
            return None
        from offmodel.store.exchange import bring  # which itself needs stores

        return bring(self, label)

    def artifact(self, which: str) -> Artifact:
        """The artifact with a digest that begins so, or with this folder name (`name-digest12`, with or without kind).

        Raises:
            StoreError: there is none, or several.
        """
        which = which.rstrip("/")
        name = which.rsplit("/", 1)[-1]
        for label in self.shelf.labels() if self.shelf is not None else ():
            if label.rsplit("/", 1)[-1] == name or (len(which) >= 4 and label[-12:].startswith(which[:12])):
                self._bring(label)
        found = [a for a in self.all() if name == a.folder.name or _begins(a, which)]
        if not found:
            alike = [a.label for a in self.all() if which in a.label][:_MOST_NAMED]
            mend = f"it has {', '.join(alike)} ..." if alike else "give a digest or a folder's name."
            raise StoreError(f"The store at {self.address} has no artifact '{which}'; {mend}")
        if len(found) > 1:
            some = ", ".join(a.label for a in found[:4]) + (" ..." if len(found) > 4 else "")
            raise StoreError(f"'{which}' fits {len(found)} artifacts ({some}); give more digits of the digest.")
        return found[0]

    def all(self, kind: str | None = None) -> Iterator[Artifact]:
        """Every artifact of the folder, or every one of a kind, by kind and name; the shelf is not looked at."""
        for k in [kind] if kind else self.kinds():
            folder = self.root / k
            for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
                artifact = open_artifact(entry)
                if artifact is not None:
                    yield artifact

    def kinds(self) -> list[str]:
        """The kinds of which there are artifacts."""
        found = (e.name for e in self.root.iterdir() if e.is_dir())
        return sorted(k for k in found if k not in _OWN_FOLDERS and not k.startswith("."))

    def probe(self) -> None:
        """Check that the disk, and the shelf if there is one, can do what a run needs.

        Raises:
            StoreError: folders cannot be renamed, or files cannot be locked, or nothing can be written.
        """
        for folder in (self.tmp, self.locks):
            folder.mkdir(exist_ok=True)
        locks.probe(self.tmp)
        if self.shelf is not None:
            self.shelf.probe()


def open_artifact(folder: Path) -> Artifact | None:
    """The artifact in a folder, if there is one."""
    try:
        stamp = (folder / RECORD).stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Artifact(folder=folder, record_only=(folder / EVICTED).exists(), stamp=stamp)


@lru_cache(maxsize=4096)
def _read_record(path: Path, stamp: int) -> dict[str, Any]:  # the stamp makes a rewritten record another entry
    try:
        record = json.loads(path.read_bytes())
        newer = record["format"] > RECORD_FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"The record {path} is damaged; delete its folder, and it is computed again.") from error
    if newer:
        raise StoreError(f"The record {path} was written by a newer offmodel; update offmodel.")
    return record


def _begins(artifact: Artifact, digits: str) -> bool:
    # The folder's name ends in 12 digits: most artifacts are ruled out without reading their records.
    known = artifact.folder.name[-12:]
    if len(digits) < 4 or not known.startswith(digits[:12]):
        return False
    return len(digits) <= 12 or artifact.digest.startswith(digits)


def _create(root: Path) -> None:
    """Make a store, perhaps beside others that make it at this moment: names are unique, and the last mark stays."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        names = [e.name for e in root.iterdir()]
        if (root / "store.json").is_file():  # looked for after the names: another made it, and they are its own
            return
        others = [n for n in names if not (n in _OWN_FOLDERS or n.startswith("store.json") or _OLD_PROBE.fullmatch(n))]
        if others:
            raise StoreError(
                f"The folder {root} holds other things ('{min(others)}') and is no store; name a new or empty folder."
            )
        (root / "tmp").mkdir(exist_ok=True)
        locks.probe(root / "tmp")  # if it is killed there, gc finds what it left
        for name in filter(_OLD_PROBE.fullmatch, names):
            with suppress(FileNotFoundError):  # another that makes the store cleans too
                (root / name / "lock").unlink(missing_ok=True)
                (root / name).rmdir()
        draft = root / f"store.json.{uuid.uuid4().hex}"
        write_json(draft, {"format": STORE_FORMAT, "offmodel": offmodel_version()})
        draft.replace(root / "store.json")
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"A store cannot be made at {root} ({reason}); name a folder that you may write to."
        ) from error


def _check_format(root: Path) -> None:
    path = root / "store.json"
    try:
        about = json.loads(path.read_bytes())
        newer = about["format"] > STORE_FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f'{path} is damaged; write {{"format": {STORE_FORMAT}}} into it.') from error
    if newer:
        raise StoreError(
            f"The store at {root} was written by a newer offmodel ({about.get('offmodel', 'unknown version')}, "
            f"store format {about['format']}; this one reads {STORE_FORMAT}); update offmodel, or name another store."
        )
