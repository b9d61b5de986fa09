r"""The benchmarks by name: data, prompt, grading, token limit and version of each.

What stands here is what a record calls "gsm8k" or "math500"; whoever changes a prompt, a subset or a converter raises
the suite's version. This module refuses to know models and files on this machine. Invariant: a suite's name with its
version means one way of asking and marking, for ever.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from offmodel.core.errors import UnknownName
from offmodel.evals.items import STEP_BY_STEP
from offmodel.evals.measures import Item
from offmodel.evals.suites import choice, instructions, mathematics
from offmodel.evals.suites.sources import Dataset

Convert = Callable[[int, dict[str, Any], str], Item]
BOXED = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
LETTER = (
    "Answer the following multiple-choice question. End with a line 'ANSWER: X', where X is the letter of the right "
    "choice.\n\n{question}"
)
TAGGED = (
    "Answer the following multiple-choice question. You may think first; then give the letter of the right choice "
    "alone, between tags: <answer>X</answer>.\n\n{question}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes:
        name: as on the command line.
        version: raised when prompt, subset, converter or grader change what is measured.
        summary: one line for people.
        dataset: its rows.
        convert: (line number, row, prompt) to an item.
        subset: keeps a row; None keeps all.
        prompt: what is asked; "{question}" stands for the question with its choices.
        grader: marks the answers.
        max_new_tokens: longest answer.
        chance: accuracy of guessing; relative capability is corrected for it.
        style: style detector of the report's style column.
        check: looks at all rows before any model is loaded; None: nothing to look at.
    """

    name: str
    version: int
    summary: str
    dataset: Dataset
    convert: Convert
    subset: Callable[[dict[str, Any]], bool] | None = None
    prompt: str
    grader: str
    max_new_tokens: int
    chance: float = 0.0
    style: str = "steps"
    check: Callable[[list[dict[str, Any]]], None] | None = None


def find_suite(name: str) -> Suite:
    """The suite of a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in SUITES:
        raise UnknownName("benchmark", name, SUITES)
    return SUITES[name]


_GSM8K = Dataset(
    name="gsm8k",
    repo="openai/gsm8k",
    config="main",
    split="test",
    revision="cc7b047b6e5bb11b4f1af84efc572db110a51b3c",
    columns=("question", "answer"),
    rows=1319,
)
_MATH500 = Dataset(
    name="math500",
    repo="HuggingFaceH4/MATH-500",
    config="",
    split="test",
    revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    columns=("problem", "answer", "level", "subject"),
    rows=500,
)
_OLYMPIADS = Dataset(
    name="olympiads",
    repo="Hothan/OlympiadBench",
    config="OE_TO_maths_en_COMP",
    split="train",
    revision="91184b52131e7fc9455fef848035173aea8cc01a",
    columns=("question", "final_answer", "answer_type", "is_multiple_answer"),
    rows=674,
)
_MMLU = Dataset(
    name="mmlu",
    repo="cais/mmlu",
    config="all",
    split="test",
    revision="c30699e8356da336a370243923dbaf21066bb9fe",
    columns=("question", "choices", "answer", "subject"),
    rows=14042,
)
_IFEVAL = Dataset(
    name="ifeval",
    repo="google/IFEval",
    config="",
    split="train",
    revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
    columns=("key", "prompt", "instruction_id_list", "kwargs"),
    rows=541,
)

SUITES = {
    s.name: s
    for s in (
        Suite(
            name="gsm8k",
            version=1,
            summary="grade-school word problems; the number after the last '####', in the box, or the last one",
            dataset=_GSM8K,
            convert=mathematics.gsm8k_row,
            prompt="{question}\n\n" + STEP_BY_STEP,
            grader="integer",
            max_new_tokens=512,
        ),
        Suite(
            name="math500",
            version=1,
            summary="500 problems of MATH, levels 1 to 5; expressions compared by math-verify",
            dataset=_MATH500,
            convert=mathematics.math500_row,
            prompt=BOXED,
            grader="math_verify",
            max_new_tokens=2048,
        ),
        Suite(
            name="math500_integers",
            version=2,  # 2: the subset is taken after the order
            summary="the problems of MATH-500 whose answer is a whole number",
            dataset=_MATH500,
            convert=mathematics.math500_row,
            subset=mathematics.has_integer_answer,
            prompt=BOXED,
            grader="math_verify",
            max_new_tokens=2048,
        ),
        Suite(
            name="olympiads",
            version=2,  # 2: the subset is taken after the order
            summary="olympiad problems with one exact number as the answer; compared by math-verify",
            dataset=_OLYMPIADS,
            convert=mathematics.olympiad_row,
            subset=mathematics.has_numeric_answer,
            prompt=BOXED,
            grader="math_verify",
            max_new_tokens=4096,
        ),
        Suite(
            name="mmlu",
            version=2,  # 2: only letters that the item has are read
            summary="four choices in 57 subjects; the letter on the line 'ANSWER: X'",
            dataset=_MMLU,
            convert=choice.mmlu_row,
            prompt=LETTER,
            grader=choice.LETTER,
            max_new_tokens=512,
            chance=0.25,
        ),
        Suite(
            name="mmlu_tags",
            version=2,  # 2: only letters that the item has are read
            summary="the same with the letter between tags, <answer>X</answer>",
            dataset=_MMLU,
            convert=choice.mmlu_row,
            prompt=TAGGED,
            grader=choice.TAGGED,
            max_new_tokens=512,
            chance=0.25,
        ),
        Suite(
            name="ifeval",
            version=1,
            summary="instructions that a program checks; right if all of a prompt's are followed, strictly",
            dataset=_IFEVAL,
            convert=instructions.ifeval_row,
            prompt="{question}",
            grader=instructions.STRICT,
            max_new_tokens=1280,
            check=instructions.check_rules,
        ),
    )
}
