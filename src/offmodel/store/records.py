"""Records: what was computed, from what, with which software, and what came out, as one JSON file beside the payload.

This module refuses to know recipes' meaning and where artifacts lie. A record names no host and no absolute path, so
that an artifact can move between machines. Invariant: a record's `digest` is the digest of its `recipe`, and its
`content` is the digest of its `files`.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from offmodel import __version__
from offmodel.core.errors import StoreError
from offmodel.store.recipe import Facts, Recipe, describe, digest_of_description

RECORD_FORMAT = 1
_SHA = re.compile("[0-9a-f]{64}")
# Bytes of a payload from which on its files are hashed side by side.
_MUCH = 2**25
_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "numpy",
    "scipy",
    "inspect-ai",
    "math-verify",
    "datasets",
    "gguf",
    "vllm",
    "liger-kernel",
)

FileStates = dict[str, dict[str, Any]]
"""Payload files by their path inside the payload: {"sha256": hex, "bytes": size}."""


def make_record(
    recipe: Recipe,
    *,
    files: FileStates,
    parents: list[dict[str, Any]],
    facts: Facts,
    seconds: float,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """A record of a finished execution.

    Args:
        recipe: what was computed.
        files: the payload's files.
        parents: field, digest and content of each parent.
        facts: what the execution told about itself; JSON values.
        seconds: wall time; a member of a group counts its share.
        machine: device, threads and such.

    Raises:
        StoreError: the facts are not JSON values.
    """
    recipe_values = describe(recipe)
    record = {
        "format": RECORD_FORMAT,
        "digest": recipe.digest,
        "kind": recipe.kind,
        "name": recipe.name(),
        "recipe": recipe_values,
        "parents": parents,
        "facts": facts,
        "seconds": round(seconds, 4),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine, "system": f"{platform.system()}-{platform.machine()}"},
        "software": software(),
        "seeds": seeds_in(recipe_values["fields"]),
        "content": content_of(files),
        "files": files,
    }
    try:
        json.dumps(record, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"The facts of {recipe.kind}/{recipe.name()} are not JSON values ({error}); "
            "return numbers, texts, lists and dictionaries of them."
        ) from error
    return record


def check_record(record: Any, label: str) -> bool:
    """Whether a record that came from elsewhere is whole: true to its own digests and to its artifact's label.

    Names of payload files must stay below the payload.
    """
    try:
        parts = [Path(name).parts for name in record["files"]]
        return (
            record["digest"] == digest_of_description(record["recipe"])
            and record["kind"] == label.split("/")[0]
            and label.endswith("-" + record["digest"][:12])
            and record["content"] == content_of(record["files"])
            and all(p and p[0] != "/" and ".." not in p for p in parts)
            and all(_SHA.fullmatch(s["sha256"]) and s["bytes"] >= 0 for s in record["files"].values())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file and put it on disk before returning."""
    with path.open("x", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


def content_of(files: FileStates) -> str:
    """Digest of a payload: of its files' paths and hashes, not of their names outside of it."""
    lines = "".join(f"{name}\0{state['sha256']}\n" for name, state in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def seal(payload: Path) -> FileStates:
    """Hash a finished payload's files, put them on disk and make them read-only.

    Raises:
        StoreError: the payload holds something that is neither file nor folder.
    """
    paths = sorted(payload.rglob("*"))
    for path in paths:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"The payload holds '{path.name}', which is neither a file nor a folder; write a copy.")
    files = [path for path in paths if path.is_file()]
    if sum(path.stat().st_size for path in files) < _MUCH:
        states = [_seal_file(path) for path in files]
    else:
        # Hashing lets go of the interpreter: five checkpoints of an adapter took a GPU's worker half a second.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            states = list(pool.map(_seal_file, files))
    for path in (p for p in paths if p.is_dir()):
        sync_folder(path)
    sync_folder(payload)
    return {path.relative_to(payload).as_posix(): state for path, state in zip(files, states, strict=True)}


def _seal_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    path.chmod(0o444)
    return {"sha256": sha, "bytes": path.stat().st_size}


def sync_folder(path: Path) -> None:
    """Put a folder's entries on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seeds_in(value: Any, where: str = "") -> dict[str, Any]:
    """The fields of a description whose names speak of a seed, by dotted path."""
    found: dict[str, Any] = {}
    if isinstance(value, list):
        for i, v in enumerate(value):
            found |= seeds_in(v, f"{where}.{i}")
    elif isinstance(value, dict) and "recipe" not in value:
        inner = value["fields"] if "settings" in value else value
        for name, v in inner.items():
            path = f"{where}.{name}".lstrip(".")
            found |= {path: v} if "seed" in name and not isinstance(v, dict | list) else seeds_in(v, path)
    return found


@cache
def software() -> dict[str, Any]:
    """Versions of Python, of offmodel (with its git revision, if it runs from a checkout) and of what computes."""
    found: dict[str, Any] = {"python": platform.python_version(), "offmodel": offmodel_version(), "git": _revision()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def offmodel_version() -> str:
    """The installed version of offmodel."""
    return __version__


def _revision() -> str | None:
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
