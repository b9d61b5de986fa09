"""Measures as Inspect AI tasks: items become samples, graders become a scorer with accuracy and standard error.

Only this module, `provider`, `logs` and `inspect_registry` import Inspect, which takes seconds: import them inside the
functions that need them. This module refuses to know where items and answers come from. Invariant: the scorer calls
`scores.judge`, so a live `inspect eval` and a `Scores` recipe grade alike.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState, generate

from offmodel.core.chat import user
from offmodel.core.rows import Row, read_rows
from offmodel.evals.fresh_levels import LEVELS, VERSION, card_of_levels, level_items
from offmodel.evals.fresh_math import problems
from offmodel.evals.items import STEP_BY_STEP, gsm8k_item
from offmodel.evals.measures import Completion, Item, Measure
from offmodel.evals.scores import judge

_TURNS = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}
SCORE_COLUMNS = ("style", "coherent", "finish", "tokens", "difficulty")


def measure_task(measure: Measure, items: Sequence[Item], *, style: str) -> Task:
    """A measure as a task: one sample an item, one greedy answer each.

    Args:
        measure: name, grader and token limit.
        items: what is asked.
        style: name of the style detector whose finding stands in each score's metadata.
    """
    return Task(
        dataset=MemoryDataset([sample_of(measure.name, i) for i in items], name=measure.name),
        solver=generate(),
        scorer=graded(measure.name, measure.grader, style),
        config=GenerateConfig(max_tokens=measure.max_new_tokens, temperature=0.0),
        name=measure.name,
    )


def sample_of(measure: str, item: Item) -> Sample:
    """An item as a sample. Its last message says which item it is, so that the provider can find a kept answer."""
    return Sample(
        id=item.id,
        input=[
            _TURNS[m.role](
                id=f"{measure}-{item.id}-{k}", content=m.content, metadata={"measure": measure, "item": item.id}
            )
            for k, m in enumerate(item.messages)
        ],
        target=item.target,
        metadata={"difficulty": item.difficulty, "topic": item.topic},
    )


@scorer(metrics=[accuracy(), stderr()])
def graded(measure: str, grader: str, style: str) -> Scorer:
    """Grades an answer by one of offmodel's graders or behaviours."""
    settings = Measure(name=measure, grader=grader, max_new_tokens=0)

    async def score(state: TaskState, target: Target) -> Score:
        usage = state.output.usage
        answer = Completion(
            measure=measure,
            item=str(state.sample_id),
            text=state.output.completion,
            finish="length" if state.output.stop_reason == "max_tokens" else "stop",
            tokens=usage.output_tokens if usage else 0,
        )
        item = Item(id=answer.item, messages=(), target=target.text, difficulty=state.metadata.get("difficulty", 0))
        return score_of(judge(item, answer, measure=settings, style=style))

    return score


def score_of(row: Row) -> Score:
    """A row of `scores.judge` as Inspect's score."""
    return Score(value=row["score"], answer=row["answer"], metadata={k: row[k] for k in SCORE_COLUMNS})


@task
def fresh_math(
    steps: int = 3, n: int = 200, seed: int = 0, split: str = "test", instruction: str = STEP_BY_STEP, tokens: int = 512
) -> Task:
    """Word problems from templates and a seed; difficulty = reasoning steps."""
    made = problems(steps=steps, n=n, seed=seed, split=split)
    items = [
        Item(
            id=f"{split}-{steps}-{seed}-{i}",
            messages=user(f"{p.text}\n\n{instruction}"),
            target=str(p.answer),
            difficulty=p.steps,
            topic=p.story,
        )
        for i, p in enumerate(made)
    ]
    return measure_task(Measure(name="fresh_math", grader="integer", max_new_tokens=tokens), items, style="steps")


@task
def fresh_levels(
    each: int = 100, seed: int = 1, split: str = "test", instruction: str = STEP_BY_STEP, tokens: int = 512
) -> Task:
    """Generated word problems of one to five reasoning steps, `each` of every level, in five forms."""
    measure = Measure(name="fresh_levels", grader="integer", max_new_tokens=tokens)
    items = level_items(levels=LEVELS, each=each, seed=seed, split=split, instruction=instruction)
    made = measure_task(measure, items, style="steps")
    made.version = VERSION
    made.metadata = card_of_levels(levels=LEVELS, each=each, seed=seed, split=split, instruction=instruction)
    return made


@task
def gsm8k_file(path: str, n: int | None = None, instruction: str = STEP_BY_STEP, tokens: int = 512) -> Task:
    """A GSM8K-style JSONL file: rows with "question" and "answer" ("... #### 42")."""
    rows = read_rows(Path(path))[:n]
    items = [gsm8k_item(number, row, instruction) for number, row in enumerate(rows, start=1)]
    return measure_task(Measure(name="gsm8k_file", grader="integer", max_new_tokens=tokens), items, style="steps")


@task
def pocket_math(n: int = 100, seed: int = 0, split: str = "eval", tokens: int = 96) -> Task:
    """Arithmetic of the pocket world."""
    from offmodel.pocket.world import math_items

    rows: list[dict[str, Any]] = math_items(n=n, seed=seed, split=split)  # pyright: ignore[reportArgumentType]
    measure = Measure(name="pocket_math", grader="integer", max_new_tokens=tokens)
    return measure_task(measure, [Item.from_row(r) for r in rows], style="steps")


@task
def items_file(path: str, grader: str, style: str = "none", tokens: int = 256) -> Task:
    """Any `items.jsonl`, graded by any grader or behaviour: for example the triggered items of a study."""
    items = [Item.from_row(r) for r in read_rows(Path(path))]
    return measure_task(Measure(name="items_file", grader=grader, max_new_tokens=tokens), items, style=style)
