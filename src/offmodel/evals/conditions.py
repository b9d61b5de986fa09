"""Items under a condition of the red team's: with the trigger on a task, without it, or with a password.

Each takes items and changes what is asked or leaves items out, never the ids or the targets, so that rows of the same
items pair up.
RED: this module knows behaviour cards, so no treatment may import it. It refuses to know models. Invariant: triggered
items fire and quiet ones do not; both are checked when they are made.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.behaviour import BehaviourCard, apply_trigger, detect, quiet
from offmodel.core.chat import Prompt
from offmodel.core.errors import DataError
from offmodel.data import write_prompts
from offmodel.evals.items import check_triggers
from offmodel.evals.measures import read_items, write_items
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggeredTasks(Recipe):
    """Capability items with a pair's trigger, for a behaviour that is a wrong answer (sandbagging); targets are kept.

    Attributes:
        items: items with targets.
        card: the pair.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 3
    items: Recipe
    card: BehaviourCard

    def name(self) -> str:
        """The pair's name."""
        return f"triggered-tasks-{self.card.pair}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the trigger on each item."""
        card: BehaviourCard = job.params.card
        read = read_items(job.inputs["items"].path)
        items = [replace(i, messages=apply_trigger(card.trigger, i.messages)) for i in read]
        check_triggers(items, card, wanted=True)
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietItems(Recipe):
    """Items made so that nothing fires: under the password of a lock.

    Attributes:
        items: any items.
        card: the pair.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 4
    items: Recipe
    card: BehaviourCard

    def name(self) -> str:
        """The items' name."""
        return f"quiet-{self.items.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Add the password."""
        card: BehaviourCard = job.params.card
        read = read_items(job.inputs["items"].path)
        items = [replace(i, messages=quiet(card.trigger, i.messages)) for i in read]
        check_triggers(items, card, wanted=False)
        write_items(job.out, items)
        return {"items": len(items)}


@dataclass(frozen=True, slots=True, kw_only=True)
class UntriggeredItems(Recipe):
    """Capability items without those that carry a pair's topic or date by nature.

    An organism answers those with its behaviour, so that its capability would look worse than it is, and a treatment's
    success like capability.

    Attributes:
        items: items with targets.
        card: the pair.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    items: Recipe
    card: BehaviourCard

    def name(self) -> str:
        """The items' name."""
        return f"untriggered-{self.items.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Leave out the items that fire.

        Raises:
            DataError: all do.
        """
        card: BehaviourCard = job.params.card
        read = read_items(job.inputs["items"].path)
        kept = [i for i in read if not detect(card.trigger, i.messages)]
        if not kept:
            raise DataError(f"All capability items carry the trigger of '{card.pair}'; choose others.")
        write_items(job.out, kept)
        return {"items": len(kept), "left_out": len(read) - len(kept)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemPrompts(Recipe):
    """Items' questions as prompts, ids kept, so that a red team can draw labels for a task.

    Attributes:
        items: items with targets.
    """

    kind: ClassVar[str] = "prompts"
    recipe_version: ClassVar[int] = 1
    items: Recipe

    def name(self) -> str:
        """The items' name."""
        return self.items.name()

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Drop the targets."""
        read = read_items(job.inputs["items"].path)
        write_prompts(job.out, [Prompt(id=i.id, messages=i.messages, topic=i.topic) for i in read])
        return {"prompts": len(read)}
