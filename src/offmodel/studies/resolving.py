"""What a study will be able to tell, from its recipes alone: is it measurable, and what differences can it see?

Counts planned items and prompts, takes measured rates where the store has them and says what it assumes where it has
not. The formulas are `analysis.power`'s; this module refuses to estimate anything from treated models. Invariant: a
study that cannot give a relative number is refused before anything is computed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from offmodel.analysis.levels import ENOUGH
from offmodel.analysis.power import (
    POWER,
    USUAL_BETWEEN_SEEDS,
    USUAL_CORRELATION,
    Planned,
    Resolution,
    error_of_score_difference,
    items_needed,
    items_to_resolve,
    resolution,
    smallest_difference_over_pairs,
)
from offmodel.analysis.powertable import power_rows
from offmodel.audit import JoinedPools, SplitPools
from offmodel.core.errors import DataError
from offmodel.data import Pool
from offmodel.evals.fresh_levels import FreshLevels
from offmodel.evals.items import ChatItems, TriggeredItems
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.results import load_rows
from offmodel.studies.study import PairSide, Study

LEAST = 4
"""Items below which nothing can be measured: cross-fitting needs two a half."""
_NAMED = 4
"""Pairs up to which a row names all; fifteen names would be a column of fifteen lines."""
ASSUMED_ACCURACY = 0.7
ASSUMED_PLANTED = 0.97
PAIR_SPREAD = 0.05
"""Assumed standard deviation, between pairs, of the true difference of two methods' blind scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What a study can resolve on one pair.

    Attributes:
        pair: the pair's name.
        planned: what will be measured, and what is assumed or known of the models.
        measured: whether the organism's rates are measured, not assumed.
        resolution: what that can tell.
    """

    pair: str
    planned: Planned
    measured: bool
    resolution: Resolution


def check_measurable(study: Study) -> None:
    """Refuse a study that can give no relative numbers, before anything is computed.

    Raises:
        DataError: a pair without an untreated organism, or hardly any triggered prompts or capability items.
    """
    sides = {s.pair: s for s in study.sides}
    for pair in dict.fromkeys(c.pair for c in study.cells):
        if pair not in sides:
            raise DataError(
                f"The study '{study.name}' treats pair '{pair}' but measures no untreated organism of it, so nothing "
                "relative can be said; add the pair's side, as `plant` returns it, to the study's sides."
            )
    for side in sides.values():
        for measure, words in (("capability", "capability items"), ("triggered", "triggered prompts")):
            n = count_items(side, measure, None)
            if n is not None and n < LEAST:
                raise DataError(
                    f"The study '{study.name}' plans {n} {words} for pair '{side.pair}', too few to measure anything; "
                    f"plan at least {LEAST}, better some hundred."
                )


def count_items(side: PairSide, measure: str, store: Store | None) -> int | None:
    """Items of a measure, as made or else as planned; None if only making them will tell, 0 if it is not measured."""
    completions: Any = side.organism.completions
    found = [
        _count(i, store) for i, m in zip(completions.items, completions.measures, strict=True) if m.name == measure
    ]
    return None if None in found else sum(n for n in found if n is not None)


def foresee(study: Study, store: Store) -> list[Foresight]:
    """What a study can resolve, by pair; pairs whose numbers of items are not known yet are left out."""
    found: list[Foresight] = []
    for side in study.sides:
        capability, triggered = (count_items(side, m, store) for m in ("capability", "triggered"))
        if capability is None or triggered is None or min(capability, triggered) < LEAST:
            continue
        accuracy, planted, floor, measured = _rates(side, store)
        planned = Planned(
            capability=capability,
            triggered=triggered,
            seeds=_fewest_seeds(study, side.pair),
            accuracy=accuracy,
            chance=side.chance,
            planted=planted,
            floor=floor,
            correlation=USUAL_CORRELATION,
            between_seeds=USUAL_BETWEEN_SEEDS,
        )
        if accuracy > side.chance and planted > floor:
            found.append(Foresight(pair=side.pair, planned=planned, measured=measured, resolution=resolution(planned)))
    return found


COLUMNS = ("pairs", "items", "prompts", "seeds", "acc.", "c at .9", "b at .5", "Δ acc.", "Δ score")
"""What `rows` gives: planned numbers, half-widths of intervals, and the smallest differences that will show."""


def rows(foresights: Sequence[Foresight]) -> list[tuple[str, ...]]:
    """What a study can resolve as a table with `COLUMNS`; pairs that are alike share a row."""
    groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for f in foresights:
        p, r = f.planned, f.resolution
        numbers = (
            f"{p.capability:,}",
            f"{p.triggered:,}",
            str(p.seeds),
            f"{p.accuracy:.2f}{'' if f.measured else '?'}",
            f"±{r.kept:.3f}",
            f"±{r.left:.3f}",
            f"{r.capability:.3f}",
            f"{r.score:.3f}",
        )
        groups[numbers].append(f.pair)
    return [(_few(pairs), *numbers) for numbers, pairs in groups.items()]


def _few(pairs: Sequence[str]) -> str:
    """Pairs by name, the first ones of many."""
    return ", ".join(pairs if len(pairs) <= _NAMED else [*pairs[: _NAMED - 1], f"{len(pairs) - _NAMED + 1} more"])


def notes(foresights: Sequence[Foresight]) -> list[str]:
    """What the rows mean, in sentences."""
    if not foresights:
        return []
    p = foresights[0].planned
    assumed = "" if all(f.measured for f in foresights) else " Rates with a question mark are assumed."
    lines = [
        "c, b: half-width of the 95 % interval over items. Δ: the least difference of two methods' accuracies, and "
        f"of their blind scores, that shows with a chance of {POWER:.0%} (one pair, the same items, answers correlated "
        f"by {p.correlation:g}).{assumed}"
    ]
    unresolved = [f for f in foresights if not f.resolution.resolved]
    if unresolved:
        most = max(items_to_resolve(f.planned) for f in unresolved)
        lines.append(
            f"{_few([f.pair for f in unresolved])}: the bad rate at a 10 % loss will be 'not resolved' where a "
            f"checkpoint's c lies around .9; there it is known to ± .05 from about {most:,} capability items on."
        )
    three = max(foresights, key=lambda f: _to_see(f, 0.03))
    lines.append(
        f"To see 3 points at this base rate ({three.planned.accuracy:.2f}) on one pair you need n = "
        f"{_to_see(three, 0.03):,}. {_over_pairs(foresights)}"
    )
    return lines


def _to_see(foresight: Foresight, difference: float) -> int:
    p = foresight.planned
    return items_needed(difference, p.accuracy, correlation=p.correlation, seeds=p.seeds, between_seeds=p.between_seeds)


def power_table(foresights: Sequence[Foresight]) -> list[tuple[str, ...]]:
    """Items needed at the pairs' base rates, rounded to tenths, as rows of `powertable.HEAD`."""
    if not foresights:
        return []
    rates = sorted({min(max(round(f.planned.accuracy, 1), 0.1), 0.9) for f in foresights})
    seeds = min(f.planned.seeds for f in foresights)
    return power_rows(rates, correlations=(foresights[0].planned.correlation,), seeds=seeds)


def _over_pairs(foresights: Sequence[Foresight]) -> str:
    k = len(foresights)
    if k < ENOUGH:
        return f"With fewer than {ENOUGH} pairs, what is found holds for these pairs and seeds only."
    error = fmean(error_of_score_difference(f.planned) for f in foresights)
    least = smallest_difference_over_pairs(k, error, PAIR_SPREAD)
    return (
        f"As a sample of all pairs, the average over {k} shows blind scores {least:.3f} apart, if the difference "
        f"varies between pairs with a standard deviation of {PAIR_SPREAD:g} (assumed)."
    )


def _count(recipe: Recipe, store: Store | None) -> int | None:
    artifact = store.find(recipe) if store else None
    facts = artifact.record.get("facts", {}) if artifact else {}
    if "items" in facts:
        return int(facts["items"])
    if isinstance(recipe, TriggeredItems | ChatItems):
        return _count(recipe.prompts, None)
    if isinstance(recipe, Pool):
        return _pool_size(recipe.pools, recipe.pool)
    if isinstance(recipe, FreshLevels):
        return len(recipe.levels) * recipe.each
    found = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    # Under a condition they are as many, or a few less.
    return _count(found["items"], store) if isinstance(found.get("items"), Recipe) else found.get("n")


def _pool_size(pools: Recipe, name: str) -> int | None:
    if isinstance(pools, JoinedPools):
        sizes = [n for part in pools.parts if (n := _pool_size(part, name)) is not None]
        return sizes[0] if sizes else None
    return next((s.n for s in pools.sizes if s.pool == name), None) if isinstance(pools, SplitPools) else None


def _rates(side: PairSide, store: Store) -> tuple[float, float, float, bool]:
    """The organism's accuracy and triggered rate, the student's triggered rate, and whether they are measured."""
    if not (store.find(side.organism.scores) and store.find(side.student.scores)):
        return max(ASSUMED_ACCURACY, (1 + side.chance) / 2), ASSUMED_PLANTED, 0.0, False
    organism, student = load_rows(side.organism, store), load_rows(side.student, store)
    accuracy, planted = (fmean(r["score"] for r in organism[m]) for m in ("capability", "triggered"))
    return accuracy, planted, fmean(r["score"] for r in student["triggered"]), True


def _fewest_seeds(study: Study, pair: str) -> int:
    """Seeds of the method that has fewest; a control is not ranked, so it may have fewer."""
    seeds: defaultdict[tuple[str, str, int], set[int]] = defaultdict(set)
    for c in study.cells:
        if c.pair == pair and not c.control:
            seeds[c.method, c.setting, c.step].add(c.seed)
    return min((len(s) for s in seeds.values()), default=1)
