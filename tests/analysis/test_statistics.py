"""Intervals against scipy, at their extremes, and by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from offmodel.analysis.statistics import (
    effective_n,
    mean_interval,
    paired_difference,
    paired_ratio,
    same_items,
    wilson,
)
from offmodel.core.errors import DataError
from offmodel.core.scores import proportion


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_proportion_is_scipys_wilson_interval(counts: tuple[int, int], level: float):
    k, n = counts
    theirs = binomtest(k, n).proportion_ci(level, method="wilson")
    ours = proportion(k, n, level)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.low <= ours.value <= ours.high


def test_no_answers_give_no_share():
    with pytest.raises(DataError, match="zero answers"):
        proportion(0, 0)


def test_effective_n_lies_between_items_and_answers():
    rng = np.random.default_rng(0)
    binary = rng.integers(0, 2, 100).astype(float)
    assert effective_n(binary, 1) == pytest.approx(100)
    assert effective_n(binary, 2) == pytest.approx(100)  # two seeds that always agree count once
    halves = rng.binomial(2, 0.5, 4000) / 2  # two seeds that know nothing of each other count twice
    assert effective_n(halves, 2) == pytest.approx(8000, rel=0.06)


bits = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=5, max_size=60)


@given(bits)
def test_paired_difference_is_antisymmetric_and_order_free(rows: list[tuple[bool, bool]]):
    x, y = np.array(rows, float).T
    d, back = paired_difference(x, y), paired_difference(y, x)
    assert (d.value, d.low, d.high) == pytest.approx((-back.value, -back.high, -back.low), abs=1e-9)
    again = paired_difference(x[::-1], y[::-1])
    assert (d.low, d.high) == pytest.approx((again.low, again.high))
    assert d.low <= d.value <= d.high


def test_pairing_narrows_and_zero_counts_keep_a_width():
    rng = np.random.default_rng(1)
    x = (rng.random(400) < 0.7).astype(float)
    y = np.where(rng.random(400) < 0.95, x, 1 - x)
    paired, unpaired = paired_difference(x, y), paired_difference(x, rng.permutation(y))
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    none = paired_difference(np.zeros(60), np.zeros(60))
    assert none.value == 0
    assert none.low < -0.03
    assert none.high > 0.03


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_paired_difference_and_ratio_cover(rate: float):
    rng = np.random.default_rng(2)
    hit_d = hit_r = 0
    runs = 1500
    for _ in range(runs):
        hard = rng.standard_normal(150)
        cut = _cut(rate)
        x = (0.8 * hard + 0.6 * rng.standard_normal(150) < cut).astype(float)
        y = (0.8 * hard + 0.6 * rng.standard_normal(150) < _cut(0.9)).astype(float)
        d, r = paired_difference(x, y), paired_ratio(x, y)
        hit_d += d.low <= rate - 0.9 <= d.high
        hit_r += r.low <= rate / 0.9 <= r.high
    assert 0.925 < hit_d / runs < 0.985
    assert 0.925 < hit_r / runs < 0.985


def _cut(rate: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(rate)


@pytest.mark.parametrize(("n", "rate", "lost"), [(60, 0.5, 0.01), (60, 0.7, 0.03), (100, 0.5, 0.03), (256, 0.5, 0.01)])
def test_intervals_cover_where_models_hardly_differ(n: int, rate: float, lost: float):
    """With the plain correlation the first of these covered .57."""
    rng, runs, hit_d, hit_r = np.random.default_rng(4), 300, 0, 0
    for _ in range(runs):
        y = (rng.random(n) < rate).astype(float)
        x = np.where(rng.random(n) < lost / rate, 0.0, y)
        d, r = paired_difference(x, y), paired_ratio(x, y)
        hit_d += d.low <= -lost <= d.high
        hit_r += r.low <= (rate - lost) / rate <= r.high
    assert hit_d / runs > 0.93
    assert hit_r / runs > 0.93
    same = paired_difference(y, y)
    assert same.value == 0
    assert -3.7 / n < same.low < -1.9 / n  # between Agresti and Min's interval and Tango's


def test_ratio_of_a_model_to_itself_is_one():
    x = np.repeat([0.0, 1.0], [30, 70])
    r = paired_ratio(x, x)
    assert r.value == 1
    assert 0.95 < r.low < 0.97  # no disagreement in 100 leaves 3 in 100 possible, of 70
    assert 1.03 < r.high < 1.05
    assert paired_ratio(x, x, chance=0.25).value == pytest.approx(1)


def test_ratio_removes_chance_and_refuses_a_base_at_chance():
    x, y = np.repeat([0.0, 1.0], [50, 50]), np.repeat([0.0, 1.0], [25, 75])
    assert paired_ratio(x, y, chance=0.25).value == pytest.approx(0.5)
    with pytest.raises(DataError, match="not above chance"):
        paired_ratio(x, np.repeat([0.0, 1.0], [75, 25]), chance=0.25)


def test_means_of_seeds_are_no_wider_than_one_seed():
    rng = np.random.default_rng(3)
    one = rng.integers(0, 2, 200).astype(float)
    two = (one + rng.integers(0, 2, 200)) / 2
    low, high = mean_interval(two, 2)
    low1, high1 = wilson(two.mean(), 200)
    assert high - low < high1 - low1


@pytest.mark.parametrize("second", [{}, {"a": 1.0}, {"a": 1.0, "c": 0.0}, {"a": 1.0, "b": 0.0, "c": 1.0}])
def test_arms_with_other_items_cannot_be_paired(second: dict[str, float]):
    with pytest.raises(DataError, match="a paired comparison is impossible"):
        same_items({"a": 1.0, "b": 0.0}, second, "capability")
    x, y = same_items({"b": 0.0, "a": 1.0}, {"a": 0.5, "b": 1.0}, "capability")
    assert (x.tolist(), y.tolist()) == ([1, 0], [0.5, 1])
