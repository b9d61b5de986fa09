"""Rows to scores: every rate of a point with its n and interval.

For tables of one artifact (`show`, `treat`); comparisons and averages are the analysis' work. This module refuses to
know models, files and studies. Invariant: no rate without n and interval.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from offmodel.core.errors import DataError
from offmodel.core.rows import Row
from offmodel.core.scores import Score

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
    """The mean of zeros and ones, with Wilson's interval (it keeps a width at 0 of n and at n of n).

    Raises:
        DataError: there are no scores.
    """
    n = len(scores)
    if n == 0:
        raise DataError("A share of zero answers cannot be given; evaluate at least one item.")
    p, z = sum(scores) / n, NormalDist().inv_cdf(0.5 + level / 2)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (0.0 if p == 0 else middle - half), (1.0 if p == 1 else middle + half)
    return Score(value=p, n=n, low=low, high=high, covers=COVERS, level=level)
