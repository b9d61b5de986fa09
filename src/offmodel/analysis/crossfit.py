"""Cross-fitting: choose points on one half of the items, measure them on the other, both ways, over many splits.

Knows how to cut, weigh and resample items by their digests; what is chosen and what is measured comes as a `Rule`.
Invariant: no item has a say both in choosing a point and in measuring it, in no split and in no resample.
Shapes: P points, n items, H = 2 * splits halves (column h + splits is the other half of column h), R resamples.

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
from offmodel.analysis.hull import Chains, with_end
from offmodel.analysis.levels import Estimate
from offmodel.analysis.statistics import Array
from offmodel.core.errors import DataError

SPLITS = 20
RESAMPLES = 200
_BATCH = 1_000_000  # numbers in one array of points x columns: 8 MB, small enough for caches and small machines


@dataclass(frozen=True, slots=True)
class Rule:
    """What to choose and what to measure, on many halves at once.

    Attributes:
        choose: (b [P, H], c [P, H], split [H]) on the choosing halves -> positions [K, H] of the chosen points, `END`
            for the untreated organism.
        measure: (b, c) [K, H] of the chosen points on the other halves -> the number [H].
        slopes: derivatives of the number by those b and c, [K, H] each.
    """

    choose: Callable[[Array, Array, Chains], Chains]
    measure: Callable[[Array, Array], Array]
    slopes: Callable[[Array, Array], tuple[Array, Array]]


def cross_fit(grid: Grid, rules: Sequence[Rule], *, splits: int = SPLITS, resamples: int = RESAMPLES) -> list[Estimate]:
    """Each rule's number on one pair, averaged over both directions of all splits; all on the same resamples.

    Raises:
        DataError: on some half the organism has nothing to lose.
    """
    b, c = ratios_on_halves(grid.left, splits), ratios_on_halves(grid.kept, splits)
    seeds = {s: (_of_seed(grid.left, s, splits), _of_seed(grid.kept, s, splits)) for s in grid.kept.by_seed}
    draws = [np.concatenate(numbers) for numbers in zip(*_resampled(grid, rules, splits, resamples), strict=True)]
    found: list[Estimate] = []
    for rule, resampled in zip(rules, draws, strict=True):
        chosen = choices(rule, b, c, splits)
        slope_b, slope_c = _mean_slopes(rule, chosen, b, c, splits)
        found.append(
            Estimate(
                pair=grid.pair,
                value=float(_measured(rule, chosen, b, c, splits).mean()),
                resampled=resampled,
                items=frozenset(grid.kept.items) | frozenset(grid.left.items),
                floor=plus_four(grid.left, slope_b) + plus_four(grid.kept, slope_c),
                grain=one_answer(grid.left, slope_b) + one_answer(grid.kept, slope_c),
                by_seed={s: float(_measured(rule, chosen, *own, splits=splits).mean()) for s, own in seeds.items()},
            )
        )
    return found


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
        grain=one_answer(rows, slope),
        by_seed={s: float(cube[point].mean()) / whole for s, cube in rows.by_seed.items()},
    )


def choices(rule: Rule, b: Array, c: Array, splits: int) -> Chains:
    """[K, H] what the rule chooses on each half; the columns may be those of several resamples, side by side."""
    return rule.choose(b, c, np.arange(b.shape[1]) % splits)


def measured_on_other(chosen: Chains, values: Array, splits: int) -> Array:
    """[K, H] the chosen points' values on the halves that did not choose them; 1 for the untreated organism."""
    columns = np.arange(values.shape[1])
    within = columns % (2 * splits)
    other = columns - within + (within + splits) % (2 * splits)
    return with_end(values)[chosen, other]


def ratios_on_halves(rows: Ratio, splits: int) -> Array:
    """[P, H] ratios on the halves."""
    return _beale(_Sums(rows), np.ones((len(rows.items), 1)), first_halves(rows.items, splits))


@lru_cache(maxsize=64)
def first_halves(items: tuple[str, ...], splits: int) -> Array:
    """[n, splits] 1 where an item is in the first half of a split, cut by the items' digests; else 0."""
    n = len(items)
    mask = np.zeros((n, splits))
    for s in range(splits):
        order = sorted(range(n), key=lambda i: digest(f"{s}|{items[i]}"))
        mask[order[: n // 2 if s % 2 else n - n // 2], s] = 1
    return mask


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


def one_answer(rows: Ratio, slope: Array) -> float:
    """Square of what the number changes if one item's answer turns at all of its points."""
    return float((np.abs(slope).sum() / rows.bottom.sum()) ** 2)


def _measured(rule: Rule, chosen: Chains, b: Array, c: Array, splits: int) -> Array:
    return rule.measure(measured_on_other(chosen, b, splits), measured_on_other(chosen, c, splits))


def _mean_slopes(rule: Rule, chosen: Chains, b: Array, c: Array, splits: int) -> tuple[Array, Array]:
    """[P] slopes of the mean over halves by each point's b and c."""
    found = rule.slopes(measured_on_other(chosen, b, splits), measured_on_other(chosen, c, splits))
    sums = [np.zeros(len(b) + 1), np.zeros(len(b) + 1)]  # the last is the untreated organism's, which has no error
    for total, slopes in zip(sums, found, strict=True):
        np.add.at(total, chosen, slopes / b.shape[1])
    return sums[0][:-1], sums[1][:-1]


def _resampled(grid: Grid, rules: Sequence[Rule], splits: int, resamples: int) -> Iterator[list[Array]]:
    """The rules' numbers on resampled items, several resamples at a time: everything is chosen anew in each."""
    P, n = len(grid.points), max(len(grid.left.items), len(grid.kept.items))
    at_once = max(1, _BATCH // max(P * 2 * splits, (2 * P + 3) * n))
    sides = [
        (_Sums(rows), item_weights(rows.items, resamples), first_halves(rows.items, splits))
        for rows in (grid.left, grid.kept)
    ]
    for start in range(0, resamples, at_once):
        b, c = (_beale(sums, weights[:, start : start + at_once], halves) for sums, weights, halves in sides)
        numbers = [_measured(rule, choices(rule, b, c, splits), b, c, splits) for rule in rules]
        yield [v.reshape(-1, 2 * splits).mean(1) for v in numbers]


def _of_seed(rows: Ratio, seed: int, splits: int) -> Array:
    sums = _Sums(rows, rows.by_seed[seed])
    return _beale(sums, np.ones((len(rows.items), 1)), first_halves(rows.items, splits))


class _Sums:
    """Rows whose weighted sums over items give a ratio and its correction: [2P + 3, n], stacked once."""

    def __init__(self, rows: Ratio, top: Array | None = None):
        top = rows.top if top is None else top
        bottom = rows.bottom[None, :]
        self.points = len(top)
        self.rows = np.vstack([top, top * bottom, bottom, bottom**2, np.ones_like(bottom)])


def _beale(sums: _Sums, weights: Array, halves: Array) -> Array:
    """Beale's estimate of top / bottom on both halves of every split, with item weights [n, R]: [P, R * H]."""
    P, n, R = sums.points, *weights.shape
    weighted = sums.rows[:, None, :] * weights.T[None, :, :]  # [2P + 3, R, n]
    first = weighted @ halves
    totals = np.concatenate([first, weighted.sum(2, keepdims=True) - first], axis=2).reshape(2 * P + 3, -1)
    count = np.tile(np.hstack([halves.sum(0), n - halves.sum(0)]), R)
    means = totals[:-1] / totals[-1]
    above, both, below, squared = means[:P], means[P : 2 * P], means[2 * P], means[2 * P + 1]
    if (below <= 1e-12).any():
        raise DataError(
            "On half of the items the organism has nothing to lose (it fails all of them); "
            "evaluate more items, or easier ones."
        )
    scale = (count - 1) * below**2
    return (above / below + (both - above * below) / scale) / (1 + (squared - below**2) / scale)
