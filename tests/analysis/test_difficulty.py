"""Loss by difficulty: paired by item, level by level."""

import pytest

from offmodel.analysis.difficulty import loss_by_difficulty
from offmodel.analysis.statistics import paired_difference
from offmodel.core.errors import DataError

SCORES = {1: ([1, 1, 1, 1], [1, 1, 1, 0]), 3: ([1, 1, 0, 1], [0, 0, 0, 0]), 0: ([1], [0])}


def rows(side: int, scores=SCORES) -> list[dict[str, object]]:
    return [
        {"item": f"{level}-{k}", "score": float(s), "difficulty": level}
        for level, both in scores.items()
        for k, s in enumerate(both[side])
    ]


def test_each_level_is_paired_on_its_own_items():
    easy, hard = loss_by_difficulty(rows(0), list(reversed(rows(1))))
    assert (easy.difficulty, hard.difficulty) == (1, 3)
    assert (easy.before.value, easy.after.value, easy.loss.value) == (1.0, 0.75, 0.25)
    assert hard.loss.value == 0.75
    assert hard.loss == paired_difference(*SCORES[3])
    assert hard.loss.n == 4


def test_rows_that_cannot_be_compared():
    with pytest.raises(DataError, match="1 are on one side alone"):
        loss_by_difficulty(rows(0), rows(1)[1:])
    with pytest.raises(DataError, match="twice"):
        loss_by_difficulty(rows(0) * 2, rows(1))
    with pytest.raises(DataError, match="No item has a difficulty"):
        loss_by_difficulty(rows(0, {0: ([1], [1])}), rows(1, {0: ([1], [1])}))
