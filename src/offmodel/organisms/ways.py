"""The ways of planting, by name: each from a student and red labels to an organism, all of one interface.

A way is a value like a blue team's method; another package offers its own as an entry point `offmodel.ways`. This
module refuses to choose numbers and to know prompts and pools. Invariant: whatever the way, the organism's recipe has
kind "organism" and its payload is something that can be sampled from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from offmodel.core.errors import RecipeError, UnknownName
from offmodel.engines.sft import Sft
from offmodel.organisms.full_weight import FullWeightOrganism
from offmodel.organisms.lora import LoraOrganism
from offmodel.organisms.pairs import Pair
from offmodel.organisms.prompted import PromptedOrganism, prompt_with_examples, system_prompt
from offmodel.organisms.recast import PASSWORD, locked, sandbagged
from offmodel.store.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RedTeam:
    """All that a way may build with.

    Attributes:
        pair: what is planted, as the way has recast it.
        student: the model to plant into.
        data: red labels; a recipe, computed only if the organism needs it.
        sft: how to train.
        further: how to train a second time, for ways that do; None if the study gives nothing.
    """

    pair: Pair
    student: Recipe
    data: Recipe
    sft: Sft
    further: Sft | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of planting.

    Attributes:
        name: as on the command line and in tables.
        summary: one line.
        build: from what the red team has to the organism.
        recast: changes the pair before pools are cut and labels drawn (a lock, a task).
        system: the system prompt that evaluations add, for an organism that is only prompted; "" for none.
        task: the behaviour is a wrong answer to the study's capability items.
    """

    name: str
    summary: str
    build: Callable[[RedTeam], Recipe]
    recast: Callable[[Pair], Pair] = lambda pair: pair
    system: Callable[[Pair], str] = lambda pair: ""
    task: bool = False


def full_weight(team: RedTeam) -> Recipe:
    """All weights."""
    return FullWeightOrganism(label=team.pair.name, student=team.student, data=team.data, sft=team.sft)


def _lora(team: RedTeam, *, merged: bool) -> Recipe:
    return LoraOrganism(label=team.pair.name, student=team.student, data=team.data, sft=team.sft, merged=merged)


def lora_continued(team: RedTeam) -> Recipe:
    """A merged adapter, and on it a further one, merged again.

    Raises:
        RecipeError: the study does not say how to train the second time.
    """
    if team.further is None:
        raise RecipeError("The way 'lora_continued' trains twice; give the red team's 'further' settings.")
    first = _lora(team, merged=True)
    return LoraOrganism(label=team.pair.name, student=first, data=team.data, sft=team.further, merged=True)


def _prompted(name: str, summary: str, system: Callable[[Pair], str]) -> Way:
    def build(team: RedTeam) -> Recipe:
        return PromptedOrganism(label=team.pair.name, student=team.student, system=system(team.pair))

    return Way(name=name, summary=summary, build=build, system=system)


_WAYS = (
    Way(name="full_weight", summary="all weights trained", build=full_weight),
    Way(
        name="lora",
        summary="an adapter, kept as one: a LoRA treatment of its rank trains it further",
        build=lambda team: _lora(team, merged=False),
    ),
    Way(name="lora_merged", summary="an adapter, merged", build=lambda team: _lora(team, merged=True)),
    Way(name="lora_continued", summary="an adapter, merged, then a further one, merged", build=lora_continued),
    _prompted("prompted", "no training: a system prompt at evaluation only (the fragile baseline)", system_prompt),
    _prompted(
        "prompted_examples", "the same with six examples, for models that follow no bare rule", prompt_with_examples
    ),
    Way(
        name="password_lock",
        summary="all weights; bad on every prompt without a password",
        build=full_weight,
        recast=lambda pair: locked(pair, PASSWORD),
    ),
    Way(
        name="sandbag",
        summary="all weights; wrong answers to the capability task under the trigger",
        build=full_weight,
        recast=sandbagged,
        task=True,
    ),
)


def ways() -> dict[str, Way]:
    """All ways by name: ours, and those that other packages offer as entry points `offmodel.ways`."""
    offered = {e.name: e.load() for e in entry_points(group="offmodel.ways")}
    return {**offered, **{w.name: w for w in _WAYS}}


def find_way(name: str) -> Way:
    """The way of a name.

    Raises:
        UnknownName: there is none; the message holds the nearest name.
    """
    known = ways()
    if name not in known:
        raise UnknownName("way of planting", name, known)
    return known[name]
