"""IFEval: prompts with instructions that a program can check, by the official rules, strict and loose.

The rules are those of the benchmark's authors, from the package if-verifiable (extra `evals`). Loose accepts an answer
if it follows an instruction with its first line, its last line or its asterisks taken away. A prompt counts as right if
all of its instructions are followed; every row also has the other published rates. This module refuses to know files
and models. Invariant: a verdict is a function of answer and item: the language detector is seeded.
"""

import json
from functools import cache
from types import SimpleNamespace
from typing import Any

from offmodel.core.chat import user
from offmodel.core.errors import DataError
from offmodel.evals.graders import Grade, register_grader
from offmodel.evals.measures import Item
from offmodel.evals.suites.mathematics import text_of

STRICT, LOOSE = (f"offmodel.evals.suites.instructions:ifeval_{how}" for how in ("strict", "loose"))
"""Graders, named with this module so that every process finds them."""

NEED_SENTENCES = ("length_constraints:number_sentences", "change_case:capital_word_frequency")
"""Instructions that are checked with NLTK's sentence model, which is data and not part of the package."""


def ifeval_row(number: int, row: dict[str, Any], prompt: str) -> Item:
    """A row of IFEval: "key", "prompt", "instruction_id_list", "kwargs"; difficulty = number of instructions.

    The list of kwargs, or each of them, may be written as a text that holds JSON.
    """
    kinds, arguments = row["instruction_id_list"], _parsed(row["kwargs"], number)
    if not isinstance(kinds, list) or not isinstance(arguments, list) or len(kinds) != len(arguments) or not kinds:
        raise DataError(f"Line {number} of IFEval has no 'instruction_id_list' with as many 'kwargs'; mend the line.")
    question = text_of(row, "prompt", number)
    given = [_arguments(a, number) for a in arguments]
    return Item(
        id=str(row.get("key", f"row-{number}")),
        messages=user(prompt.replace("{question}", question)),
        target=json.dumps({"prompt": question, "instruction_id_list": kinds, "kwargs": given}, sort_keys=True),
        difficulty=len(kinds),
        topic=str(kinds[0]).split(":")[0],
    )


def _parsed(given: Any, number: int) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except json.JSONDecodeError:
        raise DataError(f"Line {number} of IFEval has 'kwargs' that are a text but no JSON; mend the line.") from None


def _arguments(given: Any, number: int) -> dict[str, Any]:
    """The arguments of one instruction, without those that are not given."""
    found = _parsed(given, number) or {}
    if not isinstance(found, dict):
        raise DataError(f"Line {number} of IFEval has 'kwargs' that are no JSON objects; mend the line.")
    return {k: v for k, v in found.items() if v is not None}


def check_rules(rows: list[dict[str, Any]]) -> None:
    """Raises `DataError` if the rules, or the data that these rows need of them, are not installed."""
    known = _rules()
    kinds = {k for row in rows for k in row.get("instruction_id_list", ())}
    strange = sorted(kinds - set(known))
    if strange:
        raise DataError(f"IFEval's rules know no instruction '{strange[0]}'; take the benchmark's own rows.")
    if kinds & set(NEED_SENTENCES):
        _check_sentences()


def verdicts(text: str, target: str) -> list[tuple[str, bool, bool]]:
    """(instruction, followed strictly, followed loosely) of each instruction of an item."""
    from if_verifiable.common import evaluate_instructions  # pyright: ignore[reportMissingImports]

    asked = SimpleNamespace(**json.loads(target))
    found, _ = evaluate_instructions(
        response=text,
        instruction_id_list=asked.instruction_id_list,
        kwargs_list=asked.kwargs,
        prompt=asked.prompt,
        instruction_registry=_rules(),
    )
    # An empty answer gets no verdicts from the package; by the official rules it follows nothing.
    if not found:
        return [(kind, False, False) for kind in asked.instruction_id_list]
    return [(r.instruction_id, r.strict_pass, r.loose_pass) for r in found]


def _grade(text: str, target: str, *, headline: str) -> Grade:
    found = verdicts(text, target)
    rates: dict[str, float] = {}
    for name, followed in (("strict", [s for _, s, _ in found]), ("loose", [x for _, _, x in found])):
        rates |= {name: float(all(followed)), f"{name}_share": sum(followed) / len(followed)}
    missed = ", ".join(kind for kind, strict, _ in found if not strict)
    return Grade(rates[headline], f"not {missed}" if missed else "all followed", tuple(rates.items()))


@cache
def _rules() -> dict[str, Any]:
    """The official checkers by instruction."""
    try:
        import langdetect  # pyright: ignore[reportMissingImports]
        from if_verifiable.ifeval.instructions_registry import (  # pyright: ignore[reportMissingImports]
            INSTRUCTION_DICT,
        )
    except ImportError:
        raise DataError("IFEval's rules need the package 'if-verifiable'; install offmodel[evals].") from None
    langdetect.DetectorFactory.seed = 0
    return dict(INSTRUCTION_DICT)


def _check_sentences() -> None:
    import nltk  # pyright: ignore[reportMissingImports]

    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        raise DataError(
            "IFEval's rules need NLTK's sentence model; run 'python -m nltk.downloader punkt_tab' with a network, and "
            "copy the folder nltk_data into your home folder (or name it in NLTK_DATA) on a machine without."
        ) from None


register_grader("ifeval_strict", lambda text, target: _grade(text, target, headline="strict"))
register_grader("ifeval_loose", lambda text, target: _grade(text, target, headline="loose"))
