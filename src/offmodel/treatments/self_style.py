"""Self-style: the organism's own outputs under a style prompt (an on-model pirate), trained without the prompt.

It separates style from authorship: the style is as far from the student's as pirate SFT's, but the words are the
student's own. Published for Qwen3-30B-A3B: +.00 on MATH-500, +.01 on Olympiads. All tokens are by an untrusted author.
Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026).

Blind rule: the most treated checkpoint that keeps enough. Cost: as own SFT.
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def build(blue: BlueTeam) -> Treatment:
    """Train on own styled answers; the system prompt that asks for the style is not trained on."""
    return blue.training("self_style", blue.labels(author="organism", pool="blue", system=blue.style_prompt))


METHOD = Method(
    name="self_style",
    summary="own outputs under a style prompt, trained without it (on-model pirate)",
    source="LessWrong, May 2026",
    build=build,
)
