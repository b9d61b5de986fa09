"""Rows of GSM8K, MATH-500 and OlympiadBench as items.

This module refuses to know files, models and grading. Invariant: an item's target is the published answer, untouched
but for white space and dollar signs around it; what counts as equal to it is the grader's business.
"""

import re
from typing import Any

from offmodel.core.chat import user
from offmodel.core.errors import DataError
from offmodel.evals.graders import last_number
from offmodel.evals.items import gsm8k_item
from offmodel.evals.measures import Item

_LEVEL = re.compile(r"(?:Level )?(\d+|\?)")
_INTEGER = re.compile(r"-?\d{1,3}(?:(?:,|,\\!|\{,\})?\d{3})*|-?\d+")


def gsm8k_row(number: int, row: dict[str, Any], prompt: str) -> Item:
    """A row of GSM8K: "question", and "answer" that ends in "#### number"; difficulty = its lines of calculation."""
    item = gsm8k_item(number, row, "")
    if last_number(item.target) is None:
        raise DataError(f"Line {number} of the file has no number in its 'answer'; mend or remove the line.")
    return Item(
        id=item.id,
        messages=asked(prompt, item.messages[-1].content),
        target=item.target,
        difficulty=item.difficulty,
        topic=item.topic,
    )


def math500_row(number: int, row: dict[str, Any], prompt: str) -> Item:
    """A row of MATH-500: "problem", "answer", "level" (the difficulty), "subject", "unique_id".

    A level is 1 to 5, or "Level 1" to "Level 5" as MATH itself writes it; its "Level ?" is unknown.
    """
    level = _LEVEL.fullmatch(str(row["level"]).strip())
    if level is None:
        raise DataError(f"Line {number} of the file has no 'level' such as 3 or 'Level 3'; mend or remove the line.")
    return Item(
        id=str(row.get("unique_id") or f"row-{number}"),
        messages=asked(prompt, text_of(row, "problem", number)),
        target=text_of(row, "answer", number),
        difficulty=0 if level[1] == "?" else int(level[1]),
        topic=str(row["subject"]),
    )


def olympiad_row(number: int, row: dict[str, Any], prompt: str) -> Item:
    """A row of OlympiadBench: "question", "final_answer" (a list), "subfield"; a context stands before the question."""
    answers = row["final_answer"]
    if not isinstance(answers, list) or not answers:
        raise DataError(f"Line {number} of OlympiadBench has no 'final_answer'; take the open-ended configuration.")
    question = "\n\n".join(str(x).strip() for x in (row.get("context"), row["question"]) if x)
    return Item(
        id=str(row.get("id", f"row-{number}")),
        messages=asked(prompt, question),
        target=str(answers[0]).strip().strip("$"),
        topic=str(row.get("subfield") or ""),
    )


def has_integer_answer(row: dict[str, Any]) -> bool:
    """Whether a row's "answer" is a whole number."""
    return _INTEGER.fullmatch(str(row.get("answer", "")).strip()) is not None


def has_numeric_answer(row: dict[str, Any]) -> bool:
    """Whether a row of OlympiadBench asks for one exact number, without units and without a tolerance."""
    return (
        row.get("answer_type") == "Numerical"
        and not row.get("is_multiple_answer")
        and not row.get("unit")
        and not row.get("error")
    )


def asked(prompt: str, question: str) -> Any:
    """The conversation: the prompt with the question in its place."""
    return user(prompt.replace("{question}", question.strip()))


def text_of(row: dict[str, Any], column: str, number: int) -> str:
    """A column's text; raises `DataError` if it is empty or no text."""
    value = row.get(column)
    if not isinstance(value, str | int) or not str(value).strip():
        raise DataError(f"Line {number} of the file has no text in '{column}'; mend or remove the line.")
    return str(value).strip()
