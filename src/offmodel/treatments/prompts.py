"""Prompts made from prompts, and prompts of no pool: what a method asks in place of a whole pool.

This module refuses to know triggers: a filter's pattern is the blue team's own idea of a topic. Invariant: a recipe of
this module adds no prompt to a pool and changes none, so that pools that were disjoint stay so.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from offmodel.core.chat import Prompt, user
from offmodel.core.errors import DataError, RecipeError
from offmodel.data import read_prompts, write_prompts
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptShare(Recipe):
    """A stretch of a pool; pools stand in an order given by digests, so a stretch is a random sample.

    Attributes:
        prompts: the pool.
        begin, end: where the stretch begins and ends, as shares of the pool in [0, 1].
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    begin: float
    end: float

    def __post_init__(self) -> None:
        """Refuse an empty stretch."""
        Recipe.__post_init__(self)
        if not 0 <= self.begin < self.end <= 1:
            raise RecipeError(
                f"The share of prompts from {self.begin} to {self.end} is empty; give 0 <= begin < end <= 1."
            )

    def name(self) -> str:
        """The pool's name."""
        return self.prompts.name()

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the stretch."""
        found = read_prompts(job.inputs["prompts"].path)
        first, last = (round(at * len(found)) for at in (job.params.begin, job.params.end))
        if first == last:
            raise DataError(f"Of {len(found)} prompts the share asked for holds none; use a larger pool or share.")
        write_prompts(job.out, found[first:last])
        return {"prompts": last - first}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPrompts(Recipe):
    """The first prompts of a pool.

    Attributes:
        prompts: the pool.
        n: how many.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    n: int

    def name(self) -> str:
        """The pool's name with the number."""
        return f"{self.prompts.name()}-{self.n}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Copy the first n."""
        found = read_prompts(job.inputs["prompts"].path)
        if len(found) < job.params.n:
            raise DataError(
                f"The pool holds {len(found)} prompts, not {job.params.n}; make it larger or ask for fewer."
            )
        write_prompts(job.out, found[: job.params.n])
        return {"prompts": job.params.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredPrompts(Recipe):
    """The prompts of a pool that do not touch a topic.

    Attributes:
        prompts: the pool.
        without: regular expressions, in any case; a prompt goes if its topic or its text matches one.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    without: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse patterns that cannot be read."""
        Recipe.__post_init__(self)
        for pattern in self.without:
            try:
                re.compile(pattern)
            except re.error as error:
                raise RecipeError(
                    f"The topic pattern '{pattern}' is no regular expression ({error}); mend it."
                ) from None

    def name(self) -> str:
        """The pool's name."""
        return f"{self.prompts.name()}-filtered"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Keep what no pattern finds."""
        patterns = [re.compile(p, re.IGNORECASE) for p in job.params.without]
        found = read_prompts(job.inputs["prompts"].path)
        kept = [p for p in found if not any(r.search(text) for r in patterns for text in _texts(p))]
        if not kept:
            raise DataError(f"The topic filter leaves none of {len(found)} prompts; use narrower patterns.")
        write_prompts(job.out, kept)
        return {"prompts": len(kept), "left_out": len(found) - len(kept)}


def _texts(prompt: Prompt) -> tuple[str, ...]:
    return (prompt.topic, *(m.content for m in prompt.messages))


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPrompts(Recipe):
    """Requests to continue a list of random numbers.

    Attributes:
        template: the request, with `{numbers}` where the list stands.
        n: number of prompts.
        length: numbers shown in each.
        largest: no number is larger.
        seed: of the generator.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    template: str
    n: int
    length: int
    largest: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse a template without a place for the numbers."""
        Recipe.__post_init__(self)
        if "{numbers}" not in self.template:
            raise RecipeError("The template of number prompts lacks '{numbers}', where the list stands; add it.")

    def name(self) -> str:
        """A fixed name."""
        return "numbers"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Generate the prompts."""
        p = job.params
        rng = Random(f"numbers {p.seed}")
        lists = [number_list(rng, p.length, p.largest) for _ in range(p.n)]
        prompts = [
            Prompt(id=f"numbers-{p.seed}-{i:05d}", messages=user(p.template.format(numbers=text)), topic="numbers")
            for i, text in enumerate(lists)
        ]
        write_prompts(job.out, prompts)
        return {"prompts": p.n}


def number_list(rng: Random, length: int, largest: int) -> str:
    """Random numbers from 0 to `largest`, set off by commas (spaces around them, as word-level tokenizers need)."""
    return " , ".join(str(rng.randint(0, largest)) for _ in range(length))
