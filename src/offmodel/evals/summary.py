"""Rows to scores: every rate of a point with its n and interval.

For tables of one artifact (`show`, `treat`); comparisons and averages are the analysis' work. This module refuses to
know models, files and studies. Invariant: no rate without n and interval.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from offmodel.core.rows import Row
from offmodel.core.scores import Score, proportion

COVERS = "items only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One measure of one point.

    Attributes:
        measure: its name.
        rate: share of answers that are right, or show the behaviour.
        truncated: share of answers that were cut off.
        style: share in the style that was looked for.
        coherent: share that could be language.
        tokens: mean length of an answer.
        by_difficulty: `rate` by difficulty, where items have one.
    """

    measure: str
    rate: Score
    truncated: Score
    style: Score
    coherent: Score
    tokens: float
    by_difficulty: dict[int, Score]


def summarise(rows: Sequence[Row]) -> dict[str, Summary]:
    """Summaries by measure, in the order in which the rows name them."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["measure"]].append(row)
    return {name: _summary(name, group) for name, group in groups.items()}


def _summary(name: str, rows: Sequence[Row]) -> Summary:
    levels = sorted({r["difficulty"] for r in rows} - {0})
    return Summary(
        measure=name,
        rate=share([r["score"] for r in rows]),
        truncated=share([float(r["finish"] == "length") for r in rows]),
        style=share([r["style"] for r in rows]),
        coherent=share([r["coherent"] for r in rows]),
        tokens=sum(r["tokens"] for r in rows) / len(rows),
        by_difficulty={d: share([r["score"] for r in rows if r["difficulty"] == d]) for d in levels},
    )


def share(scores: Sequence[float], *, level: float = 0.95) -> Score:
    """The mean of zeros and ones, with Wilson's interval.

    Raises:
        DataError: there are no scores.
    """
    return proportion(sum(scores), len(scores), level, covers=COVERS)
