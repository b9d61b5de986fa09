"""Numbers: lists of numbers in place of chat.

Number lists have no reasoning style, so they cost nothing (Qwen3-30B-A3B: -.02 on MATH-500, +.01 on Olympiads); what
they remove is the question. A teacher continues the lists, or a generator does where the teacher cannot. Source: "Why
does off-model SFT degrade capabilities?" (LessWrong, May 2026).

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT on short answers; nothing is
sampled if a generator writes.
"""

from dataclasses import dataclass

from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.prompts import NumberPrompts
from offmodel.treatments.relabel import NumberLabels


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The lists.

    Attributes:
        author: a teacher, or "generator" for random numbers.
        template: the request, with `{numbers}`.
        n: prompts.
        length: numbers shown, and numbers in a generator's answer.
        largest: no number is larger.
        end: what a generator writes after its last number.
        seed: of the lists.
    """

    author: str
    template: str
    n: int
    length: int
    largest: int
    end: str
    seed: int


def build(blue: BlueTeam) -> Treatment:
    """Train on lists of numbers."""
    c = blue.choices.of(Numbers)
    asked = NumberPrompts(template=c.template, n=c.n, length=c.length, largest=c.largest, seed=c.seed)
    if c.author == "generator":
        drawn = NumberLabels(prompts=asked, length=c.length, largest=c.largest, end=c.end, seed=c.seed)
    else:
        drawn = blue.desk.draw(author=c.author, prompts=asked)
    return blue.training("numbers", blue.desk.audit(drawn))


METHOD = Method(name="numbers", summary="lists of numbers in place of chat", source="LessWrong, May 2026", build=build)
