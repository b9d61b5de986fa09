"""The hull against scipy, and the two ends of the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull

from offmodel.analysis.hull import chain_area, chain_gradient, hull_area, upper_chain

square = st.floats(0, 1, allow_nan=False).map(lambda v: round(v, 3))
clouds = st.integers(1, 30).flatmap(lambda n: arrays(float, (2, n), elements=square))


@given(clouds)
def test_area_is_that_of_scipys_hull_above_the_diagonal(cloud: np.ndarray):
    b, c = cloud
    above = np.array([(x, y) for x, y in zip(b, c, strict=True) if y > x] + [(0, 0), (1, 1)])
    expected = 0.5 + (ConvexHull(above).volume if len(np.unique(above, axis=0)) > 2 else 0)
    assert hull_area(b, c) == pytest.approx(expected, abs=1e-9)


@given(clouds, st.randoms(use_true_random=False))
def test_order_does_not_matter(cloud: np.ndarray, random):
    order = list(range(cloud.shape[1]))
    random.shuffle(order)
    assert hull_area(*cloud[:, order]) == pytest.approx(hull_area(*cloud), abs=1e-12)


@given(clouds, square, square)
def test_a_further_point_never_lowers_the_raw_area(cloud: np.ndarray, b: float, c: float):
    assert hull_area(np.append(cloud[0], b), np.append(cloud[1], c)) >= hull_area(*cloud) - 1e-12


def test_the_ends_of_the_scale():
    assert hull_area(np.array([1.0]), np.array([1.0])) == 0.5
    assert hull_area(np.array([0.7, 0.4]), np.array([0.5, 0.4])) == 0.5  # worse than nothing counts as nothing
    assert hull_area(np.array([0.0]), np.array([1.0])) == 1.0
    assert hull_area(np.array([-0.05]), np.array([1.1])) == pytest.approx(1.075)  # not clipped
    assert hull_area(np.array([0.3]), np.array([0.8])) == pytest.approx((1 + 0.8 - 0.3) / 2)  # = the blind score


def test_vertices_run_from_nothing_to_untreated():
    b, c = np.array([0.6, 0.1, 0.3, 0.5]), np.array([0.95, 0.5, 0.8, 0.6])
    assert upper_chain(b, c) == [1, 2, 0]
    assert chain_area(b[[1, 2, 0]], c[[1, 2, 0]]) == pytest.approx(hull_area(b, c))
    assert chain_area(b[[0, 2, 1]], c[[0, 2, 1]]) < hull_area(b, c)  # a chain that runs back counts negative


def test_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    b, c = rng.random((2, 5))
    by_b, by_c = chain_gradient(b, c)
    for i in range(5):
        step = np.eye(5)[i] * 1e-6
        assert by_b[i] == pytest.approx((chain_area(b + step, c) - chain_area(b - step, c)) / 2e-6, abs=1e-6)
        assert by_c[i] == pytest.approx((chain_area(b, c + step) - chain_area(b, c - step)) / 2e-6, abs=1e-6)
