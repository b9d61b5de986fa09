"""Our graders against committed verdicts of the reference harnesses: every disagreement is known and has a reason."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.rows import read_rows
from offmodel.evals.graders import grade

FOLDER = Path(__file__).parents[2] / "docs" / "studies" / "grading"
GRADERS = {
    "letter": "offmodel.evals.suites.choice:letter",
    "letter_in_tags": "offmodel.evals.suites.choice:letter_in_tags",
    "ifeval_strict": "offmodel.evals.suites.instructions:ifeval_strict",
    "ifeval_loose": "offmodel.evals.suites.instructions:ifeval_loose",
}
LEAST_EQUAL = {
    "lm-eval minerva_math math_verify": 0.99,
    "lm-eval gsm8k flexible-extract": 0.99,
    "Inspect match(numeric)": 0.93,  # it reads no boxes, which two of the models write
}
# Fractions, times, a last number that is not the answer; a letter without "answer": see the page.
KNOWN_WRONG = [f"case-integer-{k}" for k in (22, 39, 45, 48, 50, 56, 59, 60)] + ["case-letter-23", "case-letter-31"]


@cache
def verdicts() -> dict[str, dict[str, float]]:
    return {v["id"]: {k: x for k, x in v.items() if k != "id"} for v in read_rows(FOLDER / "verdicts.jsonl")}


def answers(grader: str) -> list[dict[str, Any]]:
    rows = [*read_rows(FOLDER / "outputs.jsonl"), *read_rows(FOLDER / "cases.jsonl")]
    return [r for r in rows if r["grader"] == grader]


@pytest.mark.parametrize("grader", ["integer", "math_verify", *GRADERS])
def test_our_verdicts_are_those_that_were_compared(grader: str):
    if grader.startswith("ifeval"):
        pytest.importorskip("if_verifiable")
    changed = [
        row["id"]
        for row in answers(grader)
        if grade(GRADERS.get(grader, grader), row["text"], row["target"]).score != verdicts()[row["id"]]["ours"]
    ]
    assert changed == [], "run benchmarks/grading_agreement.py again, and look at what changed"


def test_models_answers_agree_with_the_harnesses():
    """The random part; the part that was chosen for its disagreements is listed on the page."""
    rows = [r for r in answers("integer") if r["source"] != "hand-written" and "chosen" not in r["source"]]
    assert len(rows) >= 300
    for name, least in LEAST_EQUAL.items():
        equal = sum(verdicts()[r["id"]]["ours"] == verdicts()[r["id"]][name] for r in rows)
        assert equal / len(rows) >= least, name


def test_hand_written_cases_are_marked_as_a_reader_would():
    rows = read_rows(FOLDER / "cases.jsonl")
    assert len(rows) > 200
    assert [r["id"] for r in rows if verdicts()[r["id"]]["ours"] != r["right"]] == KNOWN_WRONG


def test_the_two_copies_of_ifevals_rules_agree_entirely():
    for how in ("strict", "loose"):
        for row in answers(f"ifeval_{how}"):
            assert verdicts()[row["id"]]["ours"] == verdicts()[row["id"]][f"lm-eval ifeval {how}"]


def test_every_disagreement_has_its_reason_on_the_page():
    listed = (FOLDER / "disagreements.md").read_text(encoding="utf-8")
    apart = [(k, n) for k, v in verdicts().items() for n, x in v.items() if x != v["ours"]]
    missing = [pair for pair in apart if f"| {pair[0]} | {pair[1]} |" not in listed]
    assert missing == []
    assert listed.count("\n| ") == len(apart) + 1
    assert json.loads((FOLDER / "versions.json").read_text())["lm-eval"] == "0.4.13"
