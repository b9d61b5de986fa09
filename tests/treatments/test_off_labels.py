"""A study may name whose labels the variants modify; the prompt that asks for a style is never trained on."""

from dataclasses import replace
from typing import Any

import pytest

from offmodel.engines.labels import Labels
from offmodel.studies.desk import label_recipes
from offmodel.studies.grid import treat
from offmodel.treatments.catalogue import find_method
from offmodel.treatments.off_labels import OffLabels

VARIANTS = (
    "mixed",
    "tagged_mix",
    "inoculation",
    "inoculation_turns",
    "kl_anchored",
    "early_kl",
    "low_support_mask",
    "high_support_mask",
    "filtered_prompts",
    "restyled_by_student",
)


def asked(tiny: Any, name: str, *choice: OffLabels) -> dict[str, str | None]:
    """System prompt shown to each author of a method's labels."""
    blue = replace(tiny.blue, choices=(*tiny.blue.choices, *choice))
    training = treat(tiny.board, find_method(name), blue, seed=1)[0].treatment
    return {r.author: r.system for r in label_recipes(training) if isinstance(r, Labels)}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_study_says_whose_labels_a_variant_modifies(tiny: Any, name: str) -> None:
    plain = asked(tiny, name)
    styled = asked(tiny, name, OffLabels(author="stylist", styled=True))
    assert plain == {**plain, "teacher": None}
    assert styled["stylist"] == tiny.board.world.style_prompt
    assert "teacher" not in styled
    assert {k: v for k, v in plain.items() if k != "teacher"} == {k: v for k, v in styled.items() if k != "stylist"}


@pytest.mark.parametrize("name", ["off_model_sft", "pirate_sft"])
def test_the_two_baselines_stay_what_they_are(tiny: Any, name: str) -> None:
    assert asked(tiny, name, OffLabels(author="neighbour", styled=True)) == asked(tiny, name)
