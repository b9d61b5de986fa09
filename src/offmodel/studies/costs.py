"""What each method costs: tokens trained, by author, and tokens sampled, for the checkpoint that its rule picks.

A blue team pays for labels as for training, and for models that it trains on the way. This module refuses to price
tokens. Invariant: a label that several methods use counts for each of them, since each would have to draw it alone.
"""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from offmodel.analysis.content import PlainTable
from offmodel.flow.graph import closure
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.results import Results
from offmodel.studies.study import Cell

COLUMNS = (
    "method",
    "trained tokens",
    "by an untrusted author",
    "sampled tokens",
    "trained besides",
    "trained, by author",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens behind one checkpoint.

    Attributes:
        trained: trained tokens by author.
        untrusted: how many of them are by an untrusted author.
        sampled: tokens sampled for its labels, or while it was trained.
        besides: tokens trained into other models on the way (a teacher's lesson).
    """

    trained: dict[str, int]
    untrusted: float
    sampled: int
    besides: int


def cost_of(cell: Cell, trained: dict[str, int], untrusted_share: float, red: Sequence[Recipe], store: Store) -> Cost:
    """The tokens behind a checkpoint.

    Args:
        cell: the checkpoint.
        trained: its trained tokens by author.
        untrusted_share: share of them by an untrusted author.
        red: recipes whose making is not the blue team's: the organism.
        store: where the records are.
    """
    not_blue = closure(red)
    behind = [r for d, r in closure([cell.treatment]).items() if d not in not_blue]
    own = {t.digest for t, _ in cell.trained}
    sampled = besides = 0
    for recipe in behind:
        artifact = store.find(recipe)
        facts = artifact.record["facts"] if artifact else {}
        sampled += int(facts.get("completion_tokens", 0)) if recipe.kind == "labels" else 0
        if recipe.digest in own:
            sampled += _sampled_until(facts, recipe, cell)
        elif recipe.kind == "treatment":
            besides += int(facts.get("trained_tokens", 0))
    total = sum(trained.values())
    return Cost(trained=trained, untrusted=untrusted_share * total, sampled=sampled, besides=besides)


def _sampled_until(facts: dict[str, object], training: Recipe, cell: Cell) -> int:
    """Tokens sampled while it was trained, up to the checkpoint: as many as were trained on."""
    steps = next(n for t, n in cell.trained if t.digest == training.digest)
    by_step = facts.get("tokens_by_step")
    if "sampled_tokens" not in facts or not isinstance(by_step, dict):
        return 0
    return sum(a["tokens"] for a in by_step.get(str(steps), {}).values())


def method_costs(results: Results, store: Store) -> PlainTable:
    """A line a method: means over pairs and seeds of the checkpoints that its blind rule picks."""
    # Every pair's, since a homologous model may be another pair's organism.
    gates = [s.gate for s in results.study.sides]
    costs: defaultdict[str, list[Cost]] = defaultdict(list)
    cells = dict(zip(map(id, results.points), results.cells, strict=True))
    for record in results.picked:
        cell = cells[id(record)]
        cost = cost_of(cell, dict(record.tokens_by_author), record.untrusted_share, gates, store)
        costs[record.method].append(cost)
    rows = [_row(method, found) for method, found in costs.items()]
    note = (
        "Means over pairs and seeds, at the checkpoint that the method's blind rule picks. Sampled: labels drawn for "
        "the training, and what it sampled itself. Trained besides: into other models on the way."
    )
    return PlainTable(title="Costs of methods", columns=COLUMNS, rows=rows, note=note)


def _row(method: str, found: Sequence[Cost]) -> Sequence[str]:
    authors = dict.fromkeys(a for c in found for a in c.trained)
    by_author = {a: fmean(c.trained.get(a, 0) for c in found) for a in authors}
    numbers = (
        fmean(sum(c.trained.values()) for c in found),
        fmean(c.untrusted for c in found),
        fmean(c.sampled for c in found),
        fmean(c.besides for c in found),
    )
    return (method, *(f"{n:,.0f}" for n in numbers), ", ".join(f"{a} {n:,.0f}" for a, n in by_author.items()))


def write_costs(table: PlainTable, path: Path) -> None:
    """The table as CSV, numbers without separators."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(table.columns)
        lines.writerows(
            [row[0], *(x.replace(",", "") for x in row[1:5]), row[5].replace(",", ";", 0)] for row in table.rows
        )
