"""Answers that were paid for, kept as they come: a file of JSON lines for each endpoint, shared by all runs.

A line is written and synced before the next request is counted as done, so a killed labelling loses no answer; a line
that a kill cut in half is dropped. The lock makes labellings of one endpoint take turns, so that two of them never pay
for the same answer. This module refuses to know requests and models. Invariant: what `keep` was given, `known` holds.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, final

ANSWERS = "OFFMODEL_ANSWERS"
"""Environment variable: the folder of the files. The command line sets it to the store's `answers`."""


def answers_folder(scratch: Path) -> Path:
    """Where answers are kept: the folder that the environment names, else a labelling's own scratch folder."""
    named = os.environ.get(ANSWERS)
    return Path(named) if named else scratch


@final
@dataclass(slots=True)
class Journal:
    """An open file of answers.

    Attributes:
        known: rows by key.
        out: the open file.
    """

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    out: BinaryIO | None = None

    def keep(self, key: str, row: dict[str, Any]) -> None:
        """Write a row and wait until it is on disk."""
        assert self.out is not None, "a journal is written inside its context"
        self.out.write(json.dumps({"key": key, **row}, ensure_ascii=False).encode() + b"\n")
        self.out.flush()
        os.fsync(self.out.fileno())
        self.known[key] = row


@contextmanager
def open_journal(folder: Path, name: str) -> Iterator[Journal]:
    """The journal of a name, locked against other processes; waits for its turn.

    Args:
        folder: made if it is not there.
        name: of the file, without ending.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    with FileLock(folder / f"{name}.lock"):
        known, whole = _read(file)
        with file.open("ab") as out:
            out.truncate(whole)
            yield Journal(known, out)


def _read(file: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """(rows by key, bytes up to the end of the last whole line)."""
    known: dict[str, dict[str, Any]] = {}
    if not file.exists():
        return known, 0
    data = file.read_bytes()
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].splitlines():
        try:
            row = json.loads(line)
            known[row.pop("key")] = row
        except (ValueError, KeyError, AttributeError):
            continue  # a line that a power cut damaged: its answer is asked for again
    return known, whole
