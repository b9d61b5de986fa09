"""Geometry of the trade-off plane: the hull of (b, c) points with its two ends, and the area under a chain of them.

b runs right (bad behaviour left, 1 = untreated), c runs up (capability kept, 1 = untreated). The chain goes from
(0, 0), a model that does nothing at all, over the points to (1, 1), the untreated organism. Knows no items.
Invariant: a chain without points has area .5 (nothing works); the chain over (0, 1) has area 1 (removed for free).
"""

from collections.abc import Sequence

import numpy as np

from offmodel.analysis.statistics import Array


def upper_chain(b: Array, c: Array) -> list[int]:
    """Points that are vertices of the convex hull with (0, 0) and (1, 1), ordered from (0, 0) to (1, 1).

    Points on or below the diagonal are worse than nothing and never vertices. Points beyond the unit square are kept
    as they are: the hull is not clipped.

    Args:
        b: [P] bad behaviour left.
        c: [P] capability kept.

    Returns:
        Positions in b and c; of equal points the first.
    """
    above = np.flatnonzero(c > b)
    order = above[np.lexsort((above, c[above], b[above]))]
    points = [(float(b[i]), float(c[i]), int(i)) for i in order]
    points += [(0.0, 0.0, -1), (1.0, 1.0, -2)]
    points.sort(key=lambda p: p[:2])
    ring = _half(points)[:-1] + _half(points[::-1])[:-1]  # counterclockwise
    start = next(k for k, p in enumerate(ring) if p[2] == -2)
    turned = ring[start:] + ring[:start]  # from (1, 1) over the points to (0, 0): above the diagonal is on the left
    inner = turned[1 : next(k for k, p in enumerate(turned) if p[2] == -1)]
    return [p[2] for p in reversed(inner)]


def _half(points: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """One side of the hull of sorted points, with strict left turns."""
    chain: list[tuple[float, float, int]] = []
    for p in points:
        while len(chain) >= 2 and _turn(chain[-2], chain[-1], p) <= 0:
            chain.pop()
        chain.append(p)
    return chain


def _turn(a: tuple[float, float, int], b: tuple[float, float, int], p: tuple[float, float, int]) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def with_ends(b: Array, c: Array) -> tuple[Array, Array]:
    """A chain's points with (0, 0) before and (1, 1) after them."""
    return np.concatenate(([0.0], b, [1.0])), np.concatenate(([0.0], c, [1.0]))


def chain_area(b: Array, c: Array) -> float:
    """Signed trapezoid area under the chain (0, 0), points in the order given, (1, 1).

    Points may lie in any order along b: where the chain runs back, the area counts negative, which is what leaves the
    cross-fitted area unbiased.
    """
    x, y = with_ends(b, c)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def chain_gradient(b: Array, c: Array) -> tuple[Array, Array]:
    """Derivatives of `chain_area` by each point's b and c."""
    x, y = with_ends(b, c)
    return (y[:-2] - y[2:]) / 2, (x[2:] - x[:-2]) / 2


def hull_area(b: Array, c: Array) -> float:
    """Area under the hull of the points themselves: the raw area, which flatters methods with many points."""
    chain = upper_chain(b, c)
    return chain_area(b[chain], c[chain])
