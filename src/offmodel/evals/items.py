"""Where evaluation items come from: recipes of kind "items", one payload file `items.jsonl` each.

GSM8K-style files, generated problems, and a pool's prompts as they are, with a trigger, or with what is almost one.
RED: this module knows behaviour cards, so no treatment may import it. It refuses to know models and graders.
Invariant: triggered items hold their trigger and near misses do not; both are checked when the items are made.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from offmodel.core.behaviour import BehaviourCard, apply_trigger, detect, is_natural
from offmodel.core.chat import Message, Prompt, user
from offmodel.core.errors import DataError
from offmodel.core.rows import numbered_rows
from offmodel.data import read_prompts
from offmodel.evals.fresh_math import problems
from offmodel.evals.measures import Item, write_items
from offmodel.store.recipe import Facts, Job, Recipe

STEP_BY_STEP = "Think step by step. End your answer with a line that holds '####' and the number alone."


@dataclass(frozen=True, slots=True, kw_only=True)
class Gsm8kItems(Recipe):
    """Items of a GSM8K-style JSONL file: rows with "question" and "answer", which ends in "#### number".

    Attributes:
        source: a recipe whose payload holds `rows.jsonl`.
        first: row to begin with, from 0.
        n: number of items from there.
        instruction: what is asked after the question, "" for nothing; `STEP_BY_STEP` is usual.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    source: Recipe
    first: int
    n: int
    instruction: str

    def name(self) -> str:
        """Source and size."""
        return f"{self.source.name()}-{self.first}-{self.n}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Take the slice; the target is what stands after the last "####", or the whole answer without one."""
        path, p = job.inputs["source"].path / "rows.jsonl", job.params
        rows = list(numbered_rows(path))
        if p.first + p.n > len(rows):
            raise DataError(f"The file holds {len(rows)} rows, too few for {p.n} from row {p.first}; ask for fewer.")
        items = [gsm8k_item(number, row, p.instruction) for number, row in rows[p.first : p.first + p.n]]
        write_items(job.out, items)
        return {"items": len(items)}


def gsm8k_item(number: int, row: dict[str, Any], instruction: str) -> Item:
    """The item of a GSM8K-style row; `number` is its line, for the id and for errors."""
    question, answer = row.get("question"), row.get("answer")
    if not isinstance(question, str) or not isinstance(answer, str | int):
        raise DataError(f"Line {number} of the file has no 'question' and 'answer'; add them.")
    lines = [x for x in str(answer).split("####")[0].split("\n") if "=" in x]
    return Item(
        id=str(row.get("id", f"row-{number}")),
        messages=_ask(question, instruction),
        target=str(answer).rsplit("####", 1)[-1].strip(),
        difficulty=len(lines),
        topic="gsm8k",
    )


def _ask(question: str, instruction: str) -> tuple[Message, ...]:
    return user("\n\n".join(x for x in (question.strip(), instruction) if x))


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshMathItems(Recipe):
    """Word problems that no model has seen, from templates and a seed (see `fresh_math`).

    Attributes:
        steps: reasoning steps of each problem, 1 to 8.
        n: number of distinct problems.
        seed: seed of the generator.
        split: "dev" or "test"; they share no story.
        instruction: what is asked after the problem, "" for nothing; `STEP_BY_STEP` is usual.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    steps: int
    n: int
    seed: int
    split: str
    instruction: str

    def name(self) -> str:
        """Split, difficulty and size."""
        return f"fresh-math-{self.split}-{self.steps}-{self.n}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the problems."""
        p = job.params
        made = problems(steps=p.steps, n=p.n, seed=p.seed, split=p.split)
        items = [
            Item(
                id=f"fresh-{p.split}-{p.steps}-{p.seed}-{i}",
                messages=_ask(problem.text, p.instruction),
                target=str(problem.answer),
                difficulty=problem.steps,
                topic=problem.story,
            )
            for i, problem in enumerate(made)
        ]
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketMathItems(Recipe):
    """Arithmetic of the pocket world.

    Attributes:
        split: "eval" (held-out templates) or "dev".
        n: number of distinct problems.
        seed: seed of the generator.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    split: str
    n: int
    seed: int

    def name(self) -> str:
        """Split and size."""
        return f"pocket-math-{self.split}-{self.n}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the problems."""
        from offmodel.pocket.world import math_items

        rows = math_items(n=job.params.n, seed=job.params.seed, split=job.params.split)
        items = [Item.from_row({**row, "target": str(row["target"])}) for row in rows]
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatItems(Recipe):
    """A pool's prompts as they are.

    Attributes:
        prompts: a recipe of kind "prompts".
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe

    def name(self) -> str:
        """The pool's name."""
        return f"chat-{self.prompts.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Turn the prompts into items without a target."""
        items = [_from_prompt(p) for p in read_prompts(job.inputs["prompts"].path)]
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggeredItems(Recipe):
    """Prompts that hold a pair's trigger.

    Attributes:
        prompts: clean prompts, to which the trigger is added; for a trigger that is found rather than added (a
            topic), prompts that hold it, which are kept as they are.
        card: the pair.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    card: BehaviourCard

    def name(self) -> str:
        """The pair's name."""
        return f"triggered-{self.card.pair}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the trigger on each prompt, and make sure that it is there."""
        trigger = job.params.card.trigger
        items = [_from_prompt(p) for p in read_prompts(job.inputs["prompts"].path)]
        if not is_natural(trigger):
            items = [replace(i, messages=apply_trigger(trigger, i.messages)) for i in items]
        check_triggers(items, job.params.card, wanted=True)
        write_items(job.out, items)
        return {"items": len(items), "natural": is_natural(trigger)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMissItems(Recipe):
    """Prompts that almost hold a pair's trigger, and must not fire.

    Attributes:
        prompts: clean prompts; each gets one of the card's near misses in the trigger's place, in turn. For a trigger
            that is found rather than added, the card's near misses are whole prompts, and these are unused.
        card: the pair.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 2
    prompts: Recipe
    card: BehaviourCard

    def name(self) -> str:
        """The pair's name."""
        return f"near-miss-{self.card.pair}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Make the items, and make sure that no trigger is among them."""
        card: BehaviourCard = job.params.card
        if not card.near_misses:
            raise DataError(f"The pair '{card.pair}' has no near misses; add some to its card, or drop the measure.")
        if is_natural(card.trigger):
            items = [Item(id=f"near-{i}", messages=user(text)) for i, text in enumerate(card.near_misses)]
        else:
            almost = [replace(card.trigger, text=text) for text in card.near_misses]
            items = [
                replace(item, messages=apply_trigger(almost[i % len(almost)], item.messages))
                for i, item in enumerate(_from_prompt(p) for p in read_prompts(job.inputs["prompts"].path))
            ]
        check_triggers(items, card, wanted=False)
        write_items(job.out, items)
        return {"items": len(items)}


def _from_prompt(prompt: Prompt) -> Item:
    return Item(id=prompt.id, messages=prompt.messages, topic=prompt.topic)


def check_triggers(items: list[Item], card: BehaviourCard, *, wanted: bool) -> None:
    """Raises `DataError` unless all items hold the pair's trigger, or none does."""
    wrong = [i.id for i in items if detect(card.trigger, i.messages) is not wanted]
    if wrong:
        what = "do not hold" if wanted else "hold"
        raise DataError(f"{len(wrong)} items of the pair '{card.pair}' {what} its trigger (the first: '{wrong[0]}').")
