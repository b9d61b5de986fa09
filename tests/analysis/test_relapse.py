"""Relapse numbers on made-up rows: the definition, its controls, averages, and what is written."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offmodel.analysis.methods import analyse
from offmodel.analysis.points import PairBaseline, PointRecord, pick_of
from offmodel.analysis.relapse import RelapseRecord, relapse_results
from offmodel.analysis.relapsetable import CSV, relapse_tables, write_relapses
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.table import RELAPSE, markdown_table, table_rows
from offmodel.core.errors import DataError


@pytest.fixture(scope="module")
def study() -> tuple[list[PointRecord], list[PairBaseline]]:
    design = Design(pairs=2, seeds=2, n_capability=40, n_triggered=200, accuracy=0.8, planted=1.0, agreement=0.6)
    return draw_study(np.random.default_rng(1), design, {"sft": Truth(left=(0.3,), kept=(0.9,))})


def relapse(baseline: PairBaseline, who: str, rates: tuple[float, ...], *, method: str = "sft", seed: int = 1):
    items = sorted(baseline.organism.triggered)
    steps = dict(zip((0, 4, 8, 16), rates, strict=False))
    triggered = {s: {i: float(k < round(p * len(items))) for k, i in enumerate(items)} for s, p in steps.items()}
    return RelapseRecord(pair=baseline.pair, method=method, seed=seed, who=who, triggered=triggered)


def test_the_number_is_the_highest_b_minus_b_before_averaged_over_seeds(study) -> None:
    _, baselines = study
    base = baselines[0]
    organism, student = (np.mean(list(s.triggered.values())) for s in (base.organism, base.student))
    records = [relapse(base, "treated", (0.1, 0.2, 0.6, 0.3)), relapse(base, "treated", (0.1, 0.3, 0.2, 0.2), seed=2)]
    found = relapse_results(records, {base.pair: base})["sft", base.pair]
    assert found.treated.value == pytest.approx((0.5 + 0.2) / 2 / (organism - student))
    assert found.treated.by_seed == pytest.approx({1: 0.5 / (organism - student), 2: 0.2 / (organism - student)})
    assert found.student is None
    assert found.untreated is None
    # The interval is around the value: the resamples keep the steps at which the rate was highest.
    assert found.treated.resampled.mean() == pytest.approx(found.treated.value, abs=0.02)
    assert 0.01 < found.treated.resampled.std() < 0.06


def test_a_behaviour_that_keeps_falling_reads_below_zero(study) -> None:
    base = study[1][0]
    found = relapse_results([relapse(base, "treated", (0.9, 0.8, 0.5))], {base.pair: base})
    assert found["sft", base.pair].treated.value < -0.09


def test_table_has_the_column_only_where_it_was_measured(study) -> None:
    records, baselines = study
    picks = [pick_of(r) for r in records]
    without = markdown_table(table_rows(analyse(records, baselines, picks)))
    assert RELAPSE not in without
    assert "Relapse:" not in without
    arms = [
        record
        for base in baselines
        for record in (
            relapse(base, "treated", (0.0, 0.5)),
            relapse(base, "student", (0.0, 0.02)),
            relapse(base, "untreated", (1.0, 0.9), method=""),
        )
    ]
    rows = table_rows(analyse(records, baselines, picks, arms))
    average = rows[-1]
    assert average.relapse is not None
    assert average.relapse_student is not None
    assert average.relapse_untreated is not None
    assert average.relapse.value == pytest.approx(0.5, abs=0.05)
    assert average.relapse.low < average.relapse.value < average.relapse.high
    assert average.relapse_untreated.value == pytest.approx(-0.1, abs=0.02)
    assert "(.02, −.10)" in markdown_table(rows)
    # One pair without a relapse: the average over pairs would compare different sets, so it is left open.
    partly = table_rows(analyse(records, baselines, picks, [a for a in arms if a.pair == baselines[0].pair]))
    assert partly[0].relapse is not None
    assert partly[-1].relapse is None


def test_csv_and_page_hold_every_step(study, tmp_path: Path) -> None:
    records, baselines = study
    by_pair = {b.pair: b for b in baselines}
    arms = [relapse(baselines[0], "treated", (0.0, 0.5)), relapse(baselines[0], "untreated", (1.0, 0.9), method="")]
    assert write_relapses(tmp_path, [], by_pair) is None
    assert relapse_tables([], by_pair) == []
    write_relapses(tmp_path, arms, by_pair)
    with (tmp_path / CSV).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["who"], r["step"], r["triggered"]) for r in rows] == [
        ("treated", "0", "0.0"),
        ("treated", "4", "0.5"),
        ("untreated", "0", "1.0"),
        ("untreated", "4", "0.9"),
    ]
    assert all(r["triggered_n"] == "200" for r in rows)
    [table] = relapse_tables(arms, by_pair)
    assert [*table.rows[0]] == [baselines[0].pair, "sft", "treated", "1", "0", ".50"]
    assert len(records) > 0


def test_other_items_or_no_state_before_are_refused(study) -> None:
    base = study[1][0]
    whole = relapse(base, "treated", (0.0, 0.5))
    with pytest.raises(DataError, match="other triggered prompts"):
        relapse_results([replace(whole, triggered={0: {"x": 1.0}, 4: {"x": 1.0}})], {base.pair: base})
    with pytest.raises(DataError, match="lacks step 0"):
        relapse_results([replace(whole, triggered={4: whole.triggered[4]})], {base.pair: base})


def test_the_highest_of_four_rates_leans_upward_as_the_docs_say(study) -> None:
    """docs/relapse.md: .02 at b = .5 with 96 prompts and answers of two steps correlated by .8; nothing at b = 0."""
    rng, base = np.random.default_rng(0), study[1][0]
    items = [f"t{k:03d}" for k in range(96)]
    organism, student = (replace(base.organism, triggered=dict.fromkeys(items, v)) for v in (1.0, 0.0))
    base = replace(base, organism=organism, student=student)
    found = []
    for _ in range(150):
        own = rng.random(96) < 0.5
        steps = {s: np.where(rng.random(96) < 0.8**0.5, own, rng.random(96) < 0.5) for s in (0, 4, 8, 16, 32)}
        record = RelapseRecord(
            pair=base.pair,
            method="sft",
            seed=1,
            who="treated",
            triggered={s: dict(zip(items, v.astype(float).tolist(), strict=True)) for s, v in steps.items()},
        )
        found.append(relapse_results([record], {base.pair: base})["sft", base.pair].treated.value)
    assert np.mean(found) == pytest.approx(0.023, abs=0.008)
