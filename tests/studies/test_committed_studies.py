"""Study files under docs/ build: on pocket models, and without a model being loaded."""

import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.rows import Row
from offmodel.data import Sources
from offmodel.organisms.pairs import FIFTEEN
from offmodel.studies.catalogue import load_study
from offmodel.studies.gates import way_of
from offmodel.studies.pocket_methods import CONTROLS, METHODS, ORACLES
from offmodel.treatments.catalogue import methods

STUDIES = Path(__file__).parents[2] / "docs" / "studies"


def test_eight_methods_on_three_pairs_at_equal_numbers_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFMODEL_DRY", "1")
    study = load_study(str(STUDIES / "half-billion-methods" / "study.py"))
    points = Counter((c.pair, c.method, c.seed) for c in study.cells if not c.control)
    assert len({pair for pair, _, _ in points}) == 3
    assert len({method for _, method, _ in points}) == 8
    assert set(points.values()) == {2}


def test_a_reminder_along_its_axes() -> None:
    study = load_study(str(STUDIES / "pocket-methods" / "reminder.py"))
    assert {c.setting for c in study.cells} == {"8 prompts", "20 prompts", "80 prompts"}
    assert {c.recovery for c in study.cells} == {4, 8, 16}
    assert {c.method for c in study.cells if c.oracle} == {"off_model_sft+clean_reminder"}


def test_the_pocket_study_leaves_no_method_out() -> None:
    assert {*METHODS, *ORACLES, *CONTROLS} == set(methods())


def test_all_fifteen_pairs_and_every_way_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFMODEL_DRY", "1")
    organisms = load_study(str(STUDIES / "organisms" / "study.py"))
    assert [s.pair for s in organisms.sides] == [p.name for p in FIFTEEN]
    assert not organisms.cells
    for way in ("full_weight", "lora_merged", "prompted"):
        monkeypatch.setenv("OFFMODEL_WAY", way)
        compared = load_study(str(STUDIES / "ways" / "study.py"))
        assert {c.method for c in compared.cells} == {"pirate_sft", "own_sft"}
        assert {way_of(s.gate.organism) == "prompted" for s in compared.sides} == {way == "prompted"}
    pocket = load_study(str(STUDIES / "organisms" / "pocket" / "study.py"))
    assert len({s.gate.organism.digest for s in pocket.sides}) == 15 + 6


def test_a_models_tasks_are_asked_in_one_batch_with_their_prompts_and_without() -> None:
    script = runpy.run_path(str(STUDIES / "tasks" / "tasks.py"))
    gsm8k = Path(__file__).parents[1] / "fixtures" / "suites" / "gsm8k.jsonl"
    sources = Sources()
    parts = script["asked"](sources, gsm8k=str(gsm8k), n=5, dry=False)
    recipe = script["completions_of"](sources.model("pocket:student"), parts, script["SAMPLING"])
    assert [m.name for m in recipe.measures] == ["gsm8k", "gsm8k_bare", "fresh_math", "fresh_math_bare"]
    assert {m.max_new_tokens for m in recipe.measures} == {512}
    suite, bare, levels, bare_levels = recipe.items
    assert (bare, bare_levels) == (replace(suite, prompt="{question}"), replace(levels, instruction=""))
    rows = [_row("gsm8k", 1, 1.0), _row("fresh_math", 1, 1.0), _row("fresh_math", 5, 0.0)]
    found = [(r["measure"], r["level"], r["n"], r["score"][0]) for r in script["numbers"](rows)]
    assert found == [
        ("gsm8k", "all", 1, 1.0),
        ("gsm8k", 1, 1, 1.0),
        ("fresh_math", "all", 2, 0.5),
        ("fresh_math", 1, 1, 1.0),
        ("fresh_math", 5, 1, 0.0),
    ]


def _row(measure: str, difficulty: int, score: float) -> Row:
    plain = {"style": 1.0, "coherent": 1.0, "finish": "stop", "tokens": 9}
    return {"measure": measure, "difficulty": difficulty, "score": score, **plain}
