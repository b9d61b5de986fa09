"""Filtered prompts: off-model SFT without the prompts that touch the capability's topic.

A known no-help baseline: the loss comes from the style, which any prompt carries, so leaving mathematics out of the
prompts does not help. Source: "Why does off-model SFT degrade capabilities?" (LessWrong, May 2026).

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT, with fewer labels.
"""

from dataclasses import dataclass

from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.off_labels import off_labels
from offmodel.treatments.prompts import FilteredPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFilter:
    """The topic.

    Attributes:
        without: regular expressions; a prompt goes if its topic or its text matches one of them, in any case.
    """

    without: tuple[str, ...]


def build(blue: BlueTeam) -> Treatment:
    """Train on the teacher's answers to what is left."""
    kept = FilteredPrompts(prompts=blue.desk.pool("blue"), without=blue.choices.of(PromptFilter).without)
    return blue.training("filtered_prompts", blue.desk.audit(off_labels(blue, kept)))


METHOD = Method(
    name="filtered_prompts",
    summary="teacher's answers, without prompts on the capability's topic (a known no-help baseline)",
    source="LessWrong, May 2026",
    build=build,
)
