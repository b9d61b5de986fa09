"""Study files under docs/ build: on pocket models, and without a model being loaded."""

import runpy
from collections import Counter
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.rows import Row
from offmodel.data import Sources
from offmodel.flow.graph import closure
from offmodel.organisms.pairs import FIFTEEN
from offmodel.store.recipe import Recipe
from offmodel.studies.catalogue import load_study
from offmodel.studies.gates import way_of
from offmodel.studies.pocket_methods import CONTROLS, METHODS, ORACLES
from offmodel.studies.study import Study
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
    for way in ("full_weight", "lora_merged", "prompted", "prompted_examples"):
        monkeypatch.setenv("OFFMODEL_WAY", way)
        compared = load_study(str(STUDIES / "ways" / "study.py"))
        assert {c.method for c in compared.cells} == {"pirate_sft"}
        assert {way_of(s.gate.organism) == "prompted" for s in compared.sides} == {way.startswith("prompted")}
    pocket = load_study(str(STUDIES / "organisms" / "pocket" / "study.py"))
    assert len({s.gate.organism.digest for s in pocket.sides}) == 15 + 6


def test_the_slice_of_the_fifteen_pairs_is_a_part_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFMODEL_DRY", "1")
    monkeypatch.setenv("OFFMODEL_SLICE", "")
    script = runpy.run_path(str(STUDIES / "fifteen-pairs" / "cost.py"))
    part, whole = script["form"](part=True), script["form"](part=False)
    for study, grid in ((part, (2, 6, 2, 2)), (whole, (15, 10, 3, 2))):
        points = Counter((c.pair, c.method, c.trained[0][0].sft.learning_rate, c.seed) for c in study.cells)
        assert tuple(map(len, map(set, zip(*points, strict=True)))) == grid
        assert len(points) == prod(grid)
        assert set(points.values()) == {5}
    assert {t.digest for t in part.targets} < {t.digest for t in whole.targets}
    _costs_scale_with_their_units(script, part, whole)


def _costs_scale_with_their_units(script: dict[str, Any], part: Study, whole: Study) -> None:
    """A second each, but groups tell theirs with their first member: 360 s for the 4,500 points, if 240 took 19.2 s."""
    recipes = list(closure(part.targets).values())
    points = [c.arm.completions for c in part.cells]
    group = [p.digest for p in points]
    found = [(r, _record(r, 1.0, 3, {})) for r in recipes if r.digest not in group]
    found += [(p, _record(p, 19.2 if p is points[0] else 0.0, 3, {"group": group})) for p in points]
    shares = script["shared_seconds"](found)
    assert shares[points[-1].digest] == pytest.approx(19.2 / 240)
    lines = {line.work: line for line in script["lines_of"](part, whole, found)}
    assert lines["sampling, a point"].hours == pytest.approx(4500 * 0.08 / 3600)
    assert lines["training, 100 steps alone"].found == lines["training, 100 steps alone"].planned
    assert lines["base models, one"].whole == lines["base models, one"].planned
    planting = next(line for work, line in lines.items() if work.startswith("planting"))
    assert (planting.found, planting.whole) == (2, 15)
    assert sum(line.seconds for line in lines.values()) == pytest.approx(len(recipes) - 240 + 19.2)


def _record(recipe: Recipe, seconds: float, tokens: int, machine: dict[str, Any]) -> dict[str, Any]:
    return {"digest": recipe.digest, "seconds": seconds, "facts": {"tokens": tokens}, "machine": machine}


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
