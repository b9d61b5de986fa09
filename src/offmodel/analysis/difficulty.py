"""Loss of capability by difficulty: what a treatment cost on easy and on hard items, paired by item.

The published finding is that the loss grows with difficulty, so one number for all items hides it. This module refuses
to know what difficulty means (steps, a benchmark's level). Invariant: both sides of a loss are the same items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from offmodel.analysis.statistics import paired_difference
from offmodel.core.errors import DataError
from offmodel.core.rows import Row
from offmodel.core.scores import Score, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelLoss:
    """Capability on the items of one difficulty.

    Attributes:
        difficulty: the items' difficulty.
        before: accuracy of the untreated model.
        after: accuracy of the treated one.
        loss: before minus after, paired by item.
    """

    difficulty: int
    before: Score
    after: Score
    loss: Score


def loss_by_difficulty(before: Sequence[Row], after: Sequence[Row]) -> tuple[LevelLoss, ...]:
    """The loss at each difficulty, easiest first; items without a difficulty (0) are left out.

    Args:
        before: score rows of one measure, of the untreated model.
        after: rows of the same items, of the treated model.

    Raises:
        DataError: the rows are not of the same items, an item is there twice, or no item has a difficulty.
    """
    first, second = _by_item(before), _by_item(after)
    if first.keys() != second.keys():
        raise DataError(
            f"The two models answered different items ({len(first.keys() ^ second.keys())} are on one side alone); "
            "compare rows of the same measure."
        )
    levels = sorted({int(r["difficulty"]) for r in before} - {0})
    if not levels:
        raise DataError("No item has a difficulty; give the items one, such as the number of reasoning steps.")
    found: list[LevelLoss] = []
    for level in levels:
        items = [i for i, r in first.items() if r["difficulty"] == level]
        old, new = ([float(rows[i]["score"]) for i in items] for rows in (first, second))
        found.append(
            LevelLoss(
                difficulty=level,
                before=proportion(sum(old), len(old)),
                after=proportion(sum(new), len(new)),
                loss=paired_difference(old, new),
            )
        )
    return tuple(found)


def _by_item(rows: Sequence[Row]) -> dict[str, Row]:
    found = {str(r["item"]): r for r in rows}
    if len(found) < len(rows):
        raise DataError("An item stands in the rows twice; give the rows of one measure and one seed.")
    return found
