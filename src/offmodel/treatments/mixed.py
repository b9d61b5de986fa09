"""Mixed SFT: the teacher's labels interleaved with the organism's own outputs, in one shuffled training.

Interleaving, or replay, is the usual answer to forgetting. Here it rehearses the student's style all along rather than
at the end; what it costs is that a share of all trained tokens is by an untrusted author, and that the behaviour is
rehearsed with the style. Source: replay in continual learning; among the authors' variants of off-model SFT.

Blind rule: the most treated checkpoint that keeps enough. Cost: as off-model SFT; both halves are sampled.
"""

from dataclasses import dataclass

from offmodel.core.errors import RecipeError
from offmodel.store.recipe import Recipe
from offmodel.treatments.interface import BlueTeam, Method, Treatment
from offmodel.treatments.off_labels import off_labels
from offmodel.treatments.prompts import PromptShare


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """The mixture.

    Attributes:
        own_share: share of the prompts that the organism answers, between 0 and 1.
    """

    own_share: float

    def __post_init__(self) -> None:
        """Refuse a mixture of one thing."""
        if not 0 < self.own_share < 1:
            raise RecipeError(
                f"A mixture with {self.own_share:.0%} own outputs mixes nothing; give an own_share between 0 and 1, or "
                "use off_model_sft or own_sft."
            )


def parts(blue: BlueTeam, own_share: float) -> tuple[Recipe, Recipe]:
    """(own, teacher's) labels, not audited yet, for two parts of the blue pool that do not overlap."""
    pool = blue.desk.pool("blue")
    own = PromptShare(prompts=pool, begin=0.0, end=own_share)
    others = PromptShare(prompts=pool, begin=own_share, end=1.0)
    return blue.desk.draw(author="organism", prompts=own), off_labels(blue, others)


def build(blue: BlueTeam) -> Treatment:
    """Train on both parts at once."""
    drawn = parts(blue, blue.choices.of(Mixed).own_share)
    return blue.training("mixed", *(blue.desk.audit(x) for x in drawn))


METHOD = Method(
    name="mixed",
    summary="teacher's answers and own outputs, interleaved",
    source="replay; LessWrong, June 2026",
    build=build,
)
