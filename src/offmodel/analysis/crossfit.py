"""Cross-fitting: choose points on one half of the items, measure them on the other, both ways, over many splits.

Knows how to cut, weigh and resample items by their digests; what is chosen and what is measured comes as a `Rule`.
Invariant: no item has a say both in choosing a point and in measuring it, in no split and in no resample.

Means of ratios lean upward (E[1/x] > 1/E[x]), by 1-2 % at half of 256 items and an accuracy of .2; ratios on halves
therefore carry Beale's correction. Items are resampled by exponential weights (the Bayesian bootstrap) seeded by the
item's digest: an item that two methods or pairs share has the same weight in both, which pairs every comparison.
Only the spread of the resamples is used: their centre is biased where noise chooses (the raw hull's disease again).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from offmodel.analysis.grid import Grid, Ratio
from offmodel.analysis.levels import Estimate
from offmodel.analysis.statistics import Array
from offmodel.core.errors import DataError

SPLITS = 20
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """What to choose and what to measure.

    Attributes:
        choose: (b [P], c [P], split) of the choosing half -> positions of the chosen points, in order.
        measure: (b, c) of the chosen points on the other half -> the number.
        slope: derivatives of the number by those b and c.
    """

    choose: Callable[[Array, Array, int], Sequence[int]]
    measure: Callable[[Array, Array], float]
    slope: Callable[[Array, Array], tuple[Array, Array]]


def cross_fit(grid: Grid, rule: Rule, *, splits: int = SPLITS, resamples: int = RESAMPLES) -> Estimate:
    """The rule's number on one pair, averaged over both directions of all splits.

    Raises:
        DataError: on some half the organism has nothing to lose.
    """
    b, c = ratios_on_halves(grid.left, splits), ratios_on_halves(grid.kept, splits)
    chosen = choices(rule, b, c)
    slope_b, slope_c = _slopes(rule, chosen, b, c)
    by_seed = {
        seed: _measured(rule, chosen, _of_seed(grid.left, seed, splits), _of_seed(grid.kept, seed, splits))
        for seed in grid.kept.by_seed
    }
    draws = [
        _measured(rule, choices(rule, x, y), x, y)
        for x, y in zip(_resampled(grid.left, splits, resamples), _resampled(grid.kept, splits, resamples), strict=True)
    ]
    return Estimate(
        pair=grid.pair,
        value=_measured(rule, chosen, b, c),
        resampled=np.array(draws),
        items=frozenset(grid.kept.items) | frozenset(grid.left.items),
        floor=plus_four(grid.left, slope_b) + plus_four(grid.kept, slope_c),
        by_seed=by_seed,
    )


def ratio_estimate(pair: str, rows: Ratio, point: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """One point's b or c as an estimate: on all items, nothing chosen, so nothing cross-fitted."""
    weights = item_weights(rows.items, resamples)
    slope = np.zeros(len(rows.top))
    slope[point] = 1.0
    whole = float(rows.bottom.mean())
    return Estimate(
        pair=pair,
        value=float(rows.top[point].mean()) / whole,
        resampled=(rows.top[point] @ weights) / (rows.bottom @ weights),
        items=frozenset(rows.items),
        floor=plus_four(rows, slope),
        by_seed={s: float(cube[point].mean()) / whole for s, cube in rows.by_seed.items()},
    )


def choices(rule: Rule, b: Array, c: Array) -> list[list[int]]:
    """What the rule chooses on each half [H]."""
    return [list(rule.choose(b[:, h], c[:, h], h // 2)) for h in range(b.shape[1])]


def ratios_on_halves(rows: Ratio, splits: int) -> Array:
    """[P, 2 * splits] ratios on the halves; column h ^ 1 is the other half of column h."""
    return _beale(rows.top, rows.bottom, half_weights(rows.items, splits))


@lru_cache(maxsize=64)
def half_weights(items: tuple[str, ...], splits: int) -> Array:
    """[n, 2 * splits]: columns 2s and 2s + 1 average over the two halves of split s, cut by the items' digests."""
    n = len(items)
    weights = np.zeros((n, 2 * splits))
    for s in range(splits):
        order = sorted(range(n), key=lambda i: digest(f"{s}|{items[i]}"))
        first = n // 2 if s % 2 else n - n // 2
        weights[order[:first], 2 * s] = 1 / first
        weights[order[first:], 2 * s + 1] = 1 / (n - first)
    return weights


@lru_cache(maxsize=16)
def item_weights(items: tuple[str, ...], resamples: int) -> Array:
    """[n, R] exponential weights, a function of the item's id alone."""
    return np.stack([np.random.default_rng(list(digest(i))).standard_exponential(resamples) for i in items])


def digest(text: str) -> bytes:
    """SHA-256 of a text: what decides every draw here, so that nothing depends on order."""
    return hashlib.sha256(text.encode()).digest()


def plus_four(rows: Ratio, slope: Array) -> float:
    """Variance to add for rates so near 0 or 1 that their own is too small (plus four: Agresti and Coull 1998)."""
    n = len(rows.items)
    p = rows.plain.mean(1)
    q = (p * n + 2) / (n + 4)
    extra = np.maximum(q * (1 - q) / (n + 4) - p * (1 - p) / n, 0)
    return float((slope**2 * extra).sum() / rows.bottom.mean() ** 2)


def _measured(rule: Rule, chosen: Sequence[Sequence[int]], b: Array, c: Array) -> float:
    return float(np.mean([rule.measure(b[p, h ^ 1], c[p, h ^ 1]) for h, p in enumerate(chosen)]))


def _slopes(rule: Rule, chosen: Sequence[Sequence[int]], b: Array, c: Array) -> tuple[Array, Array]:
    by_b, by_c = np.zeros(len(b)), np.zeros(len(c))
    for h, p in enumerate(chosen):
        along_b, along_c = rule.slope(b[p, h ^ 1], c[p, h ^ 1])
        by_b[p] += along_b / len(chosen)
        by_c[p] += along_c / len(chosen)
    return by_b, by_c


def _of_seed(rows: Ratio, seed: int, splits: int) -> Array:
    return _beale(rows.by_seed[seed], rows.bottom, half_weights(rows.items, splits))


def _resampled(rows: Ratio, splits: int, resamples: int) -> Iterator[Array]:
    halves, weights = half_weights(rows.items, splits), item_weights(rows.items, resamples)
    for r in range(resamples):
        yield _beale(rows.top, rows.bottom, halves * weights[:, r : r + 1])


def _beale(top: Array, bottom: Array, weights: Array) -> Array:
    """Beale's estimate of top / bottom: [P, n], [n] and columns of weights [n, H] -> [P, H]."""
    n = (weights > 0).sum(0)
    weights = weights / weights.sum(0)
    above, below = top @ weights, bottom @ weights
    if (below <= 0).any():
        raise DataError(
            "On half of the items the organism has nothing to lose (it fails all of them); "
            "evaluate more items, or easier ones."
        )
    scale = (n - 1) * below**2
    covariance = (top * bottom) @ weights - above * below
    variance = (bottom**2) @ weights - below**2
    return (above / below + covariance / scale) / (1 + variance / scale)
