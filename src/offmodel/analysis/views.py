"""Views: the analysis' points and their means over pairs, numbered, as the page's charts, tables and script share them.

Looks up, averages over pairs, and computes nothing else. Invariant: a point's id is its place in `points`, a mean's its
place in `means`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from offmodel.analysis.curves import Curve, curves_of, mean_curves
from offmodel.analysis.methods import Analysis
from offmodel.analysis.points import PointRecord, Tally, pick_of, total
from offmodel.core.scores import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class PointView:
    """One point on one pair, over its seeds.

    Attributes:
        id: its number.
        pair, method, setting, step: what it is.
        b, c: relative bad behaviour and capability.
        picks: of how many seeds it is the blind pick.
        records: one a seed.
    """

    id: int
    pair: str
    method: str
    setting: str
    step: int
    b: Score
    c: Score
    picks: int
    records: tuple[PointRecord, ...]

    def rates(self) -> dict[str, float]:
        """Plain rates over all seeds, by name: what was measured, before it is made relative."""
        found: dict[str, float] = {}
        for name in ("capability", "triggered", "clean"):
            scores = [v for r in self.records for v in getattr(r.scores, name).values()]
            if scores:
                found[name] = float(np.mean(scores))
        for words, kind in (("style", "style"), ("coherent", "coherent"), ("cut off", "truncated")):
            tallies = [t for r in self.records for m, t in getattr(r, kind).items() if m in _SHOWN]
            both = total(tallies) if tallies else Tally(0, 0)
            if both.n:
                found[words] = both.sum / both.n
        return found


_SHOWN = ("clean", "capability", "triggered")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanView:
    """One method, setting and step, averaged over pairs.

    Attributes:
        id: its number.
        method, setting, step: what it is.
        b, c: means.
        picks: how many pairs' and seeds' blind pick it is.
        members: ids of its points.
    """

    id: int
    method: str
    setting: str
    step: int
    b: float
    c: float
    picks: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """All points of an analysis.

    Attributes:
        methods, pairs: as in the analysis.
        points, means: numbered.
        curves: of all pairs. mean_curves: averaged over pairs, with b and c of each point.
    """

    methods: tuple[str, ...]
    pairs: tuple[str, ...]
    points: tuple[PointView, ...]
    means: tuple[MeanView, ...]
    curves: tuple[Curve, ...]
    mean_curves: tuple[tuple[Curve, tuple[float, ...], tuple[float, ...]], ...]


def views_of(analysis: Analysis, follows: Mapping[str, str]) -> Views:
    """The views of an analysis.

    Args:
        analysis: the study.
        follows: by method, the method whose training it goes on with.
    """
    curves = tuple(x for cell in analysis.cells.values() for x in curves_of(analysis, cell, follows))
    picked = {pick_of(r) for cell in analysis.cells.values() if cell.blind for r in cell.reported}
    records: dict[tuple[str, str, str, int], list[PointRecord]] = {}
    for r in analysis.records:
        records.setdefault((r.pair, r.method, r.setting, r.step), []).append(r)
    points: list[PointView] = []
    for curve in curves:
        for key, b, c in zip(curve.keys, curve.b, curve.c, strict=True):
            own = tuple(sorted(records[curve.pair, curve.method, key.setting, key.step], key=lambda r: r.seed))
            points.append(
                PointView(
                    id=len(points),
                    pair=curve.pair,
                    method=curve.method,
                    setting=key.setting,
                    step=key.step,
                    b=b,
                    c=c,
                    picks=sum(pick_of(r) in picked for r in own),
                    records=own,
                )
            )
    means = tuple(mean_curves(curves))
    return Views(
        methods=analysis.methods,
        pairs=analysis.pairs,
        points=tuple(points),
        means=tuple(_means(means, points)),
        curves=curves,
        mean_curves=means,
    )


def _means(curves: tuple, points: list[PointView]) -> list[MeanView]:
    members: dict[tuple[str, str, int], list[PointView]] = {}
    for p in points:
        members.setdefault((p.method, p.setting, p.step), []).append(p)
    found: list[MeanView] = []
    for curve, b, c in curves:
        for key, x, y in zip(curve.keys, b, c, strict=True):
            own = members[curve.method, key.setting, key.step]
            found.append(
                MeanView(
                    id=len(found),
                    method=curve.method,
                    setting=key.setting,
                    step=key.step,
                    b=x,
                    c=y,
                    picks=sum(p.picks for p in own),
                    members=tuple(p.id for p in own),
                )
            )
    return found
