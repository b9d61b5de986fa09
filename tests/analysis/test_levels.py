"""Which levels an interval covers, and whether it does."""

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from offmodel.analysis.levels import ALL_LEVELS, PAIRS_AND_ITEMS, SEEDS_AND_ITEMS, Estimate, combine, holm, minus
from offmodel.analysis.statistics import ITEMS_ONLY
from offmodel.core.errors import DataError


def estimates(values, resampled=None, seeds=None, floor=0.0) -> list[Estimate]:
    return [
        Estimate(
            pair=f"p{k:02d}",
            value=v,
            resampled=np.zeros(200) if resampled is None else resampled[k],
            items=frozenset({f"c:{k}"}),
            floor=floor,
            by_seed={} if seeds is None else dict(enumerate(seeds[k])),
        )
        for k, v in enumerate(values)
    ]


def test_five_pairs_are_a_sample_and_four_are_not():
    rng = np.random.default_rng(0)
    values = rng.random(5)
    five = combine(estimates(values)).score
    theirs = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (five.low, five.high) == pytest.approx(tuple(theirs))
    assert five.covers == PAIRS_AND_ITEMS
    four = combine(estimates(values[:4])).score
    assert four.covers == ITEMS_ONLY
    assert four.low == four.high  # no item noise here, and pairs are not resampled


def test_a_p_value_is_that_of_the_t_test():
    values = np.array([0.1, 0.2, -0.05, 0.3, 0.12, 0.2])
    assert combine(estimates(values)).p_value == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_five_seeds_on_few_pairs_cover_seeds():
    rng = np.random.default_rng(1)
    seeds = rng.random((1, 6))
    found = combine(estimates(seeds.mean(1), seeds=seeds))
    half = t.ppf(0.975, 5) * seeds.std(ddof=1) / 6**0.5
    assert found.score.covers == SEEDS_AND_ITEMS
    assert found.score.high - found.score.value == pytest.approx(half)
    assert combine(estimates(seeds[:, :4].mean(1), seeds=seeds[:, :4])).score.covers == ITEMS_ONLY


def test_the_label_claims_seeds_only_from_five_seeds_on():
    rng = np.random.default_rng(4)
    seeds = rng.random((6, 5))
    assert combine(estimates(seeds.mean(1), seeds=seeds)).score.covers == ALL_LEVELS
    assert combine(estimates(seeds.mean(1), seeds=seeds[:, :4])).score.covers == PAIRS_AND_ITEMS
    uneven = estimates(seeds.mean(1), seeds=[row[: 5 - (k == 0)] for k, row in enumerate(seeds)])
    assert combine(uneven).score.covers == PAIRS_AND_ITEMS


@pytest.mark.parametrize(("pairs", "own"), [(6, 0.0), (6, 0.04), (2, 0.0), (2, 0.04)])
def test_seeds_that_pairs_share_are_covered(pairs: int, own: float):
    """A seed is the same data order in every pair: what it does to all pairs at once does not average out over them."""
    rng = np.random.default_rng(5)
    hits, runs, S = 0, 1500, 6
    for _ in range(runs):
        seeds = 0.7 + 0.05 * rng.standard_normal((1, S)) + own * rng.standard_normal((pairs, S))
        between = 0.03 * rng.standard_normal((pairs, 1)) if pairs >= 5 else np.zeros((pairs, 1))
        s = combine(estimates((seeds + between).mean(1), seeds=seeds + between)).score
        hits += s.low <= 0.7 <= s.high
    assert 0.93 < hits / runs < 0.975


def test_shared_items_do_not_average_out_over_pairs():
    rng = np.random.default_rng(2)
    shared = np.tile(rng.standard_normal(200), (4, 1))
    own = rng.standard_normal((4, 200))
    assert combine(estimates(np.zeros(4), shared)).error == pytest.approx(1, rel=0.15)
    assert combine(estimates(np.zeros(4), own)).error == pytest.approx(0.5, rel=0.2)


def test_units_are_given_as_marks():
    found = combine(estimates([0.2, 0.4], seeds=[[0.1, 0.3], [0.4, 0.4]]))
    assert found.by_pair == {"p00": 0.2, "p01": 0.4}
    assert found.by_seed["p00", 1] == 0.3
    assert found.score.n == 2


@pytest.mark.parametrize("pairs", [6, 15])
def test_t_over_pairs_covers_with_shared_item_noise(pairs: int):
    rng = np.random.default_rng(pairs)
    hits, runs = 0, 1200
    for _ in range(runs):
        items, own = 0.03 * rng.standard_normal(), 0.04 * rng.standard_normal(pairs)
        resampled = 0.03 * np.tile(rng.standard_normal(200), (pairs, 1)) + 0.01 * rng.standard_normal((pairs, 200))
        s = combine(estimates(0.7 + items + own + 0.01 * rng.standard_normal(pairs), resampled)).score
        hits += s.low <= 0.7 <= s.high
    assert 0.93 < hits / runs < 0.975


def test_nothing_to_average_is_an_error_and_pairs_do_not_mix():
    with pytest.raises(DataError, match="nothing to average"):
        combine([])
    a, b = estimates([0.1, 0.2])
    with pytest.raises(AssertionError):
        minus(a, b)


def test_order_of_pairs_does_not_matter():
    rng = np.random.default_rng(3)
    some = estimates(rng.random(7), rng.standard_normal((7, 200)))
    assert combine(some).score == combine(some[::-1]).score


def test_holm_is_stricter_than_single_tests_and_keeps_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.001]) == pytest.approx([0.6, 0.002])
