"""Items asked in another frame: under a system prompt, or with a tag of the blue team's own.

For methods whose checkpoints answer differently under a prompt that they were trained with, and for behaviours that a
blue team planted itself and may therefore look at. This module refuses to know triggers. Invariant: an item keeps its
id, so that its score is compared with the same item's score without the frame.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.chat import Message
from offmodel.data import read_prompts
from offmodel.engines.labels import shown_to_author
from offmodel.evals.measures import Item, read_items, write_items
from offmodel.store.recipe import Facts, Job, Recipe

KNOWN = "known_behaviour"
"""Name of the measure of a behaviour that the blue team planted itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemItems(Recipe):
    """Items under a system prompt.

    Attributes:
        items: the items.
        system: the system prompt; before the item's own, if it has one.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    items: Recipe
    system: str

    def name(self) -> str:
        """The items' name."""
        return f"{self.items.name()}-framed"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the system prompt before each item's conversation."""
        found = read_items(job.inputs["items"].path)
        write_items(job.out, [replace(i, messages=shown_to_author(i.messages, job.params.system, ())) for i in found])
        return {"items": len(found)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeItems(Recipe):
    """Prompts with a tag of the blue team's own; the target is what an answer says that shows its own behaviour.

    Attributes:
        prompts: clean prompts.
        tag: stands before each prompt's text.
        text: the target.
    """

    kind: ClassVar[str] = "items"
    recipe_version: ClassVar[int] = 1
    prompts: Recipe
    tag: str
    text: str

    def name(self) -> str:
        """The pool's name."""
        return f"probe-{self.prompts.name()}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the tag before each prompt."""
        p = job.params
        items = []
        for prompt in read_prompts(job.inputs["prompts"].path):
            *before, last = prompt.messages
            asked = (*before, Message(last.role, f"{p.tag} {last.content}"))
            items.append(Item(id=prompt.id, messages=asked, target=p.text, topic=prompt.topic))
        write_items(job.out, items)
        return {"items": len(items)}
