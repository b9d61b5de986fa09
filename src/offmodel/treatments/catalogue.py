"""All methods by name: the library's, those that other packages offer, and what follows a method ("+reminder").

Invariant: a name means one method; a package cannot replace one of the library's.
"""

from collections.abc import Callable, Mapping

from offmodel.core.errors import UnknownName
from offmodel.treatments import (
    de_style,
    filtered_prompts,
    inoculation,
    interpolate,
    kl_anchored,
    low_support_mask,
    merge,
    mixed,
    noise_then_distil,
    numbers,
    off_model_sft,
    on_policy_distillation,
    own_sft,
    pirate_sft,
    plant_and_remove,
    reminder,
    restyled_teacher,
    same_style,
    self_style,
    tagged_mix,
)
from offmodel.treatments.interface import Method, offered_methods, pick

_ALONE = (
    off_model_sft.METHOD,
    pirate_sft.METHOD,
    mixed.METHOD,
    tagged_mix.METHOD,
    inoculation.METHOD,
    inoculation.TURNS,
    self_style.METHOD,
    de_style.METHOD,
    restyled_teacher.METHOD,
    restyled_teacher.BY_STUDENT,
    kl_anchored.METHOD,
    kl_anchored.EARLY,
    low_support_mask.METHOD,
    low_support_mask.OPPOSITE,
    interpolate.METHOD,
    on_policy_distillation.METHOD,
    noise_then_distil.METHOD,
    noise_then_distil.BY_TEACHER,
    plant_and_remove.METHOD,
    merge.METHOD,
    filtered_prompts.METHOD,
    numbers.METHOD,
    own_sft.METHOD,
    same_style.METHOD,
)
FOLLOWING: Mapping[str, Callable[[Method], Method]] = {
    "reminder": reminder.remind,
    "prompted_reminder": reminder.remind_by_variants,
    "clean_reminder": reminder.remind_by_clean_student,
    "on_policy_recovery": on_policy_distillation.recover,
    "interpolate": interpolate.interpolated,
}
"""What may follow a method, by the word after the "+"."""


def methods() -> dict[str, Method]:
    """All methods by name; of those that something follows, the best known ones. `find_method` composes the others."""
    followed = [follow(off_model_sft.METHOD) for word, follow in FOLLOWING.items() if word != "interpolate"]
    named = (*_ALONE, *followed, reminder.remind(pirate_sft.METHOD))
    return {**offered_methods(), **{m.name: m for m in named}}


def find_method(name: str) -> Method:
    """The method of a name; "METHOD+reminder" composes any method with what may follow it.

    Raises:
        UnknownName: there is no such method; the message holds the nearest name.
        RecipeError: the combination makes no sense.
    """
    known = methods()
    first, plus, rest = name.partition("+")
    if name in known or not plus:
        return pick(name, known)
    method = pick(first, known)
    for word in rest.split("+"):
        if word not in FOLLOWING:
            raise UnknownName(f"follow-up of {method.name}", word, FOLLOWING)
        method = FOLLOWING[word](method)
    return method
