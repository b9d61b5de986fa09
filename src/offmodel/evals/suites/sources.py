"""Where a benchmark's rows come from: the hub at a pinned commit, or a JSONL file of the same rows.

Both are recipes of kind "file" with the payload `rows.jsonl`. Rows are found and read when a study names them, so that
a missing file costs a sentence and not an hour. This module refuses to know what the columns mean. Invariant: a
recipe's rows have one content: a commit fixes the hub's, a digest fixes a file's and is checked when it is read.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from offmodel.core.errors import DataError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import Sources
from offmodel.models import file_digest
from offmodel.store.recipe import Facts, Job, Recipe

DATA_FOLDER = "OFFMODEL_DATA"
"""Environment variable with the folder of benchmark files; `benchmarks-data` in the current folder by default."""
ROWS = "rows.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A hub dataset, and the file that may stand for it.

    Attributes:
        name: the benchmark's name; its file is `NAME.jsonl`.
        repo: id on the hub.
        config: the dataset's configuration, "" for the only one.
        split: for example "test".
        revision: the commit, 40 hexadecimal digits.
        columns: columns that every row must have.
        rows: number of rows at that commit.
    """

    name: str
    repo: str
    config: str
    split: str
    revision: str
    columns: tuple[str, ...]
    rows: int

    @property
    def file(self) -> str:
        """Name of the file that may stand for the dataset."""
        return f"{self.name}.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRows(Recipe):
    """All rows of a hub dataset at a pinned commit (needs the extra `hub`).

    Attributes:
        repo, config, split, revision: as in `Dataset`.
    """

    kind: ClassVar[str] = "file"
    recipe_version: ClassVar[int] = 1
    repo: str
    config: str
    split: str
    revision: str

    def name(self) -> str:
        """The last part of the id, and the split."""
        return f"{self.repo.rsplit('/', 1)[-1]}-{self.split}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Load the rows through the datasets library, from its cache where they are there already."""
        p = job.params
        rows = load_hub(p.repo, p.config, p.split, p.revision)
        count = write_all(job.out / ROWS, rows)
        return {"rows": count, "source": f"{p.repo}@{p.revision}", "content": file_digest(job.out / ROWS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRows(Recipe):
    """A JSONL file of a benchmark's rows; its digest is checked when it is read.

    Attributes:
        label: a readable name.
        sha256: digest of the file, 64 hexadecimal digits.
    """

    kind: ClassVar[str] = "file"
    recipe_version: ClassVar[int] = 1
    label: str
    sha256: str

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the file, after holding it against its digest."""
        path = job.runtime.locate(job.params.sha256)
        if file_digest(path) != job.params.sha256:
            raise DataError(f"The file {path} changed while the study ran; run the study again.")
        shutil.copyfile(path, job.out / ROWS)
        return {"rows": len(read_rows(path)), "source": path.name, "content": job.params.sha256}


def source_of(dataset: Dataset, sources: Sources, *, path: Path | None) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe of a benchmark's rows and the rows themselves, read now.

    Args:
        dataset: what is looked for.
        sources: takes note of where a local file lies.
        path: a file; None looks for `NAME.jsonl` in the data folder, then for the hub's copy.

    Raises:
        DataError: the rows are nowhere, or they are not this dataset's; the message says which file to put where.
    """
    file = path or data_folder() / dataset.file
    if file.is_file():
        rows = read_rows(file)
        check_rows(rows, dataset, str(file))
        digest = file_digest(file)
        sources.locations[digest] = str(file.resolve())
        return CheckedRows(label=dataset.name, sha256=digest), rows
    if path is not None:
        raise DataError(f"There is no file {path}; {_mend(dataset)}")
    try:
        rows = load_hub(dataset.repo, dataset.config, dataset.split, dataset.revision)
    except DataError as error:
        raise DataError(f"{error} Or {_mend(dataset)}") from error
    check_rows(rows, dataset, f"{dataset.repo}@{dataset.revision[:12]}")
    recipe = HubRows(repo=dataset.repo, config=dataset.config, split=dataset.split, revision=dataset.revision)
    return recipe, rows


def data_folder() -> Path:
    """The folder in which benchmark files are looked for."""
    return Path(os.environ.get(DATA_FOLDER, "benchmarks-data")).expanduser()


def load_hub(repo: str, config: str, split: str, revision: str) -> list[dict[str, Any]]:
    """Rows of a hub dataset at a commit; the library keeps what it fetched, and finds it again without a network.

    Raises:
        DataError: the library is missing, or the dataset cannot be reached.
    """
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DataError(f"The dataset {repo} needs the package 'datasets'; install offmodel[hub].") from None
    try:
        with _kept_files_only(not _hub_answers(repo, revision)):
            rows: Iterable[Any] = load_dataset(repo, config or None, split=split, revision=revision)
    except Exception as error:
        # The library and the hub's client raise dozens of kinds for "no network", "no such commit", "disk full".
        raise DataError(
            f"The dataset {repo}@{revision[:12]} cannot be reached ({type(error).__name__}); try again with a network."
        ) from error
    return [dict(row) for row in rows]


def _hub_answers(repo: str, revision: str) -> bool:
    """Whether the hub has the dataset, asked once: loading without a network would try for half a minute, loudly."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(repo, revision=revision, timeout=10)
    except Exception:  # noqa: BLE001 - whatever the reason, what was fetched before may do
        return False
    return True


@contextmanager
def _kept_files_only(wanted: bool) -> Iterator[None]:
    """Both libraries offline for a while, as HF_HUB_OFFLINE would have made them had it been set before the start."""
    import datasets.config  # pyright: ignore[reportMissingImports]
    import huggingface_hub.constants

    places: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place, own in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = own or wanted
        yield
    finally:
        for place, own in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = own


def check_rows(rows: list[dict[str, Any]], dataset: Dataset, where: str) -> None:
    """Raises `DataError` if there are no rows, or one lacks a column; names the line."""
    if not rows:
        raise DataError(f"{where} holds no rows; {_mend(dataset)}")
    for number, row in enumerate(rows, start=1):
        missing = [c for c in dataset.columns if c not in row]
        if missing:
            raise DataError(f"{where}, line {number}, has no '{missing[0]}'; {_mend(dataset)}")


def write_all(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSONL with plain values (images and other objects as text); returns their number."""
    plain = [json.loads(json.dumps(row, default=str)) for row in rows]
    write_rows(path, plain)
    return len(plain)


def _mend(dataset: Dataset) -> str:
    config = f", '{dataset.config}'" if dataset.config else ""
    return (
        f"put the rows of {dataset.repo} ({dataset.split}{config}) at commit {dataset.revision} as JSON lines with the "
        f"columns {', '.join(dataset.columns)} into {data_folder() / dataset.file} "
        f"({DATA_FOLDER} names another folder)."
    )
