"""The committed coverage study: its script runs, and its table is what the docs print."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "studies" / "coverage"


def script():
    spec = importlib.util.spec_from_file_location("coverage_script", ROOT / "scripts" / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_few_studies_a_design_are_simulated_alike_every_time(tmp_path: Path):
    coverage = script()
    name = "1 pair, 1 seed, nothing works, 4 points"
    one, other = (coverage.simulate(name, coverage.CASES[name], 5) for _ in range(2))
    assert one == other
    assert [r["measure"] for r in one] == list(coverage.MEASURES)
    coverage.write(tmp_path, one, {name: coverage.CASES[name]})
    assert len((tmp_path / "coverage.csv").read_text().splitlines()) == 6
    assert json.loads((tmp_path / "coverage.json").read_text())["designs"][name]["design"]["n_capability"] == 256


def test_the_docs_print_the_coverage_found():
    with (RESULTS / "coverage.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    coverage = script()
    assert {r["design"] for r in rows} == set(coverage.CASES)
    assert all(int(r["studies"]) >= (500 if "resists" in r["design"] else 1000) for r in rows)
    for row in rows:
        line = next(x for x in text.splitlines() if x.startswith(f"| {row['design']} |"))
        assert f"{float(row['coverage']):.1f}" in line.split("|")[2 + coverage.MEASURES.index(row["measure"])]


@pytest.mark.parametrize("measure", ["area", "blind score", "difference of areas", "difference of blind scores"])
def test_intervals_of_the_designs_that_we_run_cover_93_to_97(measure: str):
    with (RESULTS / "coverage.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if r["measure"] == measure and not set(SPECIAL) & set(r["design"].split(", "))
        ]
    for row in rows:
        if (row["design"], measure) not in OUTSIDE:
            assert 93 <= float(row["coverage"]) <= 97, row


SPECIAL = ("nothing works", "one pair in five resists")
"""Worlds that are made to break the intervals."""
OUTSIDE: set[tuple[str, str]] = set()
"""Designs and measures whose coverage the docs print as outside."""
