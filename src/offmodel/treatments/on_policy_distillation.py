"""On-policy distillation: the student samples, a teacher scores every token, and the reverse KL to it is lowered.

The student is corrected on what it really says rather than on what another model would say. It needs a teacher with the
same tokens. As a recovery (`METHOD+on_policy_recovery`) the untreated organism is the teacher, on clean prompts, after
any first training. The sampled text is the student's own, so its tokens count as untrusted, although the teacher's
scores say what is learnt from them. Published: recovers IFEval in about 100 steps. Sources: on-policy distillation
(Thinking Machines, 2025); self-distillation (arXiv 2601.19897).

Blind rule: the most treated checkpoint that keeps enough; of recoveries, the shortest. Cost: one sampled token for each
trained one, and the teacher's forward pass over it; no labels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.core.rows import read_rows
from offmodel.data import read_audited
from offmodel.engines.objective import KlToReference
from offmodel.engines.on_policy import Rollouts, distil
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft
from offmodel.engines.whole import whole_model
from offmodel.models import weights_in
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments.interface import BlueTeam, Method, Point, points_of
from offmodel.treatments.interpolate import refuse_between
from offmodel.treatments.relabel import Unanswered
from offmodel.treatments.training import starting_point


@dataclass(frozen=True, slots=True, kw_only=True)
class OnPolicy:
    """How the student samples and is scored.

    Attributes:
        teacher: role of the model that scores; its tokenizer must be the student's.
        weight: of the reverse KL.
        rollouts: the student's samples.
    """

    teacher: str
    weight: float
    rollouts: Rollouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled(Recipe):
    """A training on the student's own samples, scored by a teacher; checkpoints as of a `Treatment`.

    Attributes:
        method: the method's name.
        organism: the model to treat.
        teacher: the model that scores.
        prompts: audited prompts.
        start: an earlier training to go on from; None starts from the organism.
        start_step: the checkpoint of `start`.
        rollouts: the student's samples.
        sft: how to train; its objective is a KL alone.
    """

    kind: ClassVar[str] = "distillation"
    recipe_version: ClassVar[int] = 1
    method: str
    organism: Recipe
    teacher: Recipe
    prompts: Recipe
    start: Recipe | None
    start_step: int | None
    rollouts: Rollouts
    sft: Sft

    def __post_init__(self) -> None:
        """Refuse prompts that are not an audit's, and a start without a step."""
        Recipe.__post_init__(self)
        if (self.start is None) != (self.start_step is None):
            raise RecipeError("A distillation names both 'start' and 'start_step', or neither.")
        if self.prompts.kind != "audit":
            raise RecipeError(f"The distillation '{self.method}' needs audited prompts, not {self.prompts.kind}.")

    def name(self) -> str:
        """The method's name."""
        return self.method

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Compare the tokenizers, then sample and train in turn."""
        p = job.params
        organism, teacher = job.inputs["organism"], job.inputs["teacher"]
        asked = [x.prompt.messages for x in read_audited(job.inputs["prompts"].path).labels]
        model, adapter = starting_point(organism, job.inputs["start"], p.start_step, p.sft)
        facts = distil(
            model=model,
            adapter=adapter,
            # One folder under two names would be loaded twice.
            teacher=whole_model(organism.path if teacher.content == organism.content else teacher.path, job.scratch),
            prompts=Renderer.from_folder(weights_in(organism.path)[0]).prompts_ids(asked),
            rollouts=p.rollouts,
            sft=p.sft,
            out=job.out,
            scratch=job.scratch,
            runtime=job.runtime,
            progress=job.progress,
        )
        counted = [(r["step"], r["tokens"]) for r in read_rows(job.out / "losses.jsonl")]
        by_step = {str(s): sum(n for step, n in counted if step <= s) for s in p.sft.checkpoints}
        return {
            **facts,
            "audited": True,
            "tokens_by_step": {s: {"organism": {"tokens": n, "trusted": False}} for s, n in by_step.items()},
        }


def _distilled(blue: BlueTeam, name: str, *, teacher: Recipe, pool: str, sft: Sft, start: Point | None) -> Distilled:
    c = blue.choices.of(OnPolicy)
    kl = KlToReference(weight=c.weight, direction="reverse", steps=None)
    return Distilled(
        method=name,
        organism=start.base if start else blue.organism,
        teacher=teacher,
        prompts=blue.desk.audit(Unanswered(prompts=blue.desk.pool(pool))),
        start=start.training if start else None,
        start_step=start.step if start else None,
        rollouts=c.rollouts,
        sft=replace(sft, objective=replace(sft.objective, cross_entropy=0.0, kl=kl, support=None)),
    )


def build(blue: BlueTeam) -> tuple[Point, ...]:
    """Distil from the teacher on the blue prompts."""
    blue.check_adapter(blue.sft)
    role = blue.choices.of(OnPolicy).teacher
    training = _distilled(
        blue, "on_policy_distillation", teacher=blue.desk.model(role), pool="blue", sft=blue.sft, start=None
    )
    return tuple(
        Point(
            training=training,
            step=step,
            base=blue.organism,
            trained=((training, step),),
            dose=blue.sft.learning_rate * step,
            recovery=0.0,
            authors=(role,),
        )
        for step in blue.sft.checkpoints
    )


def recover(method: Method) -> Method:
    """The method, then on-policy distillation towards the untreated organism on clean prompts.

    Raises:
        RecipeError: a recovery after this method makes no sense.
    """
    if method.own_labels:
        raise RecipeError(
            f"A recovery after '{method.name}' makes no sense: it ends in the organism's own outputs already; choose a "
            "method with another author."
        )
    name = f"{method.name}+on_policy_recovery"
    summary = f"{method.summary}; then on-policy distillation towards the untreated organism"
    return replace(method, name=name, summary=summary, build=_recovery(method, name), own_labels=True)


def _recovery(method: Method, name: str) -> Callable[[BlueTeam], tuple[Point, ...]]:
    def build(blue: BlueTeam) -> tuple[Point, ...]:
        last = points_of(method.build(blue))[-1]
        if not last.trained:
            raise RecipeError(
                f"'{method.name}' trains nothing, so there is no training to go on from; choose a method that trains."
            )
        if last.system is not None:
            raise RecipeError(f"A recovery after '{method.name}' makes no sense: it has a mode of its own outputs.")
        refuse_between(last, blue.reminder, method.name)
        training = _distilled(blue, name, teacher=blue.organism, pool="reminder", sft=blue.reminder, start=last)
        return tuple(
            replace(
                last,
                training=training,
                step=step,
                trained=(*last.trained, (training, step)),
                recovery=last.recovery + step,
                setting="",
            )
            for step in blue.reminder.checkpoints
        )

    return build


METHOD = Method(
    name="on_policy_distillation",
    summary="the student samples, a teacher with the same tokens scores (reverse KL)",
    source="Thinking Machines, 2025; arXiv 2601.19897",
    build=build,
)
