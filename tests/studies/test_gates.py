"""The gate's table: failures and doubts stand in it, and nothing is a rate without its n."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offmodel.core.errors import DataError
from offmodel.core.scores import proportion
from offmodel.evals.measures import Measure
from offmodel.studies import gates
from offmodel.studies.gates import GateRow, doubts, gates_markdown, write_gates

ROW = GateRow(
    pair="insult_tag",
    way="full weight",
    scorer="insult",
    failures=(),
    marked=False,
    rates={
        ("student", "triggered"): proportion(0, 40),
        ("organism", "triggered"): proportion(39, 40),
        ("student", "capability"): proportion(20, 40),
        ("organism", "capability"): proportion(15, 40),
    },
    share_shown=0.8,
    labels=120,
    seconds=(12.0, 30.0),
    chance=0.0,
)


def side(scorer: str) -> Any:
    measures = (
        Measure(name="clean", grader=scorer, max_new_tokens=8),
        Measure(name="triggered", grader=scorer, max_new_tokens=8),
    )
    return SimpleNamespace(pair="insult_tag", organism=SimpleNamespace(completions=SimpleNamespace(measures=measures)))


def test_a_failed_organism_is_in_the_table_as_failed(tmp_path: Path) -> None:
    failed = replace(ROW, failures=("triggered rate 0.10 is under 0.95",), marked=True)
    table, page = write_gates([ROW, failed], tmp_path)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [r["passed"] for r in rows] == ["1", "0"]
    assert rows[1]["fails_at"] == failed.failures[0]
    assert (rows[0]["organism_triggered"], rows[0]["organism_triggered_n"]) == ("0.9750", "40")
    assert rows[0]["relative_capability"] == "0.7500"
    assert "0.75 *" in page.read_text()
    assert replace(ROW, chance=0.25).relative_capability == pytest.approx(0.5)
    with pytest.raises(DataError, match="offmodel run"):
        write_gates([], tmp_path)


def test_a_doubtful_scorer_is_marked_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "†" not in gates_markdown([ROW])
    monkeypatch.setattr(gates, "MARKED", frozenset({("insult", "pirate_treated"), ("insult", "organism")}))
    assert "| insult_tag † |" in gates_markdown([ROW])
    first, second = doubts(side("insult"))
    assert "organism answers" in first
    assert "pirate-treated answers" in second
    assert doubts(side("cats")) == []
