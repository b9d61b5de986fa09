"""A benchmark's items as a recipe: which rows, in which order, asked how.

This module refuses to know models and graders. Invariant: prompt, subset, order and slice are fields, so two studies
with equal recipes asked the same questions; `suite.json` beside the items says what was asked, for records and logs.
"""

import json
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from offmodel.core.errors import DataError, RecipeError
from offmodel.core.rows import numbered_rows
from offmodel.evals.measures import SUITE_CARD, write_items
from offmodel.evals.suites.known import Suite, find_suite
from offmodel.evals.suites.sources import ROWS, check_rows
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteItems(Recipe):
    """Items of a published benchmark.

    Attributes:
        suite: its name (see `known`).
        version: the suite's version that is meant.
        source: a recipe whose payload holds the rows.
        prompt: what is asked, with "{question}" in it.
        order_seed: seed of the order in which rows are taken; None keeps the file's.
        first: row to begin with in that order, from 0.
        n: number of items from there; None takes all.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    suite: str
    version: int
    source: Recipe
    prompt: str
    order_seed: int | None
    first: int
    n: int | None

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if "{question}" not in self.prompt:
            raise RecipeError(f"The prompt of '{self.suite}' has no place for the question; write {{question}} in it.")
        if self.n is not None and self.n < 1:
            raise RecipeError(f"The benchmark '{self.suite}' is asked for {self.n} items; ask for at least one.")

    def name(self) -> str:
        """Suite and slice."""
        return f"{self.suite}-{self.first}-{self.n if self.n is not None else 'all'}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Convert the chosen rows; write items and the suite's card."""
        p, suite = job.params, _of_version(job.params.suite, job.params.version)
        numbered = list(numbered_rows(job.inputs["source"].path / ROWS))
        check_rows([row for _, row in numbered], suite.dataset, "The file")
        chosen = choose(numbered, suite, order_seed=p.order_seed, first=p.first, n=p.n)
        items = [suite.convert(number, row, p.prompt) for number, row in chosen]
        write_items(job.out, items)
        card = card_of(suite, prompt=p.prompt) | {"items": len(items), "rows": len(numbered)}
        (job.out / SUITE_CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return card


def choose(
    numbered: list[tuple[int, dict[str, Any]]], suite: Suite, *, order_seed: int | None, first: int, n: int | None
) -> list[tuple[int, dict[str, Any]]]:
    """The rows of a slice, in their order.

    All rows are put in order before the subset is taken, so that the first rows of a dataset, which are for decisions,
    come first in each of its subsets too.

    Raises:
        DataError: there are not so many rows, or none.
    """
    order = list(numbered)
    if order_seed is not None:
        Random(f"{suite.dataset.name}/{order_seed}").shuffle(order)
    kept = [(k, row) for k, row in order if suite.subset is None or suite.subset(row)]
    last = len(kept) if n is None else first + n
    if last > len(kept) or first >= last:
        raise DataError(
            f"The benchmark '{suite.name}' has {len(kept)} rows here, too few for {n or 'some'} from row {first}; "
            "ask for fewer."
        )
    return kept[first:last]


def card_of(suite: Suite, *, prompt: str) -> dict[str, Any]:
    """What a record says of a suite."""
    return {
        "suite": suite.name,
        "version": suite.version,
        "dataset": f"{suite.dataset.repo}@{suite.dataset.revision}",
        "prompt": prompt,
    }


def _of_version(name: str, version: int) -> Suite:
    suite = find_suite(name)
    if suite.version != version:
        raise RecipeError(
            f"The benchmark '{name}' is at version {suite.version} here, not {version}; name it anew in the study file."
        )
    return suite
