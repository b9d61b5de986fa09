"""Carrying artifacts between stores in files of at most 16 MiB: export there, merge here.

Each file is a gzipped tar of its own; a payload file that is too large for one is cut into parts. This module refuses
to trust what it reads: names are checked, every file against the hash in its record, every record against its digest.
Invariant: merging what was exported gives artifacts with the same records, and the same bytes in every file carried;
files of one result never get under the record of another.
"""

import gzip
import io
import json
import os
import re
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import PAYLOAD, RECORD, Artifact, Store, open_artifact
from offmodel.store.locks import attempt
from offmodel.store.maintenance import WEIGHTS, mark_record_only
from offmodel.store.publication import full_disk, place
from offmodel.store.records import check_record, seal
from offmodel.store.workspace import remove, work_key

LARGEST_FILE = 16 * 2**20
_ROOM = LARGEST_FILE - 2**19  # gzip can grow what it cannot shrink, and a tar pads its end
_ROW_ENDINGS = (".jsonl", ".json", ".csv", ".eval", ".txt", ".md")
_NOT_ROWS = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")
_MEMBER = re.compile(
    r"(?P<label>[A-Za-z0-9][\w.+-]*/[A-Za-z0-9][\w.+-]*)/(?P<file>record\.json|payload/[^\0]+?)(?:\.part-(?P<part>\d{5}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did, as labels of artifacts.

    Attributes:
        added: were not in the store.
        completed: were record-only in the store and are whole now.
        present: were in the store already.
        differing: of those present, the ones whose content is not the same as in the files; the store's own was kept.
    """

    added: tuple[str, ...]
    completed: tuple[str, ...]
    present: tuple[str, ...]
    differing: tuple[str, ...]


def export(store: Store, folder: Path, *, artifacts: Iterable[Artifact] | None = None, rows_only: bool) -> list[Path]:
    """Write artifacts into files of at most 16 MiB.

    Args:
        store: where from.
        folder: where to; made if it is not there.
        artifacts: which; None for all.
        rows_only: leave weights and tokenizers behind; what arrives is record-only then.

    Returns:
        The files, in order.

    Raises:
        StoreError: the disk is full, or the folder holds an earlier export or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"The folder {folder} cannot be made ({reason}); name another one.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"The folder {folder} may not be written to; name another one.")
    if any(folder.glob("offmodel-*.tar.gz")):
        raise StoreError(f"The folder {folder} holds an earlier export; delete it, or name another folder.")
    chosen = store.all() if artifacts is None else artifacts
    with full_disk(folder):
        return _write_files(folder, (piece for a in chosen for piece in _pieces(a, rows_only)))


def merge(store: Store, files: Sequence[Path]) -> Merged:
    """Take the artifacts of exported files into a store.

    Args:
        store: where to.
        files: all the files of one or more exports, in any order.

    Raises:
        StoreError: a file is damaged or holds something else, or a part is missing; what is whole was merged first.
    """
    box = store.tmp / work_key("merge " + "\n".join(sorted(str(f.absolute()) for f in files)))
    done: defaultdict[str, list[str]] = defaultdict(list)
    problems: list[str] = []
    store.probe()
    with attempt(store.locks, box.name) as free, full_disk(store.root):
        if not free:
            raise StoreError("Another process merges these files; wait until it is done.")
        remove(box)
        box.mkdir()
        drafts = _Drafts(box)
        for path in files:
            _unpack(path, drafts)
        for label, several in drafts.sorted_out():
            # If one record is damaged, nobody can tell to which of them the label's files belong.
            broken = [words for draft in several for words in _broken_record(draft, label)]
            problems += broken
            for draft in several if not broken else ():
                try:
                    for verdict in _admit(store, draft, label, box / "replaced"):
                        done[verdict].append(label)
                except StoreError as error:
                    problems.append(str(error))
        remove(box)
    if problems:
        raise StoreError(problems[0] + (f" ({len(problems) - 1} more like it.)" if len(problems) > 1 else ""))
    return Merged(**{k: tuple(dict.fromkeys(done[k])) for k in ("added", "completed", "present", "differing")})


def _pieces(artifact: Artifact, rows_only: bool) -> Iterator[tuple[str, bytes]]:
    """(name in the tar, bytes), none larger than a file has room for. The record comes first."""
    yield f"{artifact.label}/{RECORD}", (artifact.folder / RECORD).read_bytes()
    for name in artifact.record["files"]:
        path = artifact.payload / name
        if not path.exists() or (rows_only and not is_row(name)):
            continue
        target = f"{artifact.label}/{PAYLOAD}/{name}"
        if path.stat().st_size <= _ROOM:
            yield target, path.read_bytes()
            continue
        with path.open("rb") as file:
            for i, part in enumerate(iter(lambda f=file: f.read(_ROOM - 2048), b"")):
                yield f"{target}.part-{i:05d}", part


def is_row(name: str) -> bool:
    """Whether a payload file is one of results, and neither weights nor a tokenizer."""
    return name.endswith(_ROW_ENDINGS) and not name.endswith(WEIGHTS) and name.rsplit("/", 1)[-1] not in _NOT_ROWS


def _write_files(folder: Path, pieces: Iterable[tuple[str, bytes]]) -> list[Path]:
    written: list[Path] = []
    batch: list[tuple[str, bytes]] = []
    size = 0

    def flush() -> None:
        path = folder / f"offmodel-{len(written):04d}.tar.gz"
        with path.open("wb") as file:
            _write_tar(file, batch)
        written.append(path)

    for name, data in pieces:
        cost = 2048 + len(data) + len(name)  # a tar's header and padding, twice for a long name
        if batch and size + cost > _ROOM:
            flush()
            batch, size = [], 0
        batch.append((name, data))
        size += cost
    if batch:
        flush()
    return written


def _write_tar(file: IO[bytes], batch: list[tuple[str, bytes]]) -> None:
    # No times and no owners: the same artifacts give the same bytes.
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, data in batch:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o444
            tar.addfile(info, io.BytesIO(data))


@final
class _Drafts:
    """Folders in which artifacts are put together: one a label, and another for each further record of it.

    Results of one recipe can differ between machines, so that two exports hold two records of one label. An export has
    a folder of its own, so files without a record belong to the record that came from their folder; files of a folder
    from which no record came were moved, and go to every record of their label, whose hashes then decide.

    Args:
        box: an empty folder.
    """

    def __init__(self, box: Path):
        self._box = box
        self._open: dict[tuple[Path, str], Path] = {}
        self._all: defaultdict[str, list[Path]] = defaultdict(list)
        self._records: dict[Path, bytes] = {}

    def place(self, folder: Path, label: str, record: bytes | None) -> Path:
        """The draft for something of a label that came from a folder; `record` if that is a record."""
        draft = self._open.get((folder, label))
        if draft is None or (record is not None and self._records.get(draft, record) != record):
            draft = self._box / str(len(self._all[label])) / label
            self._open[folder, label] = draft
            self._all[label].append(draft)
        if record is not None:
            self._records[draft] = record
        return draft

    def sorted_out(self) -> Iterator[tuple[str, list[Path]]]:
        """Every label with its drafts, of which no two have the same record."""
        for label, drafts in sorted(self._all.items()):
            kept: dict[bytes | None, Path] = {}
            for draft in drafts:
                first = kept.setdefault(self._records.get(draft), draft)
                if first != draft:
                    _pour(draft, first)
            found = [draft for record, draft in kept.items() if record is not None]
            for draft in found if None in kept else ():
                _pour(kept[None], draft)
            yield label, found or [kept[None]]


def _pour(source: Path, target: Path) -> None:
    """Copy the files of a folder into another, over those that are there."""
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _unpack(path: Path, drafts: _Drafts) -> None:
    try:
        with tarfile.open(path, "r:gz") as tar:
            for info in tar:
                match = _MEMBER.fullmatch(info.name)
                if match is None or not info.isfile() or ".." in Path(info.name).parts:
                    raise StoreError(
                        f"{path} holds '{info.name}', which no export writes; give files of a store export."
                    )
                source = tar.extractfile(info)
                assert source is not None
                data = source.read()
                record = data if match["file"] == RECORD else None
                target = drafts.place(path.absolute().parent, match["label"], record) / match["file"]
                target.parent.mkdir(parents=True, exist_ok=True)
                if match["part"] is not None:
                    target = target.with_name(f"{target.name}.part-{match['part']}")
                target.write_bytes(data)
    except FileNotFoundError:
        raise StoreError(f"There is no file {path}; give the files that `offmodel store export` wrote.") from None
    except (OSError, EOFError, tarfile.TarError) as error:
        raise StoreError(f"{path} cannot be read as a store export ({error}); copy or export it again.") from error


def _admit(store: Store, draft: Path, label: str, aside: Path) -> Iterator[str]:
    record = _checked_record(draft, label)
    _join_parts(draft / PAYLOAD)
    (draft / PAYLOAD).mkdir(exist_ok=True)
    found = seal(draft / PAYLOAD)
    for name, state in found.items():
        if record["files"].get(name) != state:
            raise StoreError(f"{label}/payload/{name} is damaged or a part of it is missing; merge all of its files.")
    missing = set(record["files"]) - set(found)
    lost = sorted(filter(is_row, missing))
    if lost:
        raise StoreError(f"{label}/payload/{lost[0]} is in none of the files; merge all files of its export.")
    with attempt(store.locks, work_key(record["digest"])) as free:
        if not free:
            raise StoreError(f"{label} is being computed in this store right now; merge again when that is done.")
        mine = open_artifact(store.root / label)
        if mine is not None and (not mine.record_only or missing):
            yield "present"
            if mine.content != record["content"]:
                yield "differing"
            return
        if missing:
            mark_record_only(draft, missing)
        place(draft, store.root / label, record, aside=aside)
        yield "added" if mine is None else "completed"


def _broken_record(draft: Path, label: str) -> Iterator[str]:
    try:
        _checked_record(draft, label)
    except StoreError as error:
        yield str(error)


def _checked_record(draft: Path, label: str) -> dict[str, Any]:
    try:
        record = json.loads((draft / RECORD).read_bytes())
    except FileNotFoundError:
        raise StoreError(f"The record of {label} is in none of the files; merge all files of its export.") from None
    except ValueError:
        record = {}
    if not check_record(record, label):
        raise StoreError(f"The record of {label} is damaged; export it again.")
    return record


def _join_parts(payload: Path) -> None:
    parts: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in sorted(payload.rglob("*.part-?????")):
        parts[path.with_name(path.name[: -len(".part-00000")])].append(path)
    for whole, pieces in parts.items():
        with whole.open("wb") as out:
            for piece in pieces:
                out.write(piece.read_bytes())
                piece.unlink()
