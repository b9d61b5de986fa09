"""Curves: a method's points at one setting, joined by step, with where its training started. For figures and page.

Looks up what `methods` computed; draws nothing. Invariant: a curve's points are in the order of steps, and it starts at
the untreated organism unless its method goes on with another's training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offmodel.analysis.grid import Key
from offmodel.analysis.methods import Analysis, MethodPair
from offmodel.analysis.points import PointRecord, pick_of
from offmodel.analysis.pointtable import point_scores
from offmodel.core.scores import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One method at one setting on one pair.

    Attributes:
        method, setting, pair: whose.
        dash: number of the setting, for the line's dashes.
        start: (step, b, c) where the training began; NaN where that is not known.
        keys: its points, by step. b, c: their scores.
    """

    method: str
    setting: str
    pair: str
    dash: int
    start: tuple[int, float, float]
    keys: tuple[Key, ...]
    b: tuple[Score, ...]
    c: tuple[Score, ...]


def curves_of(analysis: Analysis, cell: MethodPair, follows: Mapping[str, str]) -> list[Curve]:
    """A cell's curves, one a setting.

    Args:
        analysis: the study.
        cell: one method on one pair.
        follows: by method, the method whose training it goes on with.
    """
    scores, every = point_scores(cell.grid), settings_of(analysis)
    found: list[Curve] = []
    for k, setting in enumerate(dict.fromkeys(key.setting for key in scores)):
        keys = tuple(key for key in scores if key.setting == setting)
        before = analysis.cells.get((follows.get(cell.method, ""), cell.pair))
        found.append(
            Curve(
                method=cell.method,
                setting=setting,
                pair=cell.pair,
                dash=every.index(setting) if len(every) <= 4 else k,
                start=_start(before, keys[0]),
                keys=keys,
                b=tuple(scores[k]["b"] for k in keys),
                c=tuple(scores[k]["c"] for k in keys),
            )
        )
    return found


def mean_curves(curves: Sequence[Curve]) -> list[tuple[Curve, tuple[float, ...], tuple[float, ...]]]:
    """Curves of several pairs averaged: one a method and setting, with the mean b and c of each of its points.

    Pairs that lack a point are left out of its mean. The curve returned has all keys, and the mean start.
    """
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        groups.setdefault((curve.method, curve.setting), []).append(curve)
    found = []
    for members in groups.values():
        keys = tuple(sorted({k for m in members for k in m.keys}))
        b, c = (
            tuple(float(np.mean([_of(m, which)[k].value for m in members if k in m.keys])) for k in keys)
            for which in ("b", "c")
        )
        first = members[0]
        starts = np.array([m.start for m in members], float)
        joined = Curve(
            method=first.method,
            setting=first.setting,
            pair="",
            dash=first.dash,
            start=(first.start[0], float(starts[:, 1].mean()), float(starts[:, 2].mean())),
            keys=keys,
            b=(),
            c=(),
        )
        found.append((joined, b, c))
    return found


def _of(curve: Curve, which: str) -> dict[Key, Score]:
    return dict(zip(curve.keys, curve.b if which == "b" else curve.c, strict=True))


def settings_of(analysis: Analysis) -> list[str]:
    """All settings; the one that most curves have comes first, and so is drawn solid."""
    found = [s for cell in analysis.cells.values() for s in {key.setting for key in cell.grid.points}]
    return sorted(set(found), key=lambda s: (-found.count(s), s))


def picked_keys(cell: MethodPair) -> set[Key]:
    """Where the blind rule's picks stand, one a seed."""
    records: Sequence[PointRecord] = cell.reported if cell.blind else ()
    return {Key(p.setting, p.step) for p in map(pick_of, records)}


def _start(before: MethodPair | None, first: Key) -> tuple[int, float, float]:
    """The last point of the method before, at the same setting (or its only one), that is not later than the first."""
    if before is None:
        return 0, 1.0, 1.0
    keys = before.grid.points
    same = [k for k, key in enumerate(keys) if key.setting == first.setting] or list(range(len(keys)))
    earlier = [k for k in same if keys[k].step <= first.step]
    if not earlier or len({keys[k].setting for k in same}) > 1:
        return first.step, np.nan, np.nan
    last = max(earlier, key=lambda k: keys[k].step)
    return keys[last].step, float(before.grid.b[last]), float(before.grid.c[last])
