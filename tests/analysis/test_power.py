"""Power and planned half-widths: against scipy's t-test power, and against simulated measurements."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import nct, norm, t

from offmodel.analysis.power import (
    Planned,
    error_of_score_difference,
    items_needed,
    pairs_needed,
    resolution,
    smallest_difference,
    smallest_difference_over_pairs,
)
from offmodel.analysis.statistics import paired_difference, paired_ratio
from offmodel.core.errors import DataError

PLAN = Planned(
    capability=256, triggered=96, seeds=1, accuracy=0.8, chance=0.0, planted=0.97, floor=0.02, correlation=0.5,
    between_seeds=0.7,
)  # fmt: skip


def answers(rng: np.random.Generator, n: int, rates: tuple[float, float], rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of yes-or-no answers with these rates and this correlation."""
    p, q = rates
    both = p * q + rho * sqrt(p * (1 - p) * q * (1 - q))
    cell = rng.choice(4, n, p=[both, p - both, q - both, 1 - p - q + both])
    return (cell <= 1).astype(float), np.isin(cell, [0, 2]).astype(float)


def test_power_is_reached_in_simulation():
    n = items_needed(0.05, 0.6, correlation=0.5)
    assert smallest_difference(n, 0.6, correlation=0.5) == pytest.approx(0.05, rel=0.01)
    rng = np.random.default_rng(4)
    seen = sum(paired_difference(*answers(rng, n, (0.6, 0.55), 0.5)).low > 0 for _ in range(400))
    assert 0.74 < seen / 400 < 0.86


@pytest.mark.parametrize(("difference", "rate"), [(0.03, 0.2), (0.05, 0.5), (0.1, 0.8)])
def test_unrelated_answers_need_what_the_two_sample_formula_says(difference: float, rate: float):
    """The textbook formula for two proportions, variances not pooled; n on each side."""
    p, q = rate, rate - difference
    theirs = (norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * (p * (1 - p) + q * (1 - q)) / difference**2
    assert items_needed(difference, rate, correlation=0.0) == pytest.approx(theirs, abs=1)


def test_paired_answers_need_what_mcnemars_formula_says():
    """Connor's formula from discordant shares; it pools the variance under "no difference", which hardly matters."""
    p, q, rho = 0.7, 0.65, 0.5
    both = p * q + rho * sqrt(p * (1 - p) * q * (1 - q))
    discordant, d = p + q - 2 * both, p - q
    theirs = (norm.ppf(0.975) * sqrt(discordant) + norm.ppf(0.8) * sqrt(discordant - d**2)) ** 2 / d**2
    assert items_needed(d, p, correlation=rho) == pytest.approx(theirs, rel=0.02)


def test_over_pairs_it_is_the_power_of_students_t():
    found = smallest_difference_over_pairs(15, 0.03, 0.08)
    scale = sqrt((0.03**2 + 0.08**2) / 15)
    edge = t.ppf(0.975, 14)
    theirs = brentq(lambda d: nct.sf(edge, 14, d / scale) - 0.8, 1e-6, 1)
    assert found == pytest.approx(theirs, rel=1e-6)
    assert pairs_needed(found, 0.03, 0.08) == 15
    rng = np.random.default_rng(0)
    draws = found + sqrt(0.03**2 + 0.08**2) * rng.standard_normal((15, 4000))
    low = draws.mean(0) - edge * draws.std(0, ddof=1) / sqrt(15)
    assert (low > 0).mean() == pytest.approx(0.8, abs=0.02)


def test_pairing_and_seeds_save_items():
    alone = items_needed(0.03, 0.8, correlation=0.0)
    assert items_needed(0.03, 0.8, correlation=0.7) < 0.4 * alone
    unlike = items_needed(0.03, 0.8, correlation=0.0, seeds=2, between_seeds=0.0)
    assert unlike == pytest.approx(alone / 2, abs=1)
    assert unlike < items_needed(0.03, 0.8, correlation=0.0, seeds=2) < alone
    with pytest.raises(DataError, match="smaller difference"):
        items_needed(0.9, 0.5, correlation=0.0)


@pytest.mark.parametrize("accuracy", [0.3, 0.8])
def test_the_planned_half_width_of_c_is_the_measured_one(accuracy: float):
    rng = np.random.default_rng(1)
    planned = resolution(replace(PLAN, accuracy=accuracy)).kept
    widths = []
    for _ in range(200):
        x, y = answers(rng, 256, (0.9 * accuracy, accuracy), 0.5)
        found = paired_ratio(x, y)
        widths.append((found.high - found.low) / 2)
    assert planned == pytest.approx(np.mean(widths), rel=0.05)


def test_the_error_of_a_score_difference_is_the_simulated_one():
    rng = np.random.default_rng(2)
    draws = []
    for _ in range(2000):
        (c1, c2), (b1, b2) = answers(rng, 256, (0.72, 0.72), 0.5), answers(rng, 96, (0.495, 0.495), 0.5)
        draws.append(0.5 * ((c1 - c2).mean() / 0.8 - (b1 - b2).mean() / 0.95))
    assert error_of_score_difference(PLAN) == pytest.approx(np.std(draws), rel=0.06)


def test_seeds_of_one_method_that_agree_help_as_much_as_simulated():
    """Answers by a latent trait: two methods share some of it, two seeds of one method more."""
    rng, n, cut = np.random.default_rng(5), 400, norm.ppf(0.7)
    hard = rng.standard_normal((1, 1, 1, 500, n)) * sqrt(0.65)
    method = rng.standard_normal((2, 1, 1, 500, n)) * sqrt(0.2)
    right = (hard + method + rng.standard_normal((2, 2, 1, 500, n)) * sqrt(0.15) < cut)[:, :, 0].astype(float)
    same, other = (np.corrcoef(right[0, 0].ravel(), v.ravel())[0, 1] for v in (right[0, 1], right[1, 0]))
    found = (right[0].mean((0, 2)) - right[1].mean((0, 2))).std()
    needed = items_needed(0.03, 0.7, correlation=other, seeds=2, between_seeds=same)
    expected = 0.03 / (norm.ppf(0.975) + norm.ppf(0.8)) * sqrt(needed / n)
    assert same > other + 0.1
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.7, 0.95])
def test_the_smallest_difference_is_the_smallest(rate: float):
    """Also where the items needed jump, because the other rate must lie on the other side."""
    for n in (20, 40, 100, 1000):
        found = smallest_difference(n, rate, correlation=0.3)
        tried = [d for d in np.linspace(0.002, 0.999, 500) if d <= max(rate, 1 - rate)]
        enough = [d for d in tried if items_needed(d, rate, correlation=0.3) <= n]
        assert (found == np.inf and not enough) or found == pytest.approx(min(enough, default=np.inf), abs=0.0025)


def test_more_never_looks_worse():
    base = resolution(PLAN)
    for change in ({"capability": 512, "triggered": 192}, {"seeds": 3}, {"correlation": 0.6}):
        better = resolution(replace(PLAN, **change))
        assert better.kept < base.kept
        assert better.left <= base.left or "correlation" in change
        assert better.score < base.score
        assert better.capability < base.capability


def test_resolved_is_said_before_anything_runs():
    assert not resolution(replace(PLAN, capability=100, accuracy=0.5)).resolved
    assert resolution(replace(PLAN, capability=2000)).resolved


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triggered": 0}, "0 triggered prompts"),
        ({"capability": 3}, "3 capability items"),
        ({"accuracy": 0.2, "chance": 0.25}, "cannot be measured against"),
    ],
)
def test_designs_that_can_tell_nothing_are_refused(change: dict, message: str):
    with pytest.raises(DataError, match=message):
        resolution(replace(PLAN, **change))
