"""The hull against scipy, and the two ends of the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import ConvexHull

from offmodel.analysis.hull import END, chain_areas, chain_slopes, hull_area, hull_areas, upper_chains

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
    b, c = np.array([[0.6, 0.1, 0.3, 0.5]]).T, np.array([[0.95, 0.5, 0.8, 0.6]]).T
    assert upper_chains(b, c)[:, 0].tolist() == [1, 2, 0]
    assert chain_areas(b[[1, 2, 0]], c[[1, 2, 0]])[0] == pytest.approx(hull_area(b[:, 0], c[:, 0]))
    assert chain_areas(b[[0, 2, 1]], c[[0, 2, 1]])[0] < hull_area(b[:, 0], c[:, 0])  # running back counts negative
    allowed = np.array([[True, False, True, True]]).T
    assert upper_chains(b, c, allowed)[:, 0].tolist() == [2, 0]


def test_many_clouds_at_once_equal_one_at_a_time():
    rng = np.random.default_rng(1)
    b, c = rng.integers(-2, 12, (2, 9, 300)) / 10  # a coarse grid: many equal points and points on one line
    chains = upper_chains(b, c)
    for h in range(300):
        alone = upper_chains(b[:, [h]], c[:, [h]])[:, 0].tolist()
        assert chains[:, h].tolist() == alone + [END] * (len(chains) - len(alone))
    assert hull_areas(b, c)[7] == pytest.approx(hull_area(b[:, 7], c[:, 7]))


def test_slopes_are_the_derivatives():
    rng = np.random.default_rng(0)
    b, c = rng.random((2, 5, 1))
    by_b, by_c = chain_slopes(b, c)
    for i in range(5):
        step = np.eye(5)[:, [i]] * 1e-6
        assert by_b[i] == pytest.approx((chain_areas(b + step, c) - chain_areas(b - step, c)) / 2e-6, abs=1e-6)
        assert by_c[i] == pytest.approx((chain_areas(b, c + step) - chain_areas(b, c - step)) / 2e-6, abs=1e-6)


def test_points_that_differ_by_rounding_are_one():
    near = np.array([0.9999999999999996, 0.72, 0.49]), np.array([0.9999999999999998, 0.87, 0.52])
    assert hull_area(*near) == pytest.approx(hull_area(near[0][1:], near[1][1:]))
    assert hull_area(np.array([0.3, 0.3 + 1e-16, 0.3]), np.array([0.8, 0.8, 0.8 - 1e-16])) == pytest.approx(0.75)
    assert hull_area(np.array([1e-17, 0.5]), np.array([2e-17, 0.7])) == pytest.approx(0.6)


@given(clouds, st.integers(0, 2**32 - 1))
def test_rounding_never_changes_a_hull(cloud: np.ndarray, seed: int):
    both = np.hstack([cloud, cloud, [[0.0, 1.0], [0.0, 1.0]]])
    noisy = both + 1e-15 * np.random.default_rng(seed).standard_normal(both.shape)
    assert hull_area(*noisy) == pytest.approx(hull_area(*cloud), abs=1e-8)
