"""Low-support mask: label tokens that the organism finds least likely get no gradient; and the opposite.

The least likely tokens carry the teacher's style, and move the student furthest. A known trade: leaving them out brings
capability back, and less of the trait is removed. `high_support_mask` trains on nothing but these. Source: masking by
reference likelihood, among the blue-team methods of the literature.

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT, and one forward pass of the organism
over all labels beforehand.
"""

from dataclasses import dataclass, replace
from typing import Literal

from offmodel.engines.objective import TokenSupport
from offmodel.treatments.interface import BlueTeam, Build, Method, Treatment
from offmodel.treatments.off_labels import off_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportMask:
    """What is left out.

    Attributes:
        quantile: share of all label tokens that gets no gradient, in [0, 1).
    """

    quantile: float


def _builder(name: str, keep: Literal["likely", "unlikely"]) -> Build:
    def build(blue: BlueTeam) -> Treatment:
        support = TokenSupport(quantile=blue.choices.of(SupportMask).quantile, keep=keep)
        sft = replace(blue.sft, objective=replace(blue.sft.objective, support=support))
        return blue.training(name, blue.desk.audit(off_labels(blue, "blue")), sft=sft)

    return build


METHOD = Method(
    name="low_support_mask",
    summary="teacher's answers, without the tokens that the organism finds least likely",
    source="token masking by reference likelihood",
    build=_builder("low_support_mask", "likely"),
)
OPPOSITE = Method(
    name="high_support_mask",
    summary="teacher's answers, without the tokens that the organism finds most likely",
    source="the opposite of low_support_mask",
    build=_builder("high_support_mask", "unlikely"),
)
