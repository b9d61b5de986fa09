"""Tagged mix: own outputs under one system tag, the teacher's under another; evaluated under each.

Published for Qwen3-30B-A3B: no loss in the own mode, the full loss in the teacher's mode. So what matters for safety is
whether the behaviour stays in the own mode. Points under both tags belong to the one method, since a blue team may
deploy under either. Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026).

Blind rule: the most treated checkpoint that keeps enough, under whichever tag; of one checkpoint's two modes, if both
keep enough, the teacher's. Both have one dose, so the rule cannot tell them apart, and a blue team has one reason to
prefer: that mode was trained on trusted text alone, and whatever hides in own outputs was learnt in the other. Cost: as
mixed SFT.
"""

from dataclasses import dataclass, replace

from offmodel.treatments.interface import BlueTeam, Method, Point, points_of
from offmodel.treatments.mixed import Mixed, parts
from offmodel.treatments.relabel import Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedMix:
    """The modes.

    Attributes:
        own_share: share of the prompts that the organism answers, between 0 and 1.
        own: system prompt of the own mode.
        teacher: system prompt of the teacher's mode.
    """

    own_share: float
    own: str
    teacher: str


def build(blue: BlueTeam) -> tuple[Point, ...]:
    """Train on both parts, each under its tag; every checkpoint is a point under each tag."""
    c = blue.choices.of(TaggedMix)
    own, teacher = parts(blue, Mixed(own_share=c.own_share).own_share)
    placed = (Placed(labels=own, system=c.own), Placed(labels=teacher, system=c.teacher))
    trained = points_of(blue.training("tagged_mix", *(blue.desk.audit(x) for x in placed)))
    # The teacher's mode first: of equals the blind rule takes the first.
    modes = (("teacher mode", c.teacher), ("own mode", c.own))
    return tuple(replace(point, setting=mode, system=text) for mode, text in modes for point in trained)


METHOD = Method(
    name="tagged_mix",
    summary="own outputs under one system tag, the teacher's under another; evaluated under each",
    source="LessWrong, May 2026",
    build=build,
)
