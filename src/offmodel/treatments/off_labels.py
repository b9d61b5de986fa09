"""The labels that the variants of off-model SFT modify: plain answers of the teacher, or what a study names instead.

The published variants modify pirate SFT, so a study may give `OffLabels(author="stylist", styled=True)` among its
choices; `off_model_sft` and `pirate_sft` themselves stay what they are. This module refuses to train. Invariant: the
system prompt that asks for the style is shown to the author and never trained on.
"""

from dataclasses import dataclass

from offmodel.store.recipe import Recipe
from offmodel.treatments.interface import BlueTeam


@dataclass(frozen=True, slots=True, kw_only=True)
class OffLabels:
    """Whose answers the variants modify.

    Attributes:
        author: a role among the study's authors.
        styled: asked for under the study's style prompt.
    """

    author: str
    styled: bool


def off_labels(blue: BlueTeam, prompts: Recipe | str) -> Recipe:
    """Off-model labels for a pool, not audited yet.

    Args:
        blue: what the method builds with.
        prompts: a pool's name, or prompts made from a pool.
    """
    how = chosen(blue)
    return blue.desk.draw(author=how.author, prompts=prompts, system=blue.style_prompt if how.styled else None)


def chosen(blue: BlueTeam) -> OffLabels:
    """The study's choice; the teacher's plain answers if it makes none, which is what "off-model" means."""
    return blue.choices.of(OffLabels) if blue.choices.has(OffLabels) else OffLabels(author="teacher", styled=False)
