"""What the report says in words is no more than the numbers hold."""

from dataclasses import replace

import numpy as np
import pytest

from offmodel.analysis.methods import analyse
from offmodel.analysis.points import pick_of
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.verdicts import findings_of, in_short

DESIGN = Design(pairs=1, seeds=1, n_capability=200, n_triggered=100, accuracy=0.7, planted=1.0, agreement=0.5)
USELESS = Truth(left=(0.6,), kept=(0.6,))


def said(design: Design, seed: int, **methods: Truth) -> str:
    records, baselines = draw_study(np.random.default_rng(seed), design, methods)
    return " ".join(in_short(findings_of(analyse(records, baselines, [pick_of(r) for r in records]))))


def test_the_best_of_many_useless_methods_is_rarely_called_better_than_nothing():
    studies = 40
    names = [f"m{k}" for k in range(6)]
    claims = sum("clearly better than no" in said(DESIGN, k, **dict.fromkeys(names, USELESS)) for k in range(studies))
    assert claims <= 0.05 * studies + 3  # 6 methods, each alone: about .15 of the studies
    assert "ranks first of 2 methods" in said(DESIGN, 1, good=Truth(left=(0.1,), kept=(0.9,)), useless=USELESS)


@pytest.mark.parametrize(("spread", "expected"), [(0.0, False), (0.25, True)])
def test_pairs_are_said_to_differ_only_beyond_noise(spread: float, expected: bool):
    """The lowest and highest of eight pairs lie .1 apart by noise alone, with 100 prompts."""
    design = replace(DESIGN, pairs=8)
    found = [
        "It differs by pair" in said(design, k, m=Truth(left=(0.5,), kept=(0.8,), between_pairs=spread))
        for k in range(20)
    ]
    assert np.mean(found) > 0.9 if expected else np.mean(found) <= 0.15
