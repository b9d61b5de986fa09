"""Interpolation: weights between the organism and the treated model; several points from one training.

The way from one fine-tuned model to another often crosses good ground: capability may come back before the behaviour
does, or after. For an adapter the update is scaled, for full weight the tensors are mixed; alpha 0 is the organism and
alpha 1 the treated model, bit for bit. Sources: WiSE-FT (arXiv 2109.01903); LoRA scaling.

Blind rule: the largest alpha that keeps enough. Cost: that of the one training.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments import off_model_sft
from offmodel.treatments.interface import BlueTeam, Method, Point, points_of

PARTS = 1000
"""Folders are numbered in thousandths: `step-00250` is alpha .25."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation:
    """The points on the way.

    Attributes:
        alphas: shares of the treated model; 0 is the organism, 1 the treated model, more goes beyond it.
    """

    alphas: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse no points, and points that share a folder."""
        numbers = [folder_number(a) for a in self.alphas]
        if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
            raise RecipeError("An interpolation needs at least one alpha of 0 or more, each of them once; give some.")


def folder_number(alpha: float) -> int:
    """The number of an alpha's checkpoint folder."""
    return round(alpha * PARTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolated(Recipe):
    """Models between a base and a checkpoint trained from it; one folder an alpha, adapter or full model.

    Attributes:
        base: the model that the training began with.
        training: a recipe whose payload holds the checkpoint.
        step: the checkpoint's folder number.
        alphas: see `Interpolation`.
    """

    kind: ClassVar[str] = "weights"
    recipe_version: ClassVar[int] = 1
    base: Recipe
    training: Recipe
    step: int
    alphas: tuple[float, ...]

    def name(self) -> str:
        """The training's name."""
        return f"{self.training.name()}-interpolated"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Scale the adapter, or mix the weights, for each alpha."""
        from offmodel.engines.weights import interpolate, scale_adapter

        end = job.inputs["training"].path / f"step-{job.params.step:05d}"
        adapter = (end / "adapter_config.json").is_file()
        for alpha in job.params.alphas:
            out = job.out / f"step-{folder_number(alpha):05d}"
            if adapter:
                scale_adapter(adapter=end, alpha=alpha, out=out)
            else:
                interpolate(start=job.inputs["base"].path, end=end, alpha=alpha, out=out, dtype=None)
        return {"alphas": list(job.params.alphas), "adapter": adapter}


def interpolated(method: Method) -> Method:
    """Models between the organism and the method's last point; one point an alpha.

    Raises:
        RecipeError: there is no such way.
    """

    def build(blue: BlueTeam) -> tuple[Point, ...]:
        last = points_of(method.build(blue))[-1]
        if not last.trained:
            raise RecipeError(f"'{method.name}' trains nothing to interpolate towards; choose a method that trains.")
        alphas = blue.choices.of(Interpolation).alphas
        between = Interpolated(base=last.base, training=last.training, step=last.step, alphas=alphas)
        return tuple(
            replace(last, training=between, step=folder_number(a), dose=a * last.dose, setting=f"alpha {a:g}")
            for a in alphas
        )

    name = f"{method.name}+interpolate"
    return replace(method, name=name, summary=f"{method.summary}; weights between it and the organism", build=build)


METHOD = replace(
    interpolated(off_model_sft.METHOD),
    name="interpolate",
    summary="weights between the organism and off-model SFT's last step",
    source="WiSE-FT, arXiv 2109.01903",
)
