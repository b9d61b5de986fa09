"""The cross-fitted area once more, from the design's words: loops over splits and points, and scipy's hull."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from offmodel.analysis.crossfit import digest
from offmodel.analysis.grid import build_grid
from offmodel.analysis.points import PairBaseline
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.tradeoff import cross_fitted_area

DESIGN = Design(
    pairs=1, seeds=2, n_capability=120, n_triggered=61, accuracy=0.7, planted=0.9, floor=0.05, agreement=0.3
)


def test_the_cross_fitted_area_is_the_designs_word_for_word():
    """Twenty splits by digest, both ways: scipy's hull on one half, the signed trapezoids of its chain on the other."""
    rng = np.random.default_rng(3)
    truth = Truth(left=tuple(rng.random(6)), kept=tuple(rng.random(6)))
    records, (base,) = draw_study(rng, DESIGN, {"m": truth})
    areas = []
    for s in range(20):
        c_first, c_second = _cut("c", base.organism.capability, s)
        b_first, b_second = _cut("b", base.organism.triggered, s)
        for choose, measure in (((b_first, c_first), (b_second, c_second)), ((b_second, c_second), (b_first, c_first))):
            here, there = _points_on(records, base, *choose), _points_on(records, base, *measure)
            chain = [(0.0, 0.0), *(there[step] for step in _vertices(here)), (1.0, 1.0)]
            areas.append(sum((x2 - x1) * (y1 + y2) / 2 for (x1, y1), (x2, y2) in pairwise(chain)))
    assert cross_fitted_area(build_grid(records, base)).value == pytest.approx(np.mean(areas), abs=1e-12)


def _cut(letter: str, items: Iterable[str], split: int) -> tuple[list[str], list[str]]:
    order = sorted(items, key=lambda i: digest(f"{split}|{letter}:{i}"))
    middle = len(order) // 2 if split % 2 else len(order) - len(order) // 2
    return order[:middle], order[middle:]


def _points_on(records, base: PairBaseline, triggered: list[str], capability: list[str]) -> dict[int, tuple]:
    """(b, c) by step on some items, each ratio with Beale's correction, from his formula."""

    def ratio(x: np.ndarray, y: np.ndarray) -> float:
        (_, both), (_, spread) = np.cov(x, y)
        n, top, bottom = len(x), x.mean(), y.mean()
        return (top / bottom + both / (n * bottom**2)) / (1 + spread / (n * bottom**2))

    def column(scores, items) -> np.ndarray:
        return np.array([scores[i] for i in items])

    floor, found = column(base.student.triggered, triggered), {}
    for step in {r.step for r in records}:
        own = [r.scores for r in records if r.step == step]
        shown = np.mean([column(s.triggered, triggered) for s in own], axis=0)
        right = np.mean([column(s.capability, capability) for s in own], axis=0)
        b = ratio(shown - floor, column(base.organism.triggered, triggered) - floor)
        found[step] = (b, ratio(right, column(base.organism.capability, capability)))
    return found


def _vertices(points: dict[int, tuple]) -> list[int]:
    """Steps of the points on the hull above the diagonal, from (0, 0) to (1, 1)."""
    above = [step for step, (b, c) in points.items() if c > b]
    corners = [(0.0, 0.0), *(points[s] for s in above), (1.0, 1.0)]
    if not above:
        return []
    ring = list(ConvexHull(corners).vertices)[::-1]  # clockwise
    start = ring.index(0)
    ring = ring[start:] + ring[:start]
    return [above[i - 1] for i in ring[1 : ring.index(len(corners) - 1)]]
