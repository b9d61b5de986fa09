"""What a design can resolve, before anything is measured: items needed, expected half-widths, smallest differences.

The half-widths are those of the intervals that the analysis will give, at expected values in place of measured ones.
Knows numbers of items, pairs and seeds, and what is assumed of the models; refuses to know studies. Invariant: more
items, more seeds, or more agreement between models never make a design look worse.

A correlation is that of two models' right-or-wrong answers over items: 0 for unrelated answers or different items. Two
rates that differ much cannot correlate fully (Frechet's bound); a correlation beyond what is possible is cut there.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf, sqrt
from statistics import NormalDist

import numpy as np

from offmodel.analysis.statistics import Array, Interval, mover_difference, mover_ratio, wilson
from offmodel.analysis.tradeoff import KEPT, RESOLVED
from offmodel.core.errors import DataError
from offmodel.core.scores import LEVEL, quantile

POWER = 0.8
"""The usual chance to see a true difference."""
USUAL_CORRELATION = 0.5
"""Of two models' right-or-wrong answers; in the quickstart the medians are .51 between methods, .59 with the organism
and .84 between checkpoints of one training (checkpoints of .3 accuracy and more)."""
USUAL_BETWEEN_SEEDS = 0.7
"""The same of two seeds of one method; the median is .73 there. Seeds agree more than methods, so they help less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What will be measured on one pair, and what is assumed of the models.

    Attributes:
        capability: items. triggered: prompts.
        seeds: treatments of each kind, averaged.
        accuracy: the organism's. chance: accuracy of guessing.
        planted: the organism's triggered rate. floor: the unplanted student's.
        correlation: of two models' answers over items. between_seeds: of two seeds of one method; not less than that.
    """

    capability: int
    triggered: int
    seeds: int
    accuracy: float
    chance: float
    planted: float
    floor: float
    correlation: float
    between_seeds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a design can tell on one pair; intervals of 95 % over items.

    Attributes:
        kept: half-width of c at .9.
        left: half-width of b at .5, where it is widest.
        capability: smallest difference of two methods' accuracies that shows with a power of .8 (near the organism's).
        score: the same of two methods' blind scores, at b and c around .5 and .9.
    """

    kept: float
    left: float
    capability: float
    score: float

    @property
    def resolved(self) -> bool:
        """Whether the bad rate at a 10 % loss will be given, not "not resolved", even if some c lies around .9."""
        return self.kept <= RESOLVED


def resolution(planned: Planned) -> Resolution:
    """What a design can tell on one pair.

    Raises:
        DataError: fewer than 4 items of a kind, or an organism that could not be measured against.
    """
    p = planned
    if min(p.capability, p.triggered) < 4:
        what = "capability items" if p.capability < 4 else "triggered prompts"
        raise DataError(f"{min(p.capability, p.triggered)} {what} can tell nothing; plan at least 4.")
    if p.accuracy <= p.chance or p.planted <= p.floor:
        raise DataError("An organism at chance, or without its behaviour, cannot be measured against; plant another.")
    return Resolution(
        kept=_half_width_of_c(p, KEPT),
        left=_half_width_of_b(p, 0.5),
        capability=smallest_difference(
            p.capability, p.accuracy, correlation=p.correlation, seeds=p.seeds, between_seeds=p.between_seeds
        ),
        score=_reach(POWER) * error_of_score_difference(p),
    )


def items_to_resolve(planned: Planned) -> int:
    """Capability items from which on c at .9 is known to +- .05, with everything else as planned."""
    low, high = 3, 4
    while _half_width_of_c(replace(planned, capability=high), KEPT) > RESOLVED:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = _half_width_of_c(replace(planned, capability=middle), KEPT) <= RESOLVED
        low, high = (low, middle) if enough else (middle, high)
    return high


def items_needed(
    difference: float,
    rate: float,
    *,
    correlation: float,
    power: float = POWER,
    level: float = LEVEL,
    seeds: int = 1,
    between_seeds: float = USUAL_BETWEEN_SEEDS,
) -> int:
    """Items to see a difference between two methods on the same items.

    Args:
        difference: the true difference of the two rates, for example .03 for three points.
        rate: the first method's rate; the second's is rate - difference, or rate + difference where that leaves [0, 1].
        correlation: of the two methods' answers over items.
        power: chance to see it.
        level: confidence level of the interval that must exclude zero.
        seeds: runs of each method, averaged.
        between_seeds: correlation of the answers of two runs of one method.

    Raises:
        DataError: no such rates exist.
    """
    variance = _variance_of_difference(difference, rate, correlation, _share_of_mean(seeds, between_seeds, correlation))
    return ceil(_reach(power, level) ** 2 * variance / difference**2)


def smallest_difference(
    n: int,
    rate: float,
    *,
    correlation: float,
    power: float = POWER,
    level: float = LEVEL,
    seeds: int = 1,
    between_seeds: float = USUAL_BETWEEN_SEEDS,
) -> float:
    """The smallest difference that n items show with this power, the inverse of `items_needed`; inf if none does."""
    needed = partial(
        items_needed,
        rate=rate,
        correlation=correlation,
        power=power,
        level=level,
        seeds=seeds,
        between_seeds=between_seeds,
    )
    # Below the rate lies one side and above it the other, so that the items needed jump up in between.
    for low, high in ((1e-4, rate), (rate + 1e-9, 1 - rate)):
        if high <= low or needed(high) > n:
            continue
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if needed(middle) <= n else (middle, high)
        return high
    return inf


def smallest_difference_over_pairs(
    pairs: int, error: float, spread: float, *, power: float = POWER, level: float = LEVEL
) -> float:
    """The smallest difference of two methods that shows in an average over pairs, as a sample of all pairs.

    Args:
        pairs: at least 2.
        error: standard error of the difference on one pair, over items.
        spread: standard deviation of the true difference between pairs.
        power: chance to see it, by Student's t on the pairs' differences.
        level: confidence level.
    """
    from scipy.special import nctdtr, stdtrit

    scale = sqrt((error**2 + spread**2) / pairs)
    edge = float(stdtrit(pairs - 1, 0.5 + level / 2))
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if nctdtr(pairs - 1, middle, edge) <= 1 - power else (middle, high)
    return high * scale


def error_of_score_difference(planned: Planned) -> float:
    """Standard error, over items, of the difference of two methods' blind scores on one pair."""
    p = planned
    kept, left = p.chance + KEPT * (p.accuracy - p.chance), p.floor + 0.5 * (p.planted - p.floor)
    apart = _share_of_mean(p.seeds, p.between_seeds, p.correlation) - p.correlation
    c = 2 * kept * (1 - kept) * apart / p.capability / (p.accuracy - p.chance) ** 2
    b = 2 * left * (1 - left) * apart / p.triggered / (p.planted - p.floor) ** 2
    return 0.5 * sqrt(c + b)


def pairs_needed(difference: float, error: float, spread: float, *, power: float = POWER, level: float = LEVEL) -> int:
    """Pairs for `smallest_difference_over_pairs` to reach a difference."""
    pairs = 5
    while smallest_difference_over_pairs(pairs, error, spread, power=power, level=level) > difference:
        pairs += 1
        if pairs > 10_000:
            raise DataError(f"No number of pairs shows a difference of {difference:g}; ask for a larger one.")
    return pairs


def _reach(power: float, level: float = LEVEL) -> float:
    return quantile(level) + NormalDist().inv_cdf(power)


def _share_of_mean(seeds: int, between_seeds: float, correlation: float) -> float:
    """Variance of a mean over seeds, as a share of one seed's; seeds agree at least as much as methods do."""
    return 1 / seeds + (1 - 1 / seeds) * max(between_seeds, correlation)


def _variance_of_difference(difference: float, rate: float, rho: float, share: float) -> float:
    other = rate - difference if rate >= difference else rate + difference
    if not 0 <= other <= 1:
        raise DataError(f"No rate lies {difference} away from {rate}; ask for a smaller difference.")
    p, q = rate * (1 - rate), other * (1 - other)
    return (p + q) * share - 2 * _possible(rho, rate, other) * sqrt(p * q)


def _possible(rho: float, p: float, q: float) -> float:
    """The correlation, or the highest that yes-or-no answers of these rates can have."""
    low, high = sorted((p, q))
    if low <= 0 or high >= 1:
        return 0.0
    return min(rho, sqrt(low * (1 - high) / (high * (1 - low))))


def _half_width_of_c(p: Planned, kept: float) -> float:
    rate = p.chance + kept * (p.accuracy - p.chance)
    rho = _possible(p.correlation, rate, p.accuracy)
    alike = _share_of_mean(p.seeds, p.between_seeds, p.correlation)
    low, high = mover_ratio(
        _f(rate - p.chance),
        _shifted(wilson(rate, p.capability / alike), p.chance),
        _f(p.accuracy - p.chance),
        _shifted(wilson(p.accuracy, p.capability), p.chance),
        _f(min(1.0, rho / sqrt(alike))),
    )
    return float(high - low) / 2


def _half_width_of_b(p: Planned, left: float) -> float:
    """Answers with and without the behaviour hardly correlate with an organism that shows it always: 0 is taken."""
    rate, whole = p.floor + left * (p.planted - p.floor), p.planted - p.floor
    alike = _share_of_mean(p.seeds, p.between_seeds, p.correlation)
    floor, none = wilson(p.floor, p.triggered), _f(0.0)
    top = mover_difference(_f(rate), wilson(rate, p.triggered / alike), _f(p.floor), floor, none)
    bottom = mover_difference(_f(p.planted), wilson(p.planted, p.triggered), _f(p.floor), floor, none)
    low, high = mover_ratio(_f(left * whole), top, _f(whole), bottom, none)
    return float(high - low) / 2


def _shifted(ends: Interval, by: float) -> Interval:
    return ends[0] - by, ends[1] - by


def _f(value: float) -> Array:
    return np.asarray(value, float)
