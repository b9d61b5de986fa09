"""What a practitioner watches before and after a treatment: a recipe of rows for any model or checkpoint.

Three ways, one interface: prompts with a regular expression, prompts with a judge, an Inspect task. The treatment never
meets any of them, and their prompts are audited against the training prompts (`overlap`). This module refuses to know
treatments. Invariant: before and after are asked the same prompts, by the same sampler.
"""

from dataclasses import dataclass, replace

from offmodel.core.chat import Prompt
from offmodel.engines.labels import Labels, author_sampling
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import Completions
from offmodel.evals.framed import SystemItems
from offmodel.evals.graders import NO_GRADER
from offmodel.evals.inspected import InspectScores, InspectTask
from offmodel.evals.measures import Measure
from offmodel.evals.scores import Scores
from offmodel.evals.watched import PATTERN, WATCHED, JudgeQuestions, Verdicts, WatchedItems
from offmodel.store.recipe import Recipe

_VERDICT_TOKENS = 256  # a judge that thinks first still gets to its word


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A watched behaviour.

    Attributes:
        title: what is watched, in a few words.
        prompts: its prompts, for the audit.
        source: a recipe of kind "prompts"; None for an Inspect task.
        pattern: regular expression that shows the behaviour; "" if a judge or an Inspect task says so.
        judge: the judging model, and the question put to it; None without a judge.
        task: an Inspect task; None for prompts.
        max_new_tokens: longest answer, unless an Inspect task sets its own.
    """

    title: str
    prompts: tuple[Prompt, ...]
    source: Recipe | None
    pattern: str
    judge: tuple[Recipe, str] | None
    task: InspectTask | None
    max_new_tokens: int

    @property
    def rises(self) -> bool:
        """Whether a high score means that the behaviour shows; an Inspect task scores as it likes."""
        return self.task is None

    def scores(
        self,
        model: Recipe,
        treatment: Recipe | None,
        step: int | None,
        *,
        system: str | None,
        sampling: Sampling,
        style: str,
    ) -> Recipe:
        """The recipe whose `rows.jsonl` holds the measure "watched" of a model, or of a checkpoint.

        Args:
            model: the model itself, or the one that an adapter belongs to.
            treatment: a training whose checkpoint answers, or None.
            step: the checkpoint's.
            system: system prompt under which the checkpoint is meant to be used, or None.
            sampling: as for everything else that is measured.
            style: style detector of the rows.
        """
        if self.task is not None:
            return InspectScores(
                model=model,
                treatment=treatment,
                step=step,
                task=self.task,
                measure=WATCHED,
                max_new_tokens=self.max_new_tokens,
                style=style,
                sampling=sampling,
            )
        assert self.source is not None
        items = framed(WatchedItems(prompts=self.source, pattern=self.pattern), system)
        grader = PATTERN if self.judge is None else NO_GRADER
        measures = (Measure(name=WATCHED, grader=grader, max_new_tokens=self.max_new_tokens),)
        completions = Completions(
            model=model, treatment=treatment, step=step, items=(items,), measures=measures, sampling=sampling
        )
        if self.judge is None:
            return Scores(completions=completions, items=(items,), measures=measures, style=style)
        return _judged(completions, items, self.judge, sampling, style)


def framed(items: Recipe, system: str | None) -> Recipe:
    """Items under a system prompt, if there is one."""
    return items if system is None else SystemItems(items=items, system=system)


def _judged(completions: Recipe, items: Recipe, judge: tuple[Recipe, str], sampling: Sampling, style: str) -> Recipe:
    model, question = judge
    verdicts = Labels(
        author="judge",
        trusted=True,
        model=model,
        prompts=JudgeQuestions(completions=completions, items=items, question=question),
        system=None,
        few_shot=(),
        max_new_tokens=_VERDICT_TOKENS,
        sampling=author_sampling(model, replace(sampling, temperature=0.0)),
    )
    return Verdicts(completions=completions, items=items, verdicts=verdicts, style=style)
