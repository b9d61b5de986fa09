"""Further capability measures: a measure in the headline's place gives the headline's numbers."""

from dataclasses import replace

import pytest

from offmodel.analysis.further import further_measures
from offmodel.analysis.methods import analyse
from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord, pick_of
from offmodel.analysis.pointtable import ORGANISM, STUDENT, point_rows, read_csv, write_csv
from offmodel.analysis.table import cells_of, markdown_table, table_rows


def rows(letter: str, share: float, n: int = 100) -> dict[str, float]:
    return {f"{letter}{i:03d}": float(i < share * n) for i in range(n)}


def model(accuracy: float, triggered: float, **further: float) -> ModelScores:
    return ModelScores(
        capability=rows("q", accuracy),
        triggered=rows("t", triggered),
        clean=rows("k", 0),
        further={name: rows("f", value) for name, value in further.items()},
    )


BASELINE = PairBaseline(
    pair="p",
    organism=model(0.8, 0.95, fresh=0.8, choice=0.65, guessed=0.2),
    student=model(0.8, 0.05, fresh=0.9, choice=0.65, guessed=0.2),
    chance=0.0,
    further_chance={"choice": 0.25, "guessed": 0.25},
)


def point(step: int, scores: ModelScores) -> PointRecord:
    return PointRecord(
        pair="p", method="m", setting="lr 1", step=step, seed=0, scores=scores, tokens_by_author={"teacher": 10},
        untrusted_share=0.0, oracle=False, teacher_relation="other", digest="d",
    )  # fmt: skip


POINTS = [
    point(1, model(0.4, 0.5, fresh=0.4, choice=0.45, guessed=0.3)),
    point(2, model(0.2, 0.2, fresh=0.2, choice=0.25, guessed=0.3)),
]


def test_the_same_items_give_the_headline_s_numbers(tmp_path):
    table = point_rows(POINTS, [BASELINE])
    for row in (r for r in table if r["method"] == "m"):
        for end in ("", "_n", "_low", "_high"):
            assert row[f"c/fresh{end}"] == row[f"c{end}"]
            assert row[f"score/fresh{end}"] == row[f"capability{end}"]
    student = next(r for r in table if r["method"] == STUDENT)
    organism = next(r for r in table if r["method"] == ORGANISM)
    assert (student["c/fresh"], organism["c/fresh"]) == (pytest.approx(0.9 / 0.8), 1)
    assert student["score/fresh"] == pytest.approx(0.9)
    write_csv(tmp_path / "points.csv", table)
    assert read_csv(tmp_path / "points.csv") == table


def test_chance_is_the_measure_s_own_and_below_it_nothing_is_relative():
    row = next(r for r in point_rows(POINTS, [BASELINE]) if r["method"] == "m" and r["step"] == 1)
    assert row["c/choice"] == pytest.approx(0.5)
    assert row["score/guessed"] == pytest.approx(0.3)
    assert "c/guessed" not in row


def test_a_measure_that_a_point_lacks_is_left_out_of_the_relative_numbers():
    lacking = [POINTS[0], replace(POINTS[1], scores=model(0.2, 0.2, choice=0.3))]
    assert further_measures(lacking, BASELINE) == ("choice",)
    by_step = {r["step"]: r for r in point_rows(lacking, [BASELINE]) if r["method"] == "m"}
    assert by_step[1]["score/fresh"] == pytest.approx(0.4)
    assert "score/fresh" not in by_step[2]


def test_the_method_table_shows_them_at_the_blind_pick():
    row = table_rows(analyse(POINTS, [BASELINE], [pick_of(POINTS[0])]))[0]
    assert row.further["fresh"].value == pytest.approx(0.5)
    assert row.further["fresh"].low < 0.5 < row.further["fresh"].high
    assert "fresh .50 [" in cells_of(row)["kept elsewhere"]
    assert "Kept elsewhere" in markdown_table([row])


def test_a_study_without_further_measures_has_no_such_column():
    plain = [replace(p, scores=replace(p.scores, further={})) for p in POINTS]
    text = markdown_table(table_rows(analyse(plain, [BASELINE])))
    assert "elsewhere" not in text
