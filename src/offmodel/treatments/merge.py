"""Merge: the organism's weights averaged with those of a homologous model, one trained from the same start.

Two models that share a start can be averaged; a behaviour that only one of them has is diluted. The other model may be
compromised too, as long as it is in another way. Nothing is trained. Source: "Here's a Free Lunch: Sanitizing
Backdoored Models with Model Merge" (arXiv 2402.19334).

Blind rule: the largest share of the other model that keeps enough. Cost: no trained and no sampled tokens.
"""

from dataclasses import dataclass
from typing import ClassVar

from offmodel.engines.whole import whole_model
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments.interface import BlueTeam, Method, Point
from offmodel.treatments.interpolate import Interpolation, folder_number


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """The average.

    Attributes:
        author: role of the homologous model.
        alphas: its shares, each above 0.
    """

    author: str
    alphas: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged(Recipe):
    """Averages of two models of one architecture, one folder an alpha.

    Attributes:
        model: the first model, whose tokenizer and settings are kept.
        other: the second.
        alphas: shares of the second.
    """

    kind: ClassVar[str] = "weights"
    recipe_version: ClassVar[int] = 1
    model: Recipe
    other: Recipe
    alphas: tuple[float, ...]

    def name(self) -> str:
        """A fixed name."""
        return "merge"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Mix the weights for each alpha."""
        from offmodel.engines.weights import interpolate

        model, other = (whole_model(job.inputs[name].path, job.scratch) for name in ("model", "other"))
        for alpha in job.params.alphas:
            out = job.out / f"step-{folder_number(alpha):05d}"
            interpolate(start=model, end=other, alpha=alpha, out=out, dtype="float32")
        return {"alphas": list(job.params.alphas)}


def build(blue: BlueTeam) -> tuple[Point, ...]:
    """One point a share of the other model."""
    c = blue.choices.of(Merging)
    alphas = Interpolation(alphas=c.alphas).alphas
    merged = Merged(model=blue.organism, other=blue.desk.model(c.author), alphas=alphas)
    return tuple(
        Point(
            training=merged,
            step=folder_number(a),
            base=blue.organism,
            trained=(),
            dose=a,
            recovery=0.0,
            setting=f"alpha {a:g}",
            authors=(c.author,),
        )
        for a in alphas
    )


METHOD = Method(
    name="merge",
    summary="weights averaged with a homologous model's",
    source="arXiv 2402.19334",
    build=build,
)
