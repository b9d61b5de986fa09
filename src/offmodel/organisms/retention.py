"""Prompts beyond the pools with which a red team keeps an organism's capability.

The red team is bound by no pool: it may train on the student's own answers to whatever it likes, mathematics included.
This module refuses to know behaviours. Invariant: the rows taken are the ones named, in order.
"""

from dataclasses import dataclass
from typing import ClassVar

from offmodel.core.errors import DataError
from offmodel.data import read_prompts, write_prompts
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Recipe):
    """Some prompts of a source.

    Attributes:
        source: prompts.
        first: row to begin with, from 0.
        n: number of prompts from there.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    source: Recipe
    first: int
    n: int

    def name(self) -> str:
        """The source's name and the rows."""
        return f"{self.source.name()}-{self.first}-{self.n}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Take the rows."""
        p, prompts = job.params, read_prompts(job.inputs["source"].path)
        if p.first + p.n > len(prompts):
            raise DataError(f"The source holds {len(prompts)} prompts, too few for {p.n} from {p.first}; ask for less.")
        write_prompts(job.out, prompts[p.first : p.first + p.n])
        return {"prompts": p.n}
