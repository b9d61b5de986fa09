"""The analysis of a large study is quick: 500 points on 1,500 capability items."""

import time

import numpy as np

from offmodel.analysis.methods import analyse, differences
from offmodel.analysis.points import pick_of
from offmodel.analysis.simulate import Design, Truth, draw_study

SECONDS = 10.0
"""Of one core; about 3 on the machine of the quickstart."""


def test_five_hundred_points_take_seconds():
    design = Design(
        pairs=10, seeds=1, n_capability=1500, n_triggered=200, accuracy=0.7, planted=0.97, agreement=0.5
    )  # fmt: skip
    left = np.linspace(0.9, 0.1, 5)
    methods = {f"m{k}": Truth(left=tuple(left), kept=tuple(1 - (1 - left) ** (1 + k / 4))) for k in range(10)}
    records, baselines = draw_study(np.random.default_rng(0), design, methods)
    assert len(records) == 500
    began = time.process_time()
    analysis = analyse(records, baselines, [pick_of(r) for r in records if r.step == 1])
    found = differences(analysis, "blind score") + differences(analysis, "area")
    assert time.process_time() - began < SECONDS
    assert len(found) == 90
