"""Verdicts: what the comparisons say, in sentences: who is best, what is clear, what is not.

Puts the analysis into words and adds no number of its own. Invariant: nothing is called clear unless its interval
excludes zero and it survives Holm's correction for all comparisons of its measure; the best of many methods counts as
chosen among them, and pairs are said to differ only if they do so by more than their items' noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from offmodel.analysis.levels import holm
from offmodel.analysis.methods import Analysis, Difference, average, blind_score, differences
from offmodel.analysis.table import ALL_PAIRS, TableRow, difference_interval, short, table_rows, with_interval
from offmodel.core.scores import Score, quantile

Verdict = Literal["clear", "alone", "open"]
WORDS: dict[Verdict, str] = {
    "clear": "clear",
    "alone": "clear alone, not among so many",
    "open": "not clear",
}
_LEVEL = 0.05
NO_TREATMENT = 0.5
"""The blind score of doing nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two methods, the one that reads better first.

    Attributes:
        measure: "blind score" or "area".
        better, worse: methods.
        value, low, high: better minus worse, so that the value is not negative.
        units: the same for each pair alone.
        covers: what the interval holds for.
        pairs: on how many pairs.
        verdict: whether the difference is clear.
    """

    measure: str
    better: str
    worse: str
    value: float
    low: float
    high: float
    units: Sequence[float]
    covers: str
    pairs: int
    verdict: Verdict

    @property
    def text(self) -> str:
        """The difference with its interval."""
        return difference_interval(self.value, self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the report says of methods, found once and shown in several places.

    Attributes:
        rows: the method table's.
        comparisons: by measure, the largest difference first.
        nothing: by ranked method, Holm's p-value of "its blind score is that of no treatment".
    """

    rows: Sequence[TableRow]
    comparisons: Mapping[str, Sequence[Comparison]]
    nothing: Mapping[str, float]


def findings_of(analysis: Analysis) -> Findings:
    """The findings of an analysis."""
    found = {m: comparisons(analysis, m) for m in ("blind score", "area")}
    rows = table_rows(analysis)
    ranked = [r.method for r in rows if r.rank and r.score]
    p_values = [average(analysis.of_method(m), blind_score).p_against(NO_TREATMENT) for m in ranked]
    return Findings(rows=rows, comparisons=found, nothing=dict(zip(ranked, holm(p_values), strict=True)))


def comparisons(analysis: Analysis, measure: str) -> list[Comparison]:
    """All paired comparisons of a measure, the largest difference first."""
    return sorted((_turned(d) for d in differences(analysis, measure)), key=lambda c: -c.value)


def in_short(findings: Findings) -> list[str]:
    """The findings in a few sentences: the best method, how it does by pair, what is clear."""
    rows = findings.rows
    ranked = sorted((r for r in rows if r.rank), key=lambda r: r.rank or 0)
    found: list[str] = []
    if ranked and ranked[0].score and ranked[0].b and ranked[0].c:
        found.append(_best(ranked[0], len(ranked), findings.nothing[ranked[0].method] < _LEVEL))
        found += _by_pair(rows, ranked[0])
    elif ranked:
        found.append(
            f"{ranked[0].method} has the largest area of {len(ranked)} methods: {with_interval(ranked[0].area)}."
        )
    else:
        found.append("The methods are not ranked: none was measured on all pairs, or all are controls.")
    if len(ranked) > 1:
        measure = "blind score" if ranked[0].score else "area"
        found.append(_clear(findings.comparisons[measure], ranked, measure))
    return found


def counted(found: Sequence[Comparison]) -> str:
    """How many of the comparisons are clear."""
    clear = sum(c.verdict == "clear" for c in found)
    alone = sum(c.verdict == "alone" for c in found)
    words = f"{clear} of {len(found)} differences {'is' if clear == 1 else 'are'} clear"
    return words + (f"; {alone} more would be if compared alone" if alone else "") + "."


def _turned(d: Difference) -> Comparison:
    score, units = d.summary.score, list(d.summary.by_pair.values())
    turn = score.value < 0
    sign = -1 if turn else 1
    ends = sorted((sign * score.low, sign * score.high))
    verdict: Verdict = "open" if not d.clear else "clear" if d.adjusted_p < _LEVEL else "alone"
    return Comparison(
        measure=d.measure,
        better=d.second if turn else d.first,
        worse=d.first if turn else d.second,
        value=sign * score.value,
        low=ends[0],
        high=ends[1],
        units=[sign * u for u in units],
        covers=score.covers,
        pairs=d.pairs,
        verdict=verdict,
    )


def _best(row: TableRow, many: int, clear: bool) -> str:
    assert row.score and row.b and row.c
    if not clear:
        gain = "not clearly different from no treatment (.5)"
    else:
        gain = f"clearly {'better' if row.score.value > NO_TREATMENT else 'worse'} than no treatment (.5)"
    first = f"{row.method} ranks first of {many} methods" if many > 1 else f"{row.method} is the only ranked method"
    return (
        f"{first}: blind score {with_interval(row.score)}, {gain}. Its checkpoint leaves {short(row.b.value)} of the "
        f"bad behaviour and keeps {short(row.c.value)} of the capability."
    )


def _by_pair(rows: Sequence[TableRow], best: TableRow) -> list[str]:
    own = [(r.pair, r.b) for r in rows if r.method == best.method and r.pair != ALL_PAIRS and r.b]
    if len(own) < 2:
        return []
    own.sort(key=lambda x: x[1].value)
    (low, least), (high, most) = own[0], own[-1]
    if most.value - least.value < 0.1 or _p_alike([b for _, b in own]) >= _LEVEL:
        return []
    return [
        f"It differs by pair: {short(least.value)} of the behaviour is left on {low}, {short(most.value)} on {high}."
    ]


def _p_alike(scores: Sequence[Score]) -> float:
    """P-value of "all pairs have the same true value", by Cochran's Q; the lowest and highest of many differ anyhow."""
    from scipy.special import chdtrc

    values = np.array([s.value for s in scores])
    weights = np.array([(2 * quantile(s.level) / (s.high - s.low)) ** 2 for s in scores])
    q = float((weights * (values - (weights * values).sum() / weights.sum()) ** 2).sum())
    return float(chdtrc(len(scores) - 1, q))


def _clear(found: Sequence[Comparison], ranked: Sequence[TableRow], measure: str) -> str:
    names = {r.method for r in ranked}
    best = ranked[0].method
    own = [c for c in found if best in (c.better, c.worse) and {c.better, c.worse} <= names]
    beaten = [c.worse for c in own if c.better == best and c.verdict == "clear"]
    even = [c.worse if c.better == best else c.better for c in own if c.verdict != "clear"]
    parts = []
    if beaten:
        parts.append(f"clearly better than {_listed(beaten)}")
    if even:
        parts.append(f"not clearly different from {_listed(even)}")
    return f"By {measure}, paired on the same items, {best} is {' and '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
