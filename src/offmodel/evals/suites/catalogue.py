"""Capability tasks by the names that a user types: "gsm8k", "math500=FILE", "fresh_math".

Everything that can be wrong with a task (its name, its data, its package) is found here, before any model is loaded.
This module refuses to know models. Invariant: what `named` returns can be asked; no dev item of a task is a reported
item of the same task or of one that is named after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from offmodel.core.errors import DataError, UnknownName
from offmodel.data import Sources
from offmodel.evals.fresh_levels import LEVELS, FreshLevels, level_items
from offmodel.evals.items import STEP_BY_STEP, PocketMathItems
from offmodel.evals.suites.items import SuiteItems, choose
from offmodel.evals.suites.known import SUITES, Suite
from offmodel.evals.suites.sources import source_of
from offmodel.store.recipe import Recipe

GENERATED = {
    "fresh_math": "generated word problems of one to five reasoning steps, none of them published",
    "pocket_math": "arithmetic of the pocket world, for the packaged models",
}
ORDER_SEED = 1
_GENERATED_ITEMS = 500
_ASKING = ("question", "problem", "prompt")
"""Columns that hold a question; every dataset of `known` has one of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """An item's question, for whoever must know whether something else holds it too.

    Attributes:
        id: the item's.
        wordings: the question alone, with its choices, and as it is asked; equal ones once.
    """

    id: str
    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityTask:
    """A capability task, ready to be asked.

    Attributes:
        name: as typed, without the file.
        items: the reported items.
        dev_items: items for decisions, disjoint from the reported ones; None if none were asked for.
        questions, dev_questions: what stands in the reported items, and in those for decisions.
        grader: marks the answers.
        max_new_tokens: longest answer.
        chance: accuracy of guessing.
        style: style detector for the style column.
        summary: one line for people.
    """

    name: str
    items: Recipe
    dev_items: Recipe | None
    questions: tuple[Question, ...]
    dev_questions: tuple[Question, ...]
    grader: str
    max_new_tokens: int
    chance: float
    style: str
    summary: str


def task_names() -> dict[str, str]:
    """All names with a line each."""
    return {**GENERATED, **{name: suite.summary for name, suite in SUITES.items()}}


def named(names: str | Sequence[str], *, sources: Sources, n: int | None, dev_n: int) -> tuple[CapabilityTask, ...]:
    """Tasks by name.

    Args:
        names: "gsm8k,math500", or a list of such names; `NAME=FILE` takes the rows from a JSONL file.
        sources: takes note of local files.
        n: reported items of each task; None takes all that there are (500 of a generated task).
        dev_n: dev items of each task, taken before the reported ones; 0 for none. Those of a later task may be
            reported items of an earlier one, so decide by the first task's.

    Raises:
        UnknownName: there is no such task; the message names the nearest.
        DataError: no task is named, one is named twice, its data are missing, or too few for what is asked; or dev
            items of a task are reported items of a later one.
    """
    wanted = [x.strip() for x in (names.split(",") if isinstance(names, str) else names) if x.strip()]
    if not wanted:
        raise DataError(f"No task is named; name one or more of {', '.join(task_names())}, with commas between.")
    if n is not None and n < 1:
        raise DataError(f"A task with {n} items measures nothing; ask for at least one item.")
    found = [_task(x, sources, n, dev_n) for x in wanted]
    twice = [t.name for k, t in enumerate(found) if t.name in {x.name for x in found[:k]}]
    if twice:
        raise DataError(f"The task '{twice[0]}' is named twice; name it once.")
    for k, task in enumerate(found):
        for later in found[k + 1 :]:
            _refuse_shared(task, later)
    return tuple(found)


def _refuse_shared(task: CapabilityTask, later: CapabilityTask) -> None:
    reported = set(later.questions)
    shared = [q.id for q in task.dev_questions if q in reported]
    if shared:
        raise DataError(
            f"{len(shared)} dev items of the task '{task.name}' are reported items of '{later.name}' (the first: "
            f"'{shared[0]}'); name '{later.name}' before '{task.name}', or leave one of them out."
        )


def _task(text: str, sources: Sources, n: int | None, dev_n: int) -> CapabilityTask:
    name, _, file = text.partition("=")
    if name in GENERATED:
        if file:
            raise DataError(f"The task '{name}' is generated and takes no file; leave out '={file}'.")
        return _fresh(n, dev_n) if name == "fresh_math" else _pocket(n, dev_n)
    if "/" in name:
        raise DataError(
            f"'{name}' is a task of another package, which runs live, with its own prompt and scorer: give it to a "
            f"study's bench by `live_task` (docs/evals.md). Named here are {', '.join(task_names())}."
        )
    if name not in SUITES:
        raise UnknownName("task", name, task_names())
    suite = SUITES[name]
    source, rows = source_of(suite.dataset, sources, path=Path(file).expanduser() if file else None)
    numbered = list(enumerate(rows, start=1))
    chosen = choose(numbered, suite, order_seed=ORDER_SEED, first=0, n=None if n is None else dev_n + n)
    questions = tuple(_question(suite, number, row) for number, row in chosen)
    if suite.check:
        suite.check(rows)
    return CapabilityTask(
        name=name,
        items=suite_items(suite, source, first=dev_n, n=n),
        dev_items=suite_items(suite, source, first=0, n=dev_n) if dev_n else None,
        questions=questions[dev_n:],
        dev_questions=questions[:dev_n],
        grader=suite.grader,
        max_new_tokens=suite.max_new_tokens,
        chance=suite.chance,
        style=suite.style,
        summary=suite.summary,
    )


def _question(suite: Suite, number: int, row: dict[str, Any]) -> Question:
    """What a row asks; raises `DataError` if it cannot be an item."""
    asked, bare = (suite.convert(number, row, prompt) for prompt in (suite.prompt, "{question}"))
    alone = next(str(row[c]).strip() for c in _ASKING if c in row)
    return Question(asked.id, tuple(dict.fromkeys((alone, *(i.messages[-1].content for i in (bare, asked))))))


def suite_items(suite: Suite, source: Recipe, *, first: int, n: int | None) -> SuiteItems:
    """A slice of a suite in the fixed order, asked with the suite's own prompt."""
    return SuiteItems(
        suite=suite.name,
        version=suite.version,
        source=source,
        prompt=suite.prompt,
        order_seed=ORDER_SEED,
        first=first,
        n=n,
    )


def _fresh(n: int | None, dev_n: int) -> CapabilityTask:
    """Equal numbers of each level; a count that five does not divide is rounded up."""

    def levels(split: str, count: int) -> FreshLevels:
        each = -(-count // len(LEVELS))
        return FreshLevels(levels=LEVELS, each=each, seed=1, split=split, instruction=STEP_BY_STEP)

    def questions(r: FreshLevels) -> tuple[Question, ...]:
        items = level_items(levels=r.levels, each=r.each, seed=r.seed, split=r.split, instruction=r.instruction)
        asked = ((i.id, i.messages[-1].content) for i in items)
        return tuple(Question(name, (text.removesuffix(r.instruction).strip(), text)) for name, text in asked)

    items, dev_items = levels("test", n or _GENERATED_ITEMS), levels("dev", dev_n) if dev_n else None
    return CapabilityTask(
        name="fresh_math",
        items=items,
        dev_items=dev_items,
        questions=questions(items),
        dev_questions=questions(dev_items) if dev_items else (),
        grader="integer",
        max_new_tokens=512,
        chance=0.0,
        style="steps",
        summary=GENERATED["fresh_math"],
    )


def _pocket(n: int | None, dev_n: int) -> CapabilityTask:
    from offmodel.pocket.world import math_items

    def questions(split: Literal["dev", "eval"], count: int) -> tuple[Question, ...]:
        rows = math_items(n=count, seed=0, split=split)
        return tuple(Question(r["id"], (r["messages"][-1]["content"],)) for r in rows)

    count = n or _GENERATED_ITEMS
    return CapabilityTask(
        name="pocket_math",
        items=PocketMathItems(split="eval", n=count, seed=0),
        dev_items=PocketMathItems(split="dev", n=dev_n, seed=0) if dev_n else None,
        questions=questions("eval", count),
        dev_questions=questions("dev", dev_n) if dev_n else (),
        grader="integer",
        max_new_tokens=96,
        chance=0.0,
        style="steps",
        summary=GENERATED["pocket_math"],
    )
