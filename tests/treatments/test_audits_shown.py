"""The report says of each checkpoint which labels were audited, those of models trained on the way included."""

import re
from typing import Any

import pytest

from offmodel.studies.readings import audit_words


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("off_model_sft", 1),
        ("off_model_sft+reminder", 2),
        ("restyled_teacher", 2),
        ("plant_and_remove", 3),
        ("on_policy_distillation", 1),
    ],
)
def test_every_audited_set_of_labels_is_named_with_its_count(tiny: Any, name: str, sets: int) -> None:
    words = audit_words(tiny.cells[name][-1], tiny.store)
    found = re.findall(r"[\w.-]+: (\d+) labels, (\d+) show the behaviour", words)
    assert words.startswith("passed; ")
    assert len(found) == sets
    assert all(0 < int(n) <= 10 for n, _ in found)


def test_where_nothing_is_trained_there_is_nothing_to_audit(tiny: Any) -> None:
    assert audit_words(tiny.cells["merge"][0], tiny.store) == "no labels to audit"
