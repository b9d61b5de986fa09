"""What a method costs is counted from records: labels drawn, tokens sampled in training, models trained on the way."""

from typing import Any

import pytest

from offmodel.flow.graph import closure
from offmodel.studies.costs import Cost, cost_of


def cost(tiny: Any, name: str) -> Cost:
    return cost_of(tiny.cells[name][-1], {"x": 10}, 0.5, [tiny.board.organism], tiny.store)


def drawn(tiny: Any, name: str) -> int:
    """Completion tokens of the blue team's labels, by their records."""
    red = closure([tiny.board.organism])
    labels = [r for d, r in closure([tiny.treatments[name]]).items() if r.kind == "labels" and d not in red]
    return sum(tiny.store.find(r).record["facts"].get("completion_tokens", 0) for r in labels)


@pytest.mark.parametrize("name", ["off_model_sft", "off_model_sft+reminder", "restyled_by_student", "plant_and_remove"])
def test_labels_are_paid_for_once_each_and_planting_is_not(tiny: Any, name: str) -> None:
    found = cost(tiny, name)
    assert found.sampled == drawn(tiny, name) > 0
    assert found.besides == 0
    assert found.untrusted == 5


def test_a_reminder_costs_more_labels_than_its_first_training(tiny: Any) -> None:
    assert cost(tiny, "off_model_sft+reminder").sampled > cost(tiny, "off_model_sft").sampled


def test_a_teachers_lesson_is_trained_besides(tiny: Any) -> None:
    lesson = tiny.treatments["restyled_teacher"].labels[0].labels.model.training
    assert cost(tiny, "restyled_teacher").besides == tiny.store.find(lesson).record["facts"]["trained_tokens"] > 0


def test_on_policy_samples_what_it_trains_on(tiny: Any) -> None:
    facts = tiny.store.find(tiny.treatments["on_policy_distillation"]).record["facts"]
    assert cost(tiny, "on_policy_distillation").sampled == facts["sampled_tokens"]


def test_a_merge_costs_nothing(tiny: Any) -> None:
    found = cost_of(tiny.cells["merge"][0], {}, 0.0, [tiny.board.organism], tiny.store)
    assert (found.trained, found.sampled, found.besides) == ({}, 0, 0)
