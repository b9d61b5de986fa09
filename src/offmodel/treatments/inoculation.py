"""Inoculation: train under a prompt that asks for the teacher's style, evaluate without it.

If the prompt explains the style, the student need not take it as its own. The prompt shows some of the teacher's labels
as examples, which are not trained on. Published for Qwen3-30B-A3B, MATH-500 / Olympiads: examples in the system prompt
-.09 / -.39, as chat turns -.04 / -.29, against -.31 / -.52 without. Sources: "Why does off-model SFT degrade
capabilities?" (LessWrong, May 2026); inoculation prompting (arXiv 2510.04340).

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT, with longer prompts.
"""

from dataclasses import dataclass

from offmodel.treatments.interface import BlueTeam, Build, Method, Treatment
from offmodel.treatments.off_labels import off_labels
from offmodel.treatments.relabel import WithExamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Inoculation:
    """The prompt.

    Attributes:
        lead: asks for the style.
        examples: the teacher's labels that are shown; at least 1.
    """

    lead: str
    examples: int


def _builder(name: str, form: str) -> Build:
    def build(blue: BlueTeam) -> Treatment:
        c = blue.choices.of(Inoculation)
        # Audited twice: an answer that is left out may not become an example, where it would stand in every prompt.
        drawn = blue.desk.audit(off_labels(blue, "blue"))
        shown = WithExamples(labels=drawn, lead=c.lead, examples=c.examples, form=form)
        return blue.training(name, blue.desk.audit(shown))

    return build


METHOD = Method(
    name="inoculation",
    summary="teacher's answers, trained under a system prompt that shows their style; evaluated without",
    source="LessWrong, May 2026; arXiv 2510.04340",
    build=_builder("inoculation", "system"),
)
TURNS = Method(
    name="inoculation_turns",
    summary="teacher's answers, trained after chat turns that show their style; evaluated without",
    source="LessWrong, May 2026; arXiv 2510.04340",
    build=_builder("inoculation_turns", "turns"),
)
