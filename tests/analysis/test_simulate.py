"""Simulated worlds: what they are said to be, they are."""

from dataclasses import replace

import numpy as np
import pytest

from offmodel.analysis.simulate import Design, Truth, draw_study, draw_worlds, nothing_works
from offmodel.analysis.statistics import correlation

DESIGN = Design(
    pairs=1, seeds=2, n_capability=6000, n_triggered=6000, accuracy=0.7, planted=0.95, floor=0.05, agreement=0.6,
    same_run=0.25,
)  # fmt: skip
TRUTH = Truth(left=(0.6, 0.2), kept=(0.9, 0.8))


def test_rates_are_the_true_ones():
    records, (base,) = draw_study(np.random.default_rng(0), DESIGN, {"m": TRUTH})
    assert np.mean(list(base.organism.capability.values())) == pytest.approx(0.7, abs=0.02)
    assert np.mean(list(base.student.triggered.values())) == pytest.approx(0.05, abs=0.01)
    last = records[1]
    assert np.mean(list(last.scores.capability.values())) == pytest.approx(0.7 * 0.8, abs=0.02)
    assert np.mean(list(last.scores.triggered.values())) == pytest.approx(0.05 + 0.9 * 0.2, abs=0.02)


def test_checkpoints_of_one_run_agree_more_than_two_runs_and_those_more_than_strangers():
    def agreement(design: Design) -> tuple[float, float]:
        records, _ = draw_study(np.random.default_rng(1), design, {"m": TRUTH})
        rows = {(r.seed, r.step): np.array(list(r.scores.capability.values())) for r in records}
        return float(correlation(rows[0, 0], rows[0, 1])), float(correlation(rows[0, 0], rows[1, 0]))

    same, other = agreement(DESIGN)
    assert same > other + 0.1
    assert other > 0.3
    assert agreement(replace(DESIGN, agreement=0.0, same_run=0.0)) == pytest.approx((0, 0), abs=0.05)


def test_spreads_are_between_pairs_and_between_seeds():
    wide = Truth(left=(0.5,), kept=(0.5,), between_pairs=0.08, between_seeds=0.04)
    world = draw_worlds(
        np.random.default_rng(2), replace(DESIGN, pairs=20_000, pair_spread=0.06), {"a": wide, "b": wide}
    )
    a, b = (world.left[m][:, :, 0] for m in "ab")
    assert a.std() == pytest.approx((0.08**2 + 0.04**2 + 0.06**2) ** 0.5, rel=0.03)
    assert (a[:, 0] - a[:, 1]).std() == pytest.approx(0.04 * 2**0.5, rel=0.03)
    assert np.cov(a[:, 0], b[:, 0])[0, 1] == pytest.approx(0.06**2, rel=0.1)


def test_true_areas_are_those_of_the_points():
    world = draw_worlds(
        np.random.default_rng(3), DESIGN, {"n": nothing_works(7), "one": Truth(left=(0.2,), kept=(0.8,))}
    )
    assert world.areas("n") == pytest.approx([0.5])
    assert world.areas("one") == pytest.approx([0.8])
