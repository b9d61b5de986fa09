"""`fresh_math` at five levels: generated word problems of one to five reasoning steps, in five forms.

The level is the number of operations in the natural solution, recorded as each item's difficulty, so the loss of
capability can be drawn by difficulty. Many forms, shapes and sentences, drawn anew for each seed, leave nothing to
memorise. (`fresh_math` has the first generator, chains alone, as earlier recipes name it.) This module refuses to know
models. Invariant: equal arguments give equal problems; the splits share no sentence; the levels are of equal size.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from offmodel.core.chat import user
from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.evals.fresh_forms import FORMS, DeadEnd, Draft
from offmodel.evals.fresh_math import Problem
from offmodel.evals.fresh_more import CHAINS
from offmodel.evals.measures import SUITE_CARD, Item, write_items
from offmodel.store.recipe import Facts, Job, Recipe

LEVELS = (1, 2, 3, 4, 5)
VERSION = 2
"""Raised with the problems, the prompt or what stands beside them."""
_PATIENCE = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(Problem):
    """A problem with how it was made.

    Attributes:
        shape: what kind it is; equal shapes differ in words and numbers only.
        work: the operations that lead to the answer, as "12 + 3 = 15".
    """

    shape: tuple[str, ...]
    work: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshLevels(Recipe):
    """Generated word problems of several levels in one file; the level is each item's difficulty.

    Attributes:
        levels: numbers of reasoning steps, 1 to 5 each.
        each: distinct problems of each level.
        seed: seed of the generator.
        split: "dev" or "test"; they share no sentence.
        instruction: what is asked after the problem, "" for nothing.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = VERSION
    levels: tuple[int, ...]
    each: int
    seed: int
    split: str
    instruction: str

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if self.split not in CHAINS:
            raise UnknownName("split of fresh_math", self.split, CHAINS)
        if not self.levels or not set(self.levels) <= set(LEVELS) or len(set(self.levels)) < len(self.levels):
            raise RecipeError(f"fresh_math has the levels 1 to 5, each once, not {self.levels}; choose among them.")
        if self.each < 1:
            raise RecipeError(f"fresh_math is asked for {self.each} problems of a level; ask for at least one.")

    def name(self) -> str:
        """Split, levels and size."""
        return f"fresh-math-{self.split}-levels-{''.join(map(str, self.levels))}-{self.each}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the problems, level after level, with a card as published benchmarks have it."""
        asked = {k: getattr(job.params, k) for k in ("levels", "each", "seed", "split", "instruction")}
        items = level_items(**asked)
        write_items(job.out, items)
        card = card_of_levels(**asked) | {"items": len(items)}
        (job.out / SUITE_CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return {**card, "levels": list(job.params.levels)}


def card_of_levels(*, levels: tuple[int, ...], each: int, seed: int, split: str, instruction: str) -> dict[str, Any]:
    """What a record says of these problems; arguments as in `FreshLevels`."""
    return {
        "suite": "fresh_math",
        "version": VERSION,
        "dataset": f"generated: levels {', '.join(map(str, levels))}, {each} each, seed {seed}, split {split}",
        "prompt": "\n\n".join(x for x in ("{question}", instruction) if x),
    }


def level_items(*, levels: tuple[int, ...], each: int, seed: int, split: str, instruction: str) -> list[Item]:
    """The problems of all levels as items; arguments as in `FreshLevels`."""
    return [
        Item(
            id=f"fresh-{split}-l{level}-{seed}-{i}",
            messages=user("\n\n".join(x for x in (problem.text, instruction) if x)),
            target=str(problem.answer),
            difficulty=level,
            topic=problem.shape[0],
        )
        for level in levels
        for i, problem in enumerate(draw(level=level, n=each, seed=seed, split=split))
    ]


def draw(*, level: int, n: int, seed: int, split: str) -> list[Drawn]:
    """Distinct problems of one level, the forms in turn; the first m of n + m are the n alone.

    Args:
        level: reasoning steps, 1 to 5.
        n: how many.
        seed: seed of the generator.
        split: "dev" or "test".

    Raises:
        DataError: there are not so many distinct problems.
    """
    random, forms = Random(f"levels/{split}/{level}/{seed}"), list(FORMS)
    found: dict[str, Drawn] = {}
    turn = failed = 0
    while len(found) < n and forms:
        form = forms[turn % len(forms)]
        if failed == _PATIENCE:
            # This form has hardly a new problem left; the others go on without it.
            forms.remove(form)
            failed = 0
            continue
        try:
            problem = _problem(FORMS[form](split, level, random), level)
        except DeadEnd:
            failed += 1
            continue
        if problem.text in found:
            failed += 1
            continue
        found[problem.text] = problem
        turn, failed = turn + 1, 0
    if len(found) < n:
        raise DataError(f"Only {len(found)} distinct problems of level {level} were found; ask for fewer than {n}.")
    return list(found.values())


def _problem(draft: Draft, level: int) -> Drawn:
    assert len(draft.work) == level, draft
    return Drawn(
        text=" ".join(draft.sentences),
        answer=draft.answer,
        steps=level,
        story=draft.shape[0],
        templates=tuple(draft.templates),
        shape=tuple(draft.shape),
        work=tuple(draft.work),
    )


def variety(*, split: str, n: int, seed: int) -> dict[int, dict[str, int]]:
    """What n problems of each level have in them: sentences, shapes, and sequences of sentences, all different ones."""
    found: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for level in LEVELS:
        made = draw(level=level, n=n, seed=seed, split=split)
        found[level] = {
            "problems": n,
            "sentences": len({t for p in made for t in p.templates}),
            "shapes": len({p.shape for p in made}),
            "sequences": len({p.templates for p in made}),
        }
    return dict(found)
