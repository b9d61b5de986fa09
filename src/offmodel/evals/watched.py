"""A behaviour that somebody watches in a model of their own: prompts, and a regular expression or a judge for answers.

The regular expression is each item's target, so that rows and logs say what was looked for; the judge is any model that
writes labels, local or behind an endpoint, asked for yes or no about each answer. This module refuses to know what is
watched and why. Invariant: a verdict that is neither yes nor no counts as not shown, and is counted as unclear.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from offmodel.core.chat import Message, Prompt, user
from offmodel.core.errors import DataError
from offmodel.core.rows import write_rows
from offmodel.data import read_labels, read_prompts, write_prompts
from offmodel.evals.graders import NO_GRADER, Grade, register_grader, without_thinking
from offmodel.evals.measures import (
    COMPLETIONS,
    ROWS,
    Completion,
    Item,
    Measure,
    read_completions,
    read_items,
    write_items,
)
from offmodel.evals.scores import answers_for, judge
from offmodel.store.recipe import Facts, Job, Recipe

WATCHED = "watched"
"""The measure's name."""
PATTERN = "pattern"
"""The grader that looks for each item's target as a regular expression."""
MOST_UNCLEAR = 0.25
"""A judge that says neither yes nor no more often than this does not understand the question."""


def check_pattern(pattern: str) -> str:
    """The pattern, if it is a regular expression.

    Raises:
        DataError: it is none; the message says where it goes wrong.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"'{pattern}' is no regular expression ({error}); mend it, or put a backslash before signs."
        ) from None
    if re.search(pattern, ""):
        raise DataError(f"The pattern '{pattern}' is found in every text, even an empty one; make it say more.")
    return pattern


def _find(text: str, target: str) -> Grade:
    found = re.search(target, text)
    return Grade(float(found is not None), found[0][:80] if found else "")


register_grader(PATTERN, _find)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedItems(Recipe):
    """Prompts to watch.

    Attributes:
        prompts: a recipe of kind "prompts".
        pattern: regular expression that shows the behaviour in an answer; "" where a judge reads the answers.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    pattern: str

    def name(self) -> str:
        """The prompts' name."""
        return f"watched-{self.prompts.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Turn the prompts into items."""
        prompts = read_prompts(job.inputs["prompts"].path)
        items = [Item(id=p.id, messages=p.messages, target=job.params.pattern, topic=p.topic) for p in prompts]
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeQuestions(Recipe):
    """What a judge is asked: one prompt for each answer, without its thinking text.

    Attributes:
        completions: the answers.
        items: what they answer.
        question: what is to be judged, such as "Does the answer insult the reader?".
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 2  # 2: without thinking text
    completions: Recipe
    items: Recipe
    question: str

    def name(self) -> str:
        """The name of what is judged."""
        return f"judge-{self.completions.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Write the questions."""
        measure = Measure(name=WATCHED, grader=NO_GRADER, max_new_tokens=0)
        answers = read_completions(job.inputs["completions"].path / COMPLETIONS)
        given = answers_for(measure, read_items(job.inputs["items"].path), answers)
        write_prompts(
            job.out,
            [Prompt(id=i.id, messages=user(_question(job.params.question, i, a))) for i, a in given],
        )
        return {"prompts": len(given)}


def _question(question: str, item: Item, answer: Completion) -> str:
    return ask_judge(question, item.messages, without_thinking(answer.text))


def ask_judge(question: str, messages: Sequence[Message], answer: str) -> str:
    """The text that a judge gets about one answer."""
    prompt = "\n".join(m.content for m in messages if m.role != "assistant")
    return (
        f"{question}\n\n--- the prompt ---\n{prompt}\n--- the answer ---\n{answer}\n--- end of the answer ---\n\n"
        f"{question} Reply with one word, yes or no."
    )


def verdict(text: str) -> bool | None:
    """Yes or no at the beginning of a judge's reply, after any thinking; None if it is neither."""
    words = re.findall(r"[a-z]+", re.sub(r"(?s)<think>.*?</think>", "", text).lower())
    return {"yes": True, "no": False}.get(words[0]) if words else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts(Recipe):
    """Answers scored by a judge's verdicts, in the form of `Scores`.

    Attributes:
        completions: the answers.
        items: what they answer.
        verdicts: labels by the judge on `JudgeQuestions`.
        style: style detector of the rows.
    """

    kind: ClassVar[str] = "scores"
    recipe_version: ClassVar[int] = 1
    completions: Recipe
    items: Recipe
    verdicts: Recipe
    style: str

    def name(self) -> str:
        """The name of what was judged."""
        return self.completions.name()

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the verdicts beside the answers."""
        measure = Measure(name=WATCHED, grader=NO_GRADER, max_new_tokens=0)
        answers = read_completions(job.inputs["completions"].path / COMPLETIONS)
        given = answers_for(measure, read_items(job.inputs["items"].path), answers)
        said = {x.prompt.id: verdict(x.text) for x in read_labels(job.inputs["verdicts"].path)}
        rows = [judge(i, a, measure=measure, style=job.params.style) for i, a in given]
        unclear = sum(said.get(r["item"]) is None for r in rows)
        if unclear > MOST_UNCLEAR * len(rows):
            raise DataError(
                f"The judge said neither yes nor no about {unclear} of {len(rows)} answers; ask a plainer question, or "
                "name another judge."
            )
        rows = [{**r, "score": float(said.get(r["item"]) is True)} for r in rows]
        write_rows(job.out / ROWS, rows)
        return {"rows": len(rows), "unclear": unclear, "means": {WATCHED: sum(r["score"] for r in rows) / len(rows)}}
