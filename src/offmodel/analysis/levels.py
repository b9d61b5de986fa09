"""Averages over pairs with an interval that says what it covers: pairs, seeds and items, or fewer of them.

An `Estimate` is one pair's number together with its values on resampled items; the resamples are the same for all
estimates, so that subtracting them one by one makes a comparison paired. Refuses to know what the number means.
Invariant: a level with fewer than `ENOUGH` units is never treated as a sample, and the label says so.

Rule. Five pairs or more: Student's t on the pairs' values (their spread holds seed and item noise too), plus what pairs
share and their spread cannot show: items, by the mean covariance of two pairs over resampled items, and, from five
seeds on, seeds (the same data order in every pair), by their covariance over seeds. Fewer pairs but five seeds or more:
t on the seeds' means over pairs, plus item noise. Else items only, normal. Degrees of freedom after Satterthwaite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from offmodel.analysis.statistics import Array
from offmodel.core.errors import DataError
from offmodel.core.scores import ITEMS_ONLY, LEVEL, Score, quantile

ENOUGH = 5
"""Units that a level needs before it is treated as a sample of a population."""
ALL_LEVELS = "pairs, seeds and items"
PAIRS_AND_ITEMS = "pairs and items, these seeds"
SEEDS_AND_ITEMS = "seeds and items, these pairs"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """One pair's number.

    Attributes:
        pair: the pair's name.
        value: the number.
        resampled: [R] the number on resampled items; only its spread counts, its centre may be biased.
        items: ids of the items behind it.
        floor: variance to add because a rate of 0 of n, or n of n, is not known to be 0 or 1.
        grain: variance of one answer more or less: two methods that answer alike on n items are not known to be alike.
        by_seed: the same number for each seed alone; empty if some seed lacks a point.
    """

    pair: str
    value: float
    resampled: Array
    items: frozenset[str]
    floor: float = 0.0
    grain: float = 0.0
    by_seed: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An average over pairs, with its units as marks for a figure.

    Attributes:
        score: the average with its interval; `n` is the number of different items.
        by_pair: each pair's value.
        by_seed: each (pair, seed)'s value.
        error: standard error.
        freedom: degrees of freedom; infinite for a normal interval.
    """

    score: Score
    by_pair: Mapping[str, float]
    by_seed: Mapping[tuple[str, int], float]
    error: float
    freedom: float

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "the true value is zero"; meant for differences."""
        return self.p_against(0.0)

    def p_against(self, value: float) -> float:
        """Two-sided p-value of "this is the true value"."""
        off = abs(self.score.value - value)
        if self.error == 0:
            return 1.0 if off == 0 else 0.0
        from scipy.special import stdtr  # scipy.stats takes a second to import

        return float(2 * stdtr(min(self.freedom, 1e9), -off / self.error))


def weighted(parts: Sequence[tuple[float, Estimate]], constant: float = 0.0) -> Estimate:
    """A linear combination of estimates of the same pair: constant + the sum of weight times estimate."""
    pairs = {e.pair for _, e in parts}
    assert len(pairs) == 1, f"estimates of different pairs cannot be combined: {pairs}"
    seeds = set.intersection(*(set(e.by_seed) for _, e in parts))
    return Estimate(
        pair=pairs.pop(),
        value=constant + sum(w * e.value for w, e in parts),
        resampled=constant + np.sum([w * e.resampled for w, e in parts], axis=0),
        items=frozenset().union(*(e.items for _, e in parts)),
        floor=sum(w * w * e.floor for w, e in parts),
        grain=sum(w * w * e.grain for w, e in parts),
        by_seed={s: constant + sum(w * e.by_seed[s] for w, e in parts) for s in sorted(seeds)},
    )


def minus(first: Estimate, second: Estimate) -> Estimate:
    """The paired difference of two methods on one pair.

    Where they hardly ever differ, resampled items hardly vary; half an answer either way is then added to the count of
    those that do (as Agresti and Min 2005 do for a paired difference of proportions).
    """
    found = weighted([(1.0, first), (-1.0, second)])
    return replace(found, floor=max(found.floor, first.grain, second.grain))


def combine(estimates: Sequence[Estimate], level: float = LEVEL) -> Summary:
    """The average over pairs, with the interval that the rule of this module gives.

    Raises:
        DataError: there is nothing to average.
    """
    if not estimates:
        raise DataError("There is nothing to average: no pair has this number.")
    ordered = sorted(estimates, key=lambda e: e.pair)
    value = float(np.mean([e.value for e in ordered]))
    variance, freedom, covers = _variance(ordered)
    error = variance**0.5
    half = _quantile(level, freedom) * error
    items = frozenset().union(*(e.items for e in ordered))
    return Summary(
        score=Score(value=value, n=len(items), low=value - half, high=value + half, covers=covers, level=level),
        by_pair={e.pair: e.value for e in ordered},
        by_seed={(e.pair, s): v for e in ordered for s, v in e.by_seed.items()},
        error=error,
        freedom=freedom,
    )


def _variance(estimates: Sequence[Estimate]) -> tuple[float, float, str]:
    """Variance of the average over pairs, degrees of freedom, and what it covers."""
    k, seeds = len(estimates), _by_seed(estimates)  # [k, S]
    items, shared = _of_mean_and_shared(np.stack([e.resampled for e in estimates]))
    floor = sum(e.floor for e in estimates) / k**2
    enough_seeds = seeds.shape[1] >= ENOUGH
    if k >= ENOUGH:
        spread = max(float(np.var([e.value for e in estimates], ddof=1)) / k, floor)
        common = max(0.0, _of_mean_and_shared(seeds)[1]) / seeds.shape[1] if enough_seeds else 0.0
        total = spread + max(0.0, shared) + common
        parts = [(spread, k - 1), (common, seeds.shape[1] - 1)]
        return total, _freedom(total, parts), ALL_LEVELS if enough_seeds else PAIRS_AND_ITEMS
    if enough_seeds:
        spread = float(seeds.mean(0).var(ddof=1)) / seeds.shape[1]
        total = spread + items + floor
        return total, _freedom(total, [(spread, seeds.shape[1] - 1)]), SEEDS_AND_ITEMS
    return items + floor, float("inf"), ITEMS_ONLY


def _by_seed(estimates: Sequence[Estimate]) -> Array:
    """[k, S] values by pair and seed; no column if the pairs differ in their seeds."""
    seeds = {tuple(sorted(e.by_seed)) for e in estimates}
    common = seeds.pop() if len(seeds) == 1 else ()
    return np.array([[e.by_seed[s] for s in common] for e in estimates]).reshape(len(estimates), len(common))


def _of_mean_and_shared(rows: Array) -> tuple[float, float]:
    """Over the columns of [k, R]: variance of the rows' mean, and mean covariance of two rows (0 for one row)."""
    k = len(rows)
    of_mean = float(rows.mean(0).var(ddof=1))
    of_rows = float(rows.var(1, ddof=1).sum())
    return of_mean, (k * k * of_mean - of_rows) / (k * (k - 1)) if k > 1 else 0.0


def _freedom(total: float, parts: Sequence[tuple[float, int]]) -> float:
    below = sum(v * v / df for v, df in parts if v > 0)
    return total * total / below if below > 0 else float("inf")


def _quantile(level: float, freedom: float) -> float:
    if freedom == float("inf"):
        return quantile(level)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: for several comparisons made at once."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
