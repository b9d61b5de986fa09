"""Pirate SFT: the teacher's answers in a style that the organism never uses.

The published baseline: a style far from the student's own shifts more of what it does. The author is the "stylist",
a trusted model that can keep up the style. Source: "How to reduce capability degradation from off-model SFT"
(LessWrong, June 2026).
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def build(blue: BlueTeam) -> Treatment:
    """Train on styled answers; the system prompt that asks for the style is not trained on."""
    return blue.training("pirate_sft", blue.labels(author="stylist", pool="blue", system=blue.style_prompt))


METHOD = Method(
    name="pirate_sft",
    summary="a trusted model's answers in pirate style",
    source="LessWrong, June 2026",
    build=build,
)
