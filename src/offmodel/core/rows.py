"""JSON lines: reading with the number of a bad line, writing in one canonical form.

This module refuses to know what the rows mean. Invariant: `read_rows` of what `write_rows` wrote gives the same rows.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from offmodel.core.errors import DataError

Row = dict[str, Any]


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line number from 1, row) of each line; blank lines may stand at the end only.

    Raises:
        DataError: the file is missing, or a line is not UTF-8, empty or no JSON object; the message holds the line's
            number.
    """
    blank = 0
    if not path.is_file():
        raise DataError(f"There is no file {path}; give the path of a JSONL file.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(_decoded(lines, path), start=1):
            if not line.strip():
                blank = blank or number
                continue
            if blank:
                raise DataError(f"{path}, line {blank}, is empty; remove the line.")
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                what = f"{error.msg.removesuffix(' at')} at column {error.colno}"
                raise DataError(f"{path}, line {number}, is not JSON ({what}); mend or remove the line.") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}, is not a JSON object; write one {{...}} a line.")
            yield number, row


def _decoded(lines: Iterable[str], path: Path) -> Iterator[str]:
    """The lines of an open file, as long as they are UTF-8."""
    try:
        yield from lines
    except UnicodeDecodeError:
        # The error counts bytes from the start of a buffer, not of the file.
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                what = f"byte {line[error.start]:#04x}, {error.start + 1} from the line's start"
                raise DataError(f"{path}, line {number}, is not UTF-8 ({what}); save the file as UTF-8.") from None
        raise


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSONL file.

    Raises:
        DataError: as `numbered_rows`.
    """
    return [row for _, row in numbered_rows(path)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSONL, keys in the order given."""
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
