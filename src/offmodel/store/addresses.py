"""What `--store` names: a folder, or the address of a shared store on any file system that fsspec reaches.

Behind an address stands a shelf that many computers share (`shelf`); before it, on each computer, a store in a cache
folder, in which all work is done. This module refuses to know artifacts. Invariant: one address has one cache folder on
a computer, so what was fetched or computed there is found again.
"""

import hashlib
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any

from filelock import FileLock

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import Store
from offmodel.store.claims import Claims
from offmodel.store.records import write_json
from offmodel.store.shelf import Shelf

CACHE = "OFFMODEL_CACHE"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(where: str | Path) -> bool:
    """Whether this is the address of a shared store, such as s3://bucket/prefix, and no folder."""
    return isinstance(where, str) and _URL.match(where) is not None


def open_store(where: str | Path, *, create: bool = True) -> Store:
    """The store in a folder or at an address.

    Args:
        where: a folder, or an address such as s3://bucket/prefix.
        create: make it if it is not there.

    Raises:
        StoreError: there is none, or it cannot be reached or used.
    """
    if not is_address(where):
        return Store(where, create=create)
    shelf = open_shelf(str(where), create=create)
    root = cache_folder(shelf.address)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The cache folder {root.parent} cannot be made ({error.strerror or error}); name another in {CACHE}."
        ) from error
    store = Store(root, shelf=shelf)
    store.claims = Claims(shelf, _owner(root, shelf.address))
    return store


def open_shelf(address: str, *, create: bool = True) -> Shelf:
    """The shelf at an address; see `open_store`."""
    address = address.rstrip("/")
    fs, root = _file_system(address)
    shelf = Shelf(address, fs, root)
    shelf.open(create=create)
    return shelf


def cache_folder(address: str) -> Path:
    """This computer's folder for an address, below OFFMODEL_CACHE or else ~/.cache/offmodel."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", address).strip("-")[-60:].strip("-")
    home = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "offmodel")
    return home / f"{words}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.url_to_fs(address)
    except ImportError as error:
        raise StoreError(f"The store {address} needs a package that is not installed: {error}.") from error
    except ValueError as error:
        known = ", ".join(sorted(p for p in ("s3", "gs", "az", "sftp", "file") if p in fsspec.available_protocols()))
        raise StoreError(f"The store {address} cannot be opened ({error}); addresses begin with {known} ...") from error


def _owner(root: Path, address: str) -> str:
    """The id of this cache folder, made once."""
    file = root / "cache.json"
    with FileLock(root / "cache.lock"):
        if not file.exists():
            write_json(file, {"address": address, "id": uuid.uuid4().hex})
    return str(json.loads(file.read_bytes())["id"])
