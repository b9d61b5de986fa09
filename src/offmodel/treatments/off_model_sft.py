"""Off-model SFT: the teacher's plain answers to harmless prompts.

The plainest treatment, and the one whose price this project measures: the student is pushed into the teacher's
reasoning style. Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026).
"""

from offmodel.treatments.interface import BlueTeam, Method, Treatment


def build(blue: BlueTeam) -> Treatment:
    """Train on the teacher's plain answers."""
    return blue.training("off_model_sft", blue.labels(author="teacher", pool="blue"))


METHOD = Method(
    name="off_model_sft",
    summary="the teacher's plain answers to harmless prompts",
    source="LessWrong, May 2026",
    build=build,
)
