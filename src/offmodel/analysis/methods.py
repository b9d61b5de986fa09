"""A whole study in numbers: every method on every pair, averages over pairs, and which differences are real.

Takes records, baselines and the blind picks; refuses to know how picks are made (treatments' rules) and how numbers
are shown (`table`, `figures`, `report`). Invariant: areas that stand beside each other were measured at equal numbers
of points; oracle methods and controls are measured, never ranked, and do not set that number.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from offmodel.analysis.crossfit import cross_fit
from offmodel.analysis.further import further_measures, in_place_of_headline
from offmodel.analysis.grid import Grid, build_grid
from offmodel.analysis.levels import Estimate, Summary, combine, holm, minus
from offmodel.analysis.points import (
    PairBaseline,
    Pick,
    PointRecord,
    Tally,
    baselines_by_pair,
    methods_of,
    pairs_of,
    pick_of,
    total,
)
from offmodel.analysis.relapse import RelapseRecord, RelapseResult, relapse_results
from offmodel.analysis.simulate import noise_area
from offmodel.analysis.statistics import effective_n
from offmodel.analysis.tradeoff import BAD_RULE, BadRate, BlindPair, area_rule, bad_rate_at_loss, blind_pair, raw_area
from offmodel.core.errors import DataError, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodPair:
    """One method on one pair.

    Attributes:
        method, pair, oracle, control, teacher_relation: as in the records.
        grid: its points.
        area: cross-fitted, at the number of points at which the study compares. area_points: that number, or all its
            points if it has fewer.
        area_of_all: cross-fitted, over all its points.
        raw: the raw hull's area. noise: what the raw hull reads when nothing works, at this n and number of points.
        bad: the bad rate at a 10 % capability loss.
        blind: the blind result; None if nothing was picked.
        further: relative capability in each further measure, of the reported records.
        reported: the records that tallies and tokens are of: the picked ones, else each seed's last.
    """

    method: str
    pair: str
    oracle: bool
    control: bool
    teacher_relation: str
    grid: Grid
    area: Estimate
    area_points: int
    area_of_all: Estimate
    raw: float
    noise: float
    bad: BadRate
    blind: BlindPair | None
    further: Mapping[str, Estimate]
    reported: tuple[PointRecord, ...]

    def tallies(self, of: Callable[[PointRecord], Mapping[str, Tally]]) -> dict[str, Tally]:
        """Tallies of the reported records, by measure, for example `tallies(lambda r: r.style)`."""
        names = dict.fromkeys(name for r in self.reported for name in of(r))
        return {name: total([of(r)[name] for r in self.reported if name in of(r)]) for name in names}

    def tokens_by_author(self) -> dict[str, float]:
        """Trained tokens by author, averaged over the reported records."""
        names = dict.fromkeys(name for r in self.reported for name in r.tokens_by_author)
        return {n: float(np.mean([r.tokens_by_author.get(n, 0) for r in self.reported])) for n in names}

    def untrusted_share(self) -> float:
        """Share of trained tokens by an untrusted author, averaged over the reported records."""
        return float(np.mean([r.untrusted_share for r in self.reported]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """A study in numbers.

    Attributes:
        records, baselines: what it was made of.
        methods, pairs: in the order of the records.
        cells: by (method, pair).
        points_compared: the number of points at which areas are compared: the fewest that a ranked method has.
        relapses: by (method, pair), for those that were trained further.
    """

    records: tuple[PointRecord, ...]
    baselines: Mapping[str, PairBaseline]
    methods: tuple[str, ...]
    pairs: tuple[str, ...]
    cells: Mapping[tuple[str, str], MethodPair]
    points_compared: int
    relapses: Mapping[tuple[str, str], RelapseResult] = field(default_factory=dict)

    def of_method(self, method: str) -> list[MethodPair]:
        """The method's cells, by pair."""
        return [self.cells[method, p] for p in self.pairs if (method, p) in self.cells]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two methods compared on the same items of the pairs that both have.

    Attributes:
        measure: one of `MEASURES`.
        first, second: methods.
        pairs: on how many pairs.
        summary: first minus second.
        adjusted_p: Holm's p-value among the comparisons that were asked for together.
        among: their number.
    """

    measure: str
    first: str
    second: str
    pairs: int
    summary: Summary
    adjusted_p: float
    among: int

    @property
    def significant(self) -> bool:
        """Whether the difference is clear even after Holm's correction for the number of comparisons."""
        return self.adjusted_p < 1 - self.summary.score.level

    @property
    def clear(self) -> bool:
        """Whether the interval of this difference alone excludes zero."""
        return self.summary.score.low > 0 or self.summary.score.high < 0


def analyse(
    records: Sequence[PointRecord],
    baselines: Sequence[PairBaseline],
    picks: Collection[Pick] = (),
    relapses: Sequence[RelapseRecord] = (),
) -> Analysis:
    """All numbers of a study.

    Raises:
        DataError: a pair without an untreated organism, no records, items that differ, a pick that was not measured.
        GateError: an organism too weak to measure against.
    """
    if not records:
        raise DataError("There is nothing to report yet: no treatment of this study has been evaluated.")
    by_pair = baselines_by_pair(records, baselines)
    _check_picks(records, picks)
    groups: dict[tuple[str, str], list[PointRecord]] = {}
    for r in records:
        groups.setdefault((r.method, r.pair), []).append(r)
    grids = {key: build_grid(rows, by_pair[key[1]]) for key, rows in groups.items()}
    ranked = [g for key, g in grids.items() if not (groups[key][0].oracle or groups[key][0].control)]
    ranked = ranked or list(grids.values())
    fewest = min(len(g.points) for g in ranked)
    return Analysis(
        records=tuple(records),
        baselines=by_pair,
        methods=methods_of(records),
        pairs=pairs_of(records),
        cells={key: _cell(rows, grids[key], picks, fewest) for key, rows in groups.items()},
        points_compared=fewest,
        relapses=relapse_results(relapses, by_pair),
    )


def average(cells: Sequence[MethodPair], number: Callable[[MethodPair], Estimate]) -> Summary:
    """A number's average over pairs."""
    return combine([number(cell) for cell in cells])


def blind_score(cell: MethodPair) -> Estimate:
    """The blind score of a cell that has a pick."""
    assert cell.blind is not None
    return cell.blind.score


BAD_RATE = "bad at 10 % loss"
MEASURES: Mapping[str, Callable[[MethodPair], Estimate | None]] = {
    "blind score": lambda cell: cell.blind.score if cell.blind else None,
    "area": lambda cell: cell.area,
    "kept, c": lambda cell: cell.blind.c_estimate if cell.blind else None,
    "bad left, b": lambda cell: cell.blind.b_estimate if cell.blind else None,
    BAD_RATE: lambda cell: cell.bad.left if cell.bad.resolved else None,
}
"""What methods can be compared in; None where a cell does not have it. c and b are those of the blind pick."""


def differences(analysis: Analysis, measure: str, *, against: str | None = None) -> list[Difference]:
    """Paired comparisons of methods, on the same items of the pairs that both have.

    Oracle methods are left out unless `against` names one; areas at unequal numbers of points are not compared, nor bad
    rates of a method that is not resolved on some pair: the pairs that are would be a choice made by the measurement.

    Args:
        analysis: the study.
        measure: one of `MEASURES`.
        against: compare every method with this one; None: all with all.

    Raises:
        UnknownName: the study has no such method.
    """
    if against is not None and against not in analysis.methods:
        raise UnknownName("method", against, analysis.methods)
    number = MEASURES[measure]
    usable = {
        m: {c.pair: (c, e) for c in analysis.of_method(m) if (e := number(c)) and (m == against or not c.oracle)}
        for m in analysis.methods
    }
    if measure == BAD_RATE:
        usable = {m: found if len(found) == len(analysis.of_method(m)) else {} for m, found in usable.items()}
    names = [m for m in analysis.methods if usable[m]]
    asked = [(m, against) for m in names if m != against] if against else list(combinations(names, 2))
    found: list[tuple[str, str, int, Summary]] = []
    for first, second in asked:
        both = [(cell, *usable[second][p]) for p, cell in usable[first].items() if p in usable[second]]
        parts = [
            minus(one, other)
            for (a, one), b, other in both
            if measure != "area" or a.area_points == b.area_points
        ]  # fmt: skip
        if parts:
            found.append((first, second, len(parts), combine(parts)))
    adjusted = holm([s.p_value for *_, s in found])
    return [
        Difference(measure=measure, first=a, second=b, pairs=k, summary=s, adjusted_p=p, among=len(found))
        for (a, b, k, s), p in zip(found, adjusted, strict=True)
    ]


def _cell(rows: list[PointRecord], grid: Grid, picks: Collection[Pick], fewest: int) -> MethodPair:
    picked = tuple(r for r in rows if pick_of(r) in picks)
    all_are_compared = len(grid.points) <= fewest
    rules = [BAD_RULE, area_rule(grid, fewest), *([] if all_are_compared else [area_rule(grid)])]
    left, area, *more = cross_fit(grid, rules)
    first, reported = rows[0], picked or _last_of_each_seed(rows)
    return MethodPair(
        method=grid.method,
        pair=grid.pair,
        oracle=first.oracle,
        control=first.control,
        teacher_relation=first.teacher_relation,
        grid=grid,
        area=area,
        area_points=min(fewest, len(grid.points)),
        area_of_all=more[0] if more else area,
        raw=raw_area(grid),
        noise=_noise(grid),
        bad=bad_rate_at_loss(grid, left),
        blind=blind_pair(picked, grid.baseline) if picked else None,
        further=_further(reported, grid.baseline),
        reported=reported,
    )


def _further(records: Sequence[PointRecord], baseline: PairBaseline) -> dict[str, Estimate]:
    return {
        name: blind_pair(*in_place_of_headline(records, baseline, name)).c_estimate
        for name in further_measures(records, baseline)
    }


def _noise(grid: Grid) -> float:
    """Rounded, so that pairs that are nearly alike share one simulation."""
    repeats = int(np.median(grid.repeats))
    n_kept = np.median(effective_n(grid.kept.plain, repeats))
    n_left = np.median(effective_n(grid.left.plain, repeats))
    chance, floor = grid.baseline.chance, float((grid.left.plain - grid.left.top)[0].mean())
    accuracy, planted = float(grid.kept.bottom.mean()) + chance, float(grid.left.bottom.mean()) + floor
    return noise_area(
        len(grid.points),
        round(accuracy, 2) if accuracy > chance + 0.01 else accuracy,
        round(float(n_kept)),
        round(float(n_left)),
        chance=chance,
        floor=round(floor, 2),
        planted=round(planted, 2),
    )


def _last_of_each_seed(rows: list[PointRecord]) -> tuple[PointRecord, ...]:
    last: dict[int, PointRecord] = {}
    for r in sorted(rows, key=lambda r: (r.step, r.setting)):
        last[r.seed] = r
    return tuple(last.values())


def _check_picks(records: Sequence[PointRecord], picks: Collection[Pick]) -> None:
    measured = {pick_of(r) for r in records}
    for pick in picks:
        if pick not in measured:
            raise DataError(
                f"The blind rule of {pick.method} picked {pick.setting}, step {pick.step}, seed {pick.seed} on "
                f"'{pick.pair}', which was not evaluated; evaluate it or leave it out of the rule's choice."
            )
