"""Geometry of the trade-off plane: the hull of (b, c) points with its two ends, and the area under a chain of them.

b runs right (bad behaviour left, 1 = untreated), c runs up (capability kept, 1 = untreated). A chain goes from (0, 0),
a model that does nothing at all, over points to (1, 1), the untreated organism. Everything works on H clouds of P
points at once, as arrays [P, H]; chains are [K, H] positions, filled up with `END` once they have reached (1, 1).
Knows no items. Invariant: a chain without points has area .5 (nothing works), the chain over (0, 1) has area 1.
"""

import numpy as np
import numpy.typing as npt

from offmodel.analysis.statistics import Array

Chains = npt.NDArray[np.intp]

END = -1
"""The position of (1, 1), in arrays that `with_end` has made."""
_SAME = 1e-9  # angles closer than this are one: of points on one line the farthest is taken
_APART = (
    1e-9  # points closer than this are one: a checkpoint that answers as the organism does differs by rounding only
)


def upper_chains(b: Array, c: Array, allowed: npt.NDArray[np.bool_] | None = None) -> Chains:
    """Vertices of the convex hulls of the points with (0, 0) and (1, 1), from (0, 0) to (1, 1), by gift wrapping.

    Points on or below the diagonal are worse than nothing and never vertices. Points beyond the unit square are kept
    as they are: the hull is not clipped.

    Args:
        b: [P, H] bad behaviour left.
        c: [P, H] capability kept.
        allowed: [P, H] which points may be vertices; None: all.

    Returns:
        [K, H] positions; K is the largest number of vertices. Of equal points the first is taken.
    """
    x, y = with_end(b), with_end(c)
    above = c - b > _APART
    usable = np.vstack([above if allowed is None else above & allowed, np.ones((1, b.shape[1]), bool)])
    columns = np.arange(b.shape[1])
    here_x, here_y = np.zeros(b.shape[1]), np.zeros(b.shape[1])
    heading = np.full(b.shape[1], np.arctan2(-1.0, -1.0))  # as if coming down the diagonal
    done = np.zeros(b.shape[1], bool)
    chain: list[Chains] = []
    for _ in range(len(x)):
        along_x, along_y = x - here_x, y - here_y
        angle = np.arctan2(along_y, along_x)
        turn = heading - angle  # clockwise, [P + 1, H]
        turn[turn < -_SAME] += 2 * np.pi
        turn[turn > 2 * np.pi - _SAME] -= 2 * np.pi
        far = along_x * along_x + along_y * along_y
        key = np.rint(turn / _SAME) - far / (1 + far.max())
        key[~(usable & (far > _APART**2))] = np.inf
        vertex = np.argmin(key, axis=0)
        vertex = np.where(done, len(x) - 1, vertex)
        done = vertex == len(x) - 1
        if done.all():
            break
        chain.append(np.where(done, END, vertex))
        usable[vertex, columns] &= done  # nobody twice: rounding of angles must not lead in a circle
        heading = angle[vertex, columns]
        here_x, here_y = x[vertex, columns], y[vertex, columns]
    assert done.all(), "the hull did not close"
    return np.stack(chain) if chain else np.empty((0, b.shape[1]), np.intp)


def with_end(values: Array) -> Array:
    """Values [P, H] with the untreated organism's 1 below them, at position `END`."""
    return np.vstack([values, np.ones((1, values.shape[1]))])


def chain_areas(b: Array, c: Array) -> Array:
    """[H] signed trapezoid areas under chains (0, 0), points in the order given, (1, 1); b and c are [K, H].

    Points may lie in any order along b: where a chain runs back, the area counts negative, which is what leaves the
    cross-fitted area unbiased.
    """
    x, y = _between_ends(b), _between_ends(c)
    return (np.diff(x, axis=0) * (y[1:] + y[:-1])).sum(0) / 2


def chain_slopes(b: Array, c: Array) -> tuple[Array, Array]:
    """Derivatives of `chain_areas` by each point's b and c, [K, H] each."""
    x, y = _between_ends(b), _between_ends(c)
    return (y[:-2] - y[2:]) / 2, (x[2:] - x[:-2]) / 2


def hull_area(b: Array, c: Array) -> float:
    """Area under the hull of points [P] themselves: the raw area, which flatters methods with many points."""
    return float(hull_areas(b[:, None], c[:, None])[0])


def hull_areas(b: Array, c: Array) -> Array:
    """[H] raw areas of clouds [P, H]."""
    chains, columns = upper_chains(b, c), np.arange(b.shape[1])
    return chain_areas(with_end(b)[chains, columns], with_end(c)[chains, columns])


def _between_ends(values: Array) -> Array:
    width = values.shape[1]
    return np.vstack([np.zeros((1, width)), values, np.ones((1, width))])
