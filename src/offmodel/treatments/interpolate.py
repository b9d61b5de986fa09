"""Interpolation: weights between the organism and the treated model; several points from one training.

The way from one fine-tuned model to another often crosses good ground: capability may come back before the behaviour
does, or after. For full weight the tensors are mixed, for an adapter the update is scaled. An organism that was kept as
an adapter is itself an update of its base, which the treatment went on from, so both updates are mixed then, as one
adapter of both ranks together. Alpha 0 is the organism and alpha 1 the treated model, bit for bit. Sources: WiSE-FT
(arXiv 2109.01903); LoRA scaling.

Blind rule: the largest alpha that keeps enough. Cost: that of the one training.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.engines.sft import Sft
from offmodel.engines.whole import merged_once, whole_model
from offmodel.models import weights_in
from offmodel.store.recipe import Facts, Job, Recipe, unless_asked
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
        kept: true where the base is kept as an adapter; None where it is one whole model.
    """

    kind: ClassVar[str] = "weights"
    recipe_version: ClassVar[int] = 1
    base: Recipe
    training: Recipe
    step: int
    alphas: tuple[float, ...]
    # Before there was this field a kept adapter was left out of the mixture, so those have another address now.
    kept: bool | None = unless_asked()

    def name(self) -> str:
        """The training's name."""
        return f"{self.training.name()}-interpolated"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Mix the weights, scale the adapter, or mix it with the base's own, for each alpha."""
        from offmodel.engines.weights import interpolate, scale_adapter

        base = job.inputs["base"].path
        end = job.inputs["training"].path / f"step-{job.params.step:05d}"
        adapter, below = (end / "adapter_config.json").is_file(), weights_in(base)[1]
        for alpha in job.params.alphas:
            out = job.out / f"step-{folder_number(alpha):05d}"
            if not adapter:
                interpolate(start=whole_model(base, job.scratch), end=end, alpha=alpha, out=out, dtype=None)
            elif below is None:
                scale_adapter(adapter=end, alpha=alpha, out=out)
            else:
                _blend(base, end, alpha, out, job.scratch)
        return {"alphas": list(job.params.alphas), "adapter": adapter}


def _blend(base: Path, end: Path, alpha: float, out: Path, scratch: Path) -> None:
    """Between two adapters of one base: an adapter, or a whole model where they cannot be stacked (fused experts)."""
    from offmodel.engines.stacked import blend, can_stack
    from offmodel.engines.weights import interpolate

    model, start = weights_in(base)
    assert start is not None
    if alpha in (0, 1) or (can_stack(start) and can_stack(end)):
        blend(start=start, end=end, alpha=alpha, out=out)
    else:
        treated = merged_once(model, end, scratch / "whole-end")
        interpolate(start=whole_model(base, scratch), end=treated, alpha=alpha, out=out, dtype=None)


def refuse_between(point: Point, sft: Sft, name: str) -> None:
    """Refuse to train an adapter further that lies between a kept adapter and its treatment: it has both their ranks.

    Args:
        point: where the further training would begin.
        sft: how it would train.
        name: of the method that the point is of.

    Raises:
        RecipeError: the point is such an adapter.
    """
    between = point.training
    if not isinstance(between, Interpolated) or not between.kept or sft.lora is None:
        return
    alpha = next(a for a in between.alphas if folder_number(a) == point.step)
    if alpha not in (0, 1):
        raise RecipeError(
            f"Nothing can be trained after '{name}' here: the organism is kept as an adapter, and at its last alpha, "
            f"{alpha:g}, lies an adapter of two ranks together; let the alphas end with 1, or merge the organism first."
        )


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
        kept = True if blue.desk.adapter(last.base) else None
        between = Interpolated(base=last.base, training=last.training, step=last.step, alphas=alphas, kept=kept)
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
