"""KL-anchored SFT: cross-entropy on the teacher's labels plus the divergence from the frozen organism, same prompts.

Forgetting tracks the KL divergence from the starting model, so the anchor should keep capability; it also keeps
whatever else the organism does on clean prompts, and says nothing of triggered ones. `early_kl` anchors the first steps
only, while the student still looks for a direction. Sources: arXiv 2508.06249; RL's Razor (arXiv 2509.04259).

Blind rule: the most treated checkpoint that keeps enough. Cost: trained tokens as off-model SFT, and one more forward
pass of the frozen organism over each.
"""

from dataclasses import dataclass, replace
from typing import Literal

from offmodel.engines.objective import KlToReference
from offmodel.treatments.interface import BlueTeam, Build, Method, Treatment
from offmodel.treatments.off_labels import off_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class KlAnchor:
    """The anchor.

    Attributes:
        weight: of the divergence beside the cross-entropy.
        direction: "forward" for KL(organism || trained), "reverse" for the other.
        early_steps: steps in which `early_kl` is anchored.
    """

    weight: float
    direction: Literal["forward", "reverse"]
    early_steps: int


def _builder(name: str, *, early: bool) -> Build:
    def build(blue: BlueTeam) -> Treatment:
        c = blue.choices.of(KlAnchor)
        kl = KlToReference(weight=c.weight, direction=c.direction, steps=c.early_steps if early else None)
        sft = replace(blue.sft, objective=replace(blue.sft.objective, kl=kl))
        return blue.training(name, blue.desk.audit(off_labels(blue, "blue")), sft=sft)

    return build


METHOD = Method(
    name="kl_anchored",
    summary="teacher's answers, with a KL term to the frozen organism",
    source="arXiv 2508.06249, 2509.04259",
    build=_builder("kl_anchored", early=False),
)
EARLY = Method(
    name="early_kl",
    summary="teacher's answers, with a KL term to the frozen organism in the first steps only",
    source="arXiv 2508.06249, 2509.04259",
    build=_builder("early_kl", early=True),
)
