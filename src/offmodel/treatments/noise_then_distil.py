"""Noise, then distil: mix the organism's weights with random ones, then train on own or teacher outputs.

A behaviour that hangs on few weights may not survive the noise, and what the labels show is learnt back. UNDO distils a
model that was unlearnt first; here nothing is known to unlearn, so the noise alone must do it. What no label shows
(mathematics, in chat prompts) is learnt back only as far as it comes with the style. Source: UNDO (arXiv 2506.06278).

Blind rule: the shortest training after which enough is kept. Cost: as own SFT, or as off-model SFT.
"""

import shutil
from dataclasses import dataclass
from typing import ClassVar

from offmodel.engines.whole import whole_model
from offmodel.models import pass_on
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments.interface import BlueTeam, Build, Method, Point, Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightNoise:
    """The noise.

    Attributes:
        alpha: share of random weights, in [0, 1].
        beta: scale of the random weights; UNDO's is 0.1.
    """

    alpha: float
    beta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noised(Recipe):
    """A model with a share of random weights in every matrix.

    Attributes:
        model: the model.
        alpha, beta: see `WeightNoise`.
        seed: of the random weights.
    """

    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    model: Recipe
    alpha: float
    beta: float
    seed: int

    def name(self) -> str:
        """A fixed name."""
        return "noised"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Mix the weights; the folder's other files stay."""
        from offmodel.engines.weights import shrink_and_perturb

        p, draft = job.params, job.scratch / "noised"
        shutil.rmtree(draft, ignore_errors=True)
        model = whole_model(job.inputs["model"].path, job.scratch)
        shrink_and_perturb(model=model, alpha=p.alpha, beta=p.beta, seed=p.seed, out=draft, dtype="float32")
        for file in sorted(draft.iterdir()):
            pass_on(file, job.out / file.name)
        return {"alpha": p.alpha, "beta": p.beta}


def _builder(name: str, author: str) -> Build:
    def build(blue: BlueTeam) -> tuple[Point, ...]:
        c = blue.choices.of(WeightNoise)
        noised = Noised(model=blue.organism, alpha=c.alpha, beta=c.beta, seed=blue.sft.seed)
        training = Treatment(
            method=name,
            organism=noised,
            labels=(blue.labels(author=author, pool="blue"),),
            start=None,
            start_step=None,
            sft=blue.sft,
        )
        return tuple(
            Point(
                training=training,
                step=step,
                base=noised,
                trained=((training, step),),
                dose=c.alpha,
                recovery=float(step),
            )
            for step in training.sft.checkpoints
        )

    return build


METHOD = Method(
    name="noise_then_distil",
    summary="random weights mixed in, then own outputs to learn back",
    source="arXiv 2506.06278",
    build=_builder("noise_then_distil", "organism"),
    own_labels=True,
)
BY_TEACHER = Method(
    name="noise_then_distil_teacher",
    summary="random weights mixed in, then teacher's answers",
    source="arXiv 2506.06278",
    build=_builder("noise_then_distil_teacher", "teacher"),
)
