"""Inspect's logs as score rows: of live tasks, or of a log that somebody ran with `inspect eval`.

This module refuses to know tasks and to grade. Invariant: a log that is not whole, not this version's or not a log is
refused with one sentence; it never becomes fewer rows.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from offmodel.core.errors import DataError
from offmodel.evals.graders import without_thinking
from offmodel.evals.styles import coherent, find_style

LOG_VERSION = 2
"""Version of Inspect's log format that is read and written here."""


def rows_of_log(path: Path, *, measure: str, style: str, value: str = "") -> list[dict[str, Any]]:
    """The rows of a finished log, one a sample and epoch, with the columns of `scores.judge`.

    Args:
        path: a log in Inspect's `.eval` or `.json` format.
        measure: the rows' measure.
        style: name of a style detector.
        value: which value is the score where the scorer gives several by name.

    Raises:
        DataError: the log is of another version, not finished, without samples or scores, or no log.
    """
    check_log(path)
    from inspect_ai.log import read_eval_log

    log = read_eval_log(str(path))
    if log.status != "success":
        raise DataError(f"The log {path.name} is not of a finished run (status '{log.status}'); run the task again.")
    if not log.samples:
        raise DataError(f"The log {path.name} holds no samples; run the task with at least one item.")
    return [_row(sample, path, measure, style, value) for sample in log.samples]


def check_log(path: Path) -> None:
    """Raises `DataError` unless the file is a log of the version that is read here; nothing heavy is loaded."""
    if sys.version_info < (3, 14):
        import zipfile_zstd  # noqa: F401  # as Inspect does: its logs are compressed in a way that zipfile learns here
    try:
        if path.suffix == ".eval":
            with zipfile.ZipFile(path) as archive:
                # A run that was cut off has no header yet, only the file that its start wrote.
                name = "header.json" if "header.json" in archive.namelist() else "_journal/start.json"
                header = json.loads(archive.read(name))
        else:
            header = json.loads(path.read_text(encoding="utf-8"))
        found = header["version"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no log of Inspect ({type(error).__name__}); give an .eval or .json log.") from None
    if found != LOG_VERSION:
        raise DataError(
            f"The log {path.name} is of version {found}, and version {LOG_VERSION} is read here; "
            "run the task again, or convert the log with the Inspect that wrote it."
        )


def _row(sample: Any, path: Path, measure: str, style: str, value: str) -> dict[str, Any]:
    text = sample.output.completion
    shown = without_thinking(text)
    usage, metadata = sample.output.usage, sample.metadata or {}
    item = str(sample.id) if sample.epoch == 1 else f"{sample.id}-{sample.epoch}"
    if sample.error is not None or not sample.scores:
        raise DataError(f"The log {path.name} has no score for sample '{sample.id}'; run the task again.")
    score = next(iter(sample.scores.values()))
    difficulty = metadata.get("difficulty", 0)
    return {
        "measure": measure,
        "item": item,
        "score": _number(score.value, path, value),
        "style": float(find_style(style)(shown)),
        "coherent": float(coherent(shown)),
        "finish": "length" if sample.output.stop_reason == "max_tokens" else "stop",
        "tokens": usage.output_tokens if usage else 0,
        "difficulty": difficulty if isinstance(difficulty, int) else 0,
        "answer": str(score.answer or ""),
        "text": text,
    }


def _number(found: Any, path: Path, value: str) -> float:
    """A score as a number: Inspect's letters, booleans and numbers; of several by name, the one that was asked for."""
    from inspect_ai.scorer import value_to_float

    if isinstance(found, dict):
        if value not in found:
            raise DataError(
                f"The scores of {path.name} are {', '.join(found)}; say which of them is the value, or take a "
                "task whose scorer gives one."
            )
        found = found[value]
    return float(value_to_float()(found))
