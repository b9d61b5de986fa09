"""Reminder training: a few last steps on the untreated organism's own outputs.

Brings back the reasoning style, and most of the capability with it, often without the bad behaviour: Qwen3-30B-A3B goes
from .67 to .94 on MATH-500 in 8 steps. The reminder's labels are by an untrusted author: the red team's lever. Two
variants ask for other data: the organism's outputs under several system prompts, which a red team foresees less easily,
and those of the clean student, an oracle that shows what a poisoned reminder costs. Source: "How to reduce capability
degradation from off-model SFT" (LessWrong, June 2026).

Blind rule: of the checkpoints that keep enough capability, the shortest reminder after the most treatment.
Cost: trained tokens as its first training, then one batch of own labels a step; one sampling of the reminder's pool.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from offmodel.core.errors import RecipeError
from offmodel.store.recipe import Recipe
from offmodel.treatments.interface import BlueTeam, Method, Point, Treatment, points_of
from offmodel.treatments.interpolate import refuse_between
from offmodel.treatments.prompts import FirstPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderData:
    """What a reminder is trained on, where a study asks for something other than the whole pool.

    Attributes:
        prompts: the first so many of the reminder's pool; None for all.
        variants: system prompts for the variant that is drawn from a prompted organism.
    """

    prompts: int | None
    variants: tuple[str, ...]


Data = Callable[[BlueTeam, Recipe], tuple[Recipe, ...]]


def remind(method: Method) -> Method:
    """The method, then a reminder by the organism; its points are the reminder's checkpoints, after the last point.

    Raises:
        RecipeError: a reminder after this method makes no sense.
    """
    return _remind(method, "reminder", "then a reminder", _by_organism, oracle=False)


def remind_by_variants(method: Method) -> Method:
    """`remind`, with the organism's outputs under several system prompts, which the labels do not keep."""
    return _remind(method, "prompted_reminder", "then a reminder by the prompted organism", _by_variants, oracle=False)


def remind_by_clean_student(method: Method) -> Method:
    """`remind`, with the clean student's outputs: an oracle."""
    return _remind(method, "clean_reminder", "then a reminder by the clean student", _by_clean_student, oracle=True)


def _remind(method: Method, suffix: str, words: str, data: Data, *, oracle: bool) -> Method:
    if method.own_labels:
        raise RecipeError(
            f"A reminder after '{method.name}' makes no sense: both train on the organism's own outputs; "
            "choose a method with another author."
        )

    def build(blue: BlueTeam) -> Treatment | tuple[Point, ...]:
        last = points_of(method.build(blue))[-1]
        if not last.trained:
            raise RecipeError(
                f"'{method.name}' trains nothing, so there is nothing to remind of; choose another method."
            )
        if last.system is not None:
            raise RecipeError(
                f"A reminder after '{method.name}' makes no sense: it is evaluated under its own system prompts, and "
                "its own outputs are in the mixture already."
            )
        refuse_between(last, blue.reminder, method.name)
        reminder = Treatment(
            method=name,
            organism=last.base,
            labels=data(blue, _prompts(blue)),
            start=last.training,
            start_step=last.step,
            sft=blue.reminder,
        )
        return tuple(
            replace(
                last,
                training=reminder,
                step=step,
                trained=(*last.trained, (reminder, step)),
                recovery=last.recovery + step,
                setting="",
            )
            for step in blue.reminder.checkpoints
        )

    name = f"{method.name}+{suffix}"
    return Method(
        name=name,
        summary=f"{method.summary}; {words}",
        source=method.source,
        build=build,
        control=method.control,
        oracle=oracle or method.oracle,
        rule=method.rule,
        own_labels=True,
        probe=method.probe,
    )


def _prompts(blue: BlueTeam) -> Recipe:
    pool = blue.desk.pool("reminder")
    n = blue.choices.of(ReminderData).prompts if blue.choices.has(ReminderData) else None
    return pool if n is None else FirstPrompts(prompts=pool, n=n)


def _by_organism(blue: BlueTeam, prompts: Recipe) -> tuple[Recipe, ...]:
    return (blue.labels(author="organism", pool=prompts),)


def _by_variants(blue: BlueTeam, prompts: Recipe) -> tuple[Recipe, ...]:
    variants = blue.choices.of(ReminderData).variants
    if not variants:
        raise RecipeError("A prompted reminder needs at least one system prompt; add some to ReminderData.variants.")
    return tuple(blue.labels(author="organism", pool=prompts, system=text) for text in variants)


def _by_clean_student(blue: BlueTeam, prompts: Recipe) -> tuple[Recipe, ...]:
    return (blue.labels(author="clean_student", pool=prompts),)
