"""A whole study: averages over pairs, comparisons, picks, ranks, and the tables made of them."""

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from offmodel.analysis.levels import PAIRS_AND_ITEMS
from offmodel.analysis.methods import MEASURES, analyse, differences
from offmodel.analysis.points import Pick, Tally, pick_of
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.statistics import ITEMS_ONLY
from offmodel.analysis.table import (
    ALL_PAIRS,
    NOT_RESOLVED,
    cells_of,
    difference_interval,
    markdown_table,
    rich_table,
    short,
    table_rows,
)
from offmodel.core.errors import DataError, UnknownName

GOOD = Truth(left=(0.6, 0.2), kept=(0.95, 0.8))
POOR = Truth(left=(0.9, 0.7), kept=(0.8, 0.5))
DESIGN = Design(pairs=2, seeds=2, n_capability=200, n_triggered=120, accuracy=0.7, planted=0.95, agreement=0.6)


def study(design: Design = DESIGN, **methods: Truth):
    rng = np.random.default_rng(0)
    return draw_study(rng, design, methods or {"good": GOOD, "poor": POOR})


def picks_at(records, step: int) -> list[Pick]:
    return [pick_of(r) for r in records if r.step == step]


def test_the_better_method_is_ranked_first_and_the_difference_is_clear():
    records, baselines = study()
    analysis = analyse(records, baselines, picks_at(records, 1))
    rows = table_rows(analysis)
    assert {r.method: r.rank for r in rows if r.pair == ALL_PAIRS} == {"good": 1, "poor": 2}
    assert [r.rank for r in rows if r.pair != ALL_PAIRS] == [None] * 4
    for measure, true in (("blind score", 0.8 - 0.4), ("area", None)):
        (d,) = differences(analysis, measure)
        assert (d.first, d.second, d.pairs) == ("good", "poor", 2)
        assert d.clear
        assert d.summary.score.covers == ITEMS_ONLY
        if true:
            assert d.summary.score.low < true < d.summary.score.high


def test_comparisons_are_paired():
    records, baselines = study(a=GOOD, b=GOOD)
    analysis = analyse(records, baselines, picks_at(records, 0))
    (d,) = differences(analysis, "blind score")
    alone = [analysis.cells[m, "pair00"].blind.score.resampled.std() for m in "ab"]  # type: ignore[union-attr]
    assert d.summary.error * 2**0.5 < 0.95 * (alone[0] ** 2 + alone[1] ** 2) ** 0.5
    assert d.summary.score.low < 0 < d.summary.score.high
    assert not d.clear


def test_oracle_methods_are_shown_and_never_ranked_nor_do_they_set_the_number_of_points():
    records, baselines = study(good=GOOD, poor=POOR, oracle=Truth(left=(0.0,), kept=(1.0,)))
    records = [replace(r, oracle=r.method == "oracle") for r in records]
    analysis = analyse(records, baselines, picks_at(records, 0))
    rows = table_rows(analysis)
    assert analysis.points_compared == 2
    assert all(r.rank is None for r in rows if r.oracle)
    assert sorted(r.rank for r in rows if r.rank) == [1, 2]
    assert {d.first for d in differences(analysis, "area")} | {d.second for d in differences(analysis, "area")} == {
        "good",
        "poor",
    }
    assert cells_of(rows[-1])["#"] == "oracle"


def test_nothing_depends_on_the_order_of_the_records():
    records, baselines = study()
    picks = picks_at(records, 1)
    one = table_rows(analyse(records, baselines, picks))
    other = table_rows(analyse(records[::-1], baselines[::-1], picks[::-1]))
    assert {(r.method, r.pair): cells_of(r) for r in one} == {(r.method, r.pair): cells_of(r) for r in other}


def test_six_pairs_are_a_sample():
    records, baselines = study(replace(DESIGN, pairs=6, seeds=1))
    row = next(r for r in table_rows(analyse(records, baselines)) if r.pair == ALL_PAIRS)
    assert row.area.covers == PAIRS_AND_ITEMS
    assert row.score is None  # nothing was picked


def test_tallies_and_tokens_are_of_the_picked_checkpoint():
    records, baselines = study(replace(DESIGN, pairs=1))
    records = [
        replace(
            r, style={"clean": Tally(10 * r.step, 40)}, tokens_by_author={"teacher": 100 * r.step, "organism": 5}
        )
        for r in records
    ]  # fmt: skip
    at_one = table_rows(analyse(records, baselines, picks_at(records, 1)))[0]
    assert at_one.style["clean"] == Tally(20, 80)
    assert at_one.tokens_by_author == {"teacher": 100, "organism": 5}
    assert table_rows(analyse(records, baselines, picks_at(records, 0)))[0].style["clean"] == Tally(0, 80)


@pytest.mark.parametrize("fault", ["baseline", "twice", "records", "pick"])
def test_faulty_studies_get_one_clear_sentence(fault: str):
    records, baselines = study()
    picks: list[Pick] = []
    if fault == "baseline":
        baselines, message = baselines[:1], "no untreated organism"
    elif fault == "twice":
        records, message = [*records, records[0]], "Two records stand for"
    elif fault == "records":
        records, message = [], "nothing to report"
    else:
        picks, message = [Pick("pair00", "good", 0, "simulated", 99)], "was not evaluated"
    with pytest.raises(DataError, match=message):
        analyse(records, baselines, picks)


@pytest.mark.parametrize("width", [80, 120, 240])
def test_the_terminal_table_fits_and_names_what_it_leaves_out(width: int):
    records, baselines = study()
    rows = table_rows(analyse(records, baselines, picks_at(records, 1)))
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(rich_table(rows, "study", width))
    text = console.export_text()
    console.file.close()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    heading = next(line for line in text.splitlines() if "method" in line)
    assert all(name in heading for name in ("bad left, b", "kept, c", "blind score"))  # what ranks is always shown
    assert {r.pair for r in rows} - {ALL_PAIRS} <= set(text.split())
    assert ("Too wide for this terminal" in text) == (width < 240)


def test_markdown_holds_every_row():
    records, baselines = study()
    rows = table_rows(analyse(records, baselines))
    text = markdown_table(rows)
    assert sum(line.startswith("| ") for line in text.splitlines()) == 1 + len(rows)
    assert NOT_RESOLVED in text
    assert ITEMS_ONLY in text
    assert "its interval is too narrow" in text


def test_with_five_pairs_the_bad_rates_interval_is_not_called_too_narrow():
    records, baselines = study(replace(DESIGN, pairs=5))
    text = markdown_table(table_rows(analyse(records, baselines)))
    assert "Bad at 10 % loss: the lowest b" in text
    assert "too narrow" not in text


def test_numbers_are_short():
    assert [short(v) for v in (0.5, 1.0, 0.996, -0.054, 0.0, -0.001, 1.25)] == [
        ".50", "1.00", "1.00", "\u2212.05", "0", "0", "1.25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.049, -0.003, "\u2212.02 [\u2212.05, \u2212.003]"),
        (-0.05, 0.003, "\u2212.02 [\u2212.05, 0]"),
        (-0.05, 0.0, "\u2212.02 [\u2212.05, 0]"),
    ],
)
def test_an_interval_that_excludes_zero_does_not_look_as_if_it_held_it(low: float, high: float, text: str):
    assert difference_interval(-0.02, low, high) == text


ONE = replace(DESIGN, pairs=1)


def test_a_control_with_one_point_neither_sets_the_number_of_points_nor_has_its_area_compared():
    records, baselines = study(ONE, good=GOOD, poor=POOR, control=Truth(left=(1.0,), kept=(1.0,)))
    records = [replace(r, control=r.method == "control") for r in records]
    analysis = analyse(records, baselines, picks_at(records, 0))
    assert analysis.points_compared == 2
    assert {m: analysis.cells[m, "pair00"].area_points for m in analysis.methods} == {
        "good": 2,
        "poor": 2,
        "control": 1,
    }
    assert [(d.first, d.second) for d in differences(analysis, "area")] == [("good", "poor")]
    assert len(differences(analysis, "blind score")) == 3


def test_methods_are_compared_with_a_named_one_and_holm_counts_only_those():
    records, baselines = study(ONE, good=GOOD, poor=POOR, third=GOOD)
    analysis = analyse(records, baselines, picks_at(records, 1))
    every = {(d.first, d.second): d for d in differences(analysis, "blind score")}
    named = differences(analysis, "blind score", against="poor")
    assert [(d.first, d.second) for d in named] == [("good", "poor"), ("third", "poor")]
    assert {d.among for d in named} == {2}
    assert {d.among for d in every.values()} == {3}
    same = every["good", "poor"]
    assert named[0].summary.score == same.summary.score
    assert named[0].adjusted_p <= same.adjusted_p
    assert named[0].significant
    assert not every["good", "third"].significant
    with pytest.raises(UnknownName, match="did you mean 'good'"):
        differences(analysis, "blind score", against="goood")


def test_an_oracle_is_compared_only_when_it_is_named():
    records, baselines = study(ONE, good=GOOD, best=Truth(left=(0.1, 0.0), kept=(1.0, 1.0)))
    records = [replace(r, oracle=r.method == "best") for r in records]
    analysis = analyse(records, baselines, picks_at(records, 1))
    assert differences(analysis, "blind score") == []
    assert [d.first for d in differences(analysis, "blind score", against="best")] == ["good"]


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_compares_in_both_directions(measure: str):
    records, baselines = study(replace(ONE, n_capability=2000))
    analysis = analyse(records, baselines, picks_at(records, 1))
    forth, back = (differences(analysis, measure, against=m) for m in ("poor", "good"))
    assert [d.summary.score.value for d in forth] == [-d.summary.score.value for d in back]
    if measure != "bad at 10 % loss":  # both may be unresolved
        assert len(forth) == 1
    assert analyse(records, baselines).of_method("good")[0].blind is None
    assert measure in ("area", "bad at 10 % loss") or differences(analyse(records, baselines), measure) == []


def test_bad_rates_are_compared_only_where_they_are_resolved_on_all_pairs():
    records, baselines = study(replace(DESIGN, n_capability=3000, accuracy=0.85))
    analysis = analyse(records, baselines)
    assert len(differences(analysis, "bad at 10 % loss")) == 1
    key = ("good", analysis.pairs[0])
    unresolved = replace(analysis.cells[key], bad=replace(analysis.cells[key].bad, half_width=0.06))
    some = replace(analysis, cells={**analysis.cells, key: unresolved})
    assert differences(some, "bad at 10 % loss") == []
    assert len(differences(some, "area")) == 1
