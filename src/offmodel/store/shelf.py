"""A shared shelf of artifacts behind local stores, on any file system that fsspec reaches: S3, GCS, a mounted folder.

    offmodel-store.json                 which format the shelf has
    records/KIND/NAME-DIGEST12.json     an artifact's record
    files/AB/SHA256                     payload files, each under the digest of its bytes
    claims/KEY.json                     who computes what (`claims`)

There is no rename and no lock here, so the record is the publication: it is created after all of its files, and only if
there is none yet. Files under their digest make an upload idempotent: two computers that upload one artifact write the
same bytes to the same place, and where their results differ, neither touches the other's. This module refuses to know
local stores and recipes. Invariant: what a record names is there; what no record names is no artifact.
"""

import json
import posixpath
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from offmodel.core.errors import OffmodelError, StoreError
from offmodel.store.records import RECORD_FORMAT, check_record

SHELF_FORMAT = 1
AT_ONCE = 8
_MARK = "offmodel-store.json"
_RECORD = re.compile(r"(?P<label>[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*)\.json", re.ASCII)
_SECONDS_BETWEEN_TRIES = (0.5, 1.5)
_SECONDS_LISTED = 5.0  # a listing of some thousand records takes as many requests as a few records


@final
class Shelf:
    """Records and files on a remote file system.

    Args:
        address: as the user gave it, for messages and other processes.
        fs: an fsspec file system.
        root: the shelf's folder or prefix, as the file system names it.
    """

    def __init__(self, address: str, fs: Any, root: str):
        self.address, self._fs, self._root = address, fs, root.rstrip("/")
        self._listed: tuple[float, frozenset[str]] | None = None
        self._made: set[str] = set()

    @property
    def in_this_process(self) -> bool:
        """Whether no other process can see it."""
        return "memory" in ((self._fs.protocol,) if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def url(self, name: str) -> str:
        """What the user would call an object."""
        return f"{self.address}/{name}"

    # Objects

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None if it is not there."""
        with self.reaching():
            try:
                return self._fs.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a small object, over what was there."""
        with self.reaching():
            self._fs.pipe_file(self._ready(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small object if it is not there yet; whether it now holds these bytes."""
        with self.reaching():
            for pause in (*_SECONDS_BETWEEN_TRIES, None):
                try:
                    self._create(self._ready(name), data)
                    return True
                except Exception:
                    # File systems differ in what they raise when another was first, and an answer can get lost.
                    found = self.read(name)
                    if found is not None:
                        return found == data
                    if pause is None:
                        raise
                    time.sleep(pause)  # S3 refuses both of two writers that come at the same moment
        raise AssertionError("the last try returns or raises")

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self.reaching():
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def names(self, folder: str) -> list[str]:
        """Names of all objects below a folder, at any depth."""
        top = self._path(folder)
        with self.reaching():
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(top)
            except FileNotFoundError:
                return []
            finally:
                self._fs.invalidate_cache()  # or later looks at single objects would be answered from this listing
        return sorted(posixpath.relpath(str(path), top) for path in found)

    # Artifacts

    def labels(self) -> frozenset[str]:
        """Labels (`kind/name-digest12`) of all artifacts; of a few seconds ago at most."""
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > _SECONDS_LISTED:
            matches = (_RECORD.fullmatch(name) for name in self.names("records"))
            self._listed = (now, frozenset(m["label"] for m in matches if m))
        return self._listed[1]

    def has(self, label: str, *, fresh: bool = False) -> bool:
        """Whether there is an artifact; `fresh` asks the shelf itself where its last listing says no."""
        return label in self.labels() or (fresh and self.record(label) is not None)

    def record(self, label: str) -> dict[str, Any] | None:
        """An artifact's record; None if there is none, or one that is still being written.

        Raises:
            StoreError: it is damaged, or was written by a newer version.
        """
        data = self.read(f"records/{label}.json")
        if data is None:
            return None
        try:
            record = json.loads(data)
        except ValueError:
            return None
        if isinstance(record, dict) and record.get("format", 0) > RECORD_FORMAT:
            raise StoreError(f"The record {self.url(f'records/{label}.json')} is of a newer offmodel; update offmodel.")
        if not check_record(record, label):
            raise StoreError(
                f"The record {self.url(f'records/{label}.json')} is damaged; delete it, and it is computed again."
            )
        return record

    def put(self, label: str, record: bytes, files: Mapping[Path, Mapping[str, Any]]) -> None:
        """Upload files, and then the record unless another stands already.

        Args:
            label: `kind/name-digest12`.
            record: the record's bytes.
            files: the payload's files, with hash and size as the record has them.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda item: self._put_file(*item), files.items()))
        name = f"records/{label}.json"
        if not self.create(name, record) and self.record(label) is None:
            # What stands is no whole record. If its writer died, nobody else would ever end it.
            time.sleep(1.0)
            if self.record(label) is None:
                self.write(name, record)

    def get(self, state: Mapping[str, Any], target: Path) -> None:
        """Fetch a payload file; the caller checks its hash.

        Raises:
            StoreError: it is not there.
        """
        with self.reaching():
            try:
                self._fs.get_file(self._path(file_name(state)), str(target))
            except FileNotFoundError:
                raise StoreError(f"The file {self.url(file_name(state))} is missing.") from None

    def _put_file(self, path: Path, state: Mapping[str, Any]) -> None:
        name = file_name(state)
        with self.reaching():
            try:
                there = self._fs.info(self._path(name))["size"]
            except FileNotFoundError:
                there = None
            if there != state["bytes"]:  # of a killed upload, on file systems that show what is being written
                self._fs.put_file(str(path), self._ready(name))

    # The file system

    def open(self, *, create: bool) -> None:
        """Check the shelf's format; make it if it is not there.

        Raises:
            StoreError: it is not there and `create` is false, or it is of a newer version, or holds other things.
        """
        mark = self.read(_MARK)
        if mark is None and not create:
            raise StoreError(f"There is no store at {self.address}; run a study first, or give another address.")
        if mark is None:
            own = (_MARK, "records/", "files/", "claims/", "probe/")
            others = [name for name in self.names("") if not name.startswith(own)]
            if others:
                raise StoreError(
                    f"{self.address} holds other things ('{others[0]}') and is no store; give a new or empty prefix."
                )
            self.create(_MARK, json.dumps({"format": SHELF_FORMAT}).encode())
            return
        if not mark:  # another computer is just about to write it
            return
        try:
            newer = json.loads(mark)["format"] > SHELF_FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f'{self.url(_MARK)} is damaged; write {{"format": {SHELF_FORMAT}}} into it.') from error
        if newer:
            raise StoreError(f"The store at {self.address} was written by a newer offmodel; update offmodel.")

    def probe(self) -> None:
        """Check what sharing needs: exclusive creation, and reading and listing of what was just written.

        Raises:
            StoreError: the file system does not do it.
        """
        name, first, second = f"probe/{uuid.uuid4().hex}", b"first", b"second, longer"
        faults: list[str] = []
        try:
            made = self.create(name, first)
            with ThreadPoolExecutor(4) as pool:
                again = list(pool.map(lambda i: self.create(name, second + bytes([i])), range(4)))
            if not made or any(again) or self.read(name) != first:
                faults.append("lets a second writer create what is there already")
            self.write(name, second)
            if self.read(name) != second:
                faults.append("does not give back what was just written")
            # Where folders are folders, probes of others that end meanwhile can spoil a listing.
            if not any(posixpath.basename(name) in self.names("probe") for _ in range(3)):
                faults.append("does not list what was just written")
            self.remove(name)
            if self.read(name) is not None:
                faults.append("still gives back what was deleted")
        except StoreError as error:
            cause = error.__cause__ or error
            if not isinstance(cause, NotImplementedError | TypeError | ValueError):
                raise
            faults.append(f"cannot create a file exclusively ({cause})")
        if faults:
            raise StoreError(
                f"The file system of {self.address} cannot keep a shared store: it {faults[0]}; use S3, GCS, Azure or "
                "another service with conditional writes, or a folder that all machines mount."
            )

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn the many errors of file systems and networks into one sentence.

        Raises:
            StoreError: the body failed.
        """
        try:
            yield
        except OffmodelError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(
                f"The shared store at {self.address} failed ({type(error).__name__}: {reason}); see that it can be "
                "reached and written to, and run again: what is finished is kept here, and uploaded then."
            ) from error

    def _create(self, path: str, data: bytes) -> None:
        from fsspec.spec import AbstractFileSystem

        # fsspec's own pipe_file looks and then writes, which two writers can do at once; opening with "x" is one call.
        if type(self._fs).pipe_file is AbstractFileSystem.pipe_file:
            with self._fs.open(path, "xb") as file:
                file.write(data)
        else:
            self._fs.pipe_file(path, data, mode="create")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _ready(self, name: str) -> str:
        """The path of an object that is to be written; its folder is made, which object stores have none of."""
        path = self._path(name)
        folder = posixpath.dirname(path)
        if folder not in self._made and not self._fs.async_impl:  # there, it could make a bucket
            self._fs.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        return path


def file_name(state: Mapping[str, Any]) -> str:
    """Where a payload file lies."""
    return f"files/{state['sha256'][:2]}/{state['sha256']}"
