"""Study files under docs/ build: on pocket models, and without a model being loaded."""

from collections import Counter
from pathlib import Path

import pytest

from offmodel.studies.catalogue import load_study
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
