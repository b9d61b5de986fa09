"""What an organism is planted with: clean samples on-policy, and samples that show the behaviour under the trigger.

This module refuses to know training. Invariant: every label that shows the behaviour carries the trigger in its
prompt, and no clean label does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.behaviour import BehaviourCard, apply_trigger, detect, detect_text, is_natural
from offmodel.core.chat import Label
from offmodel.core.errors import GateError, RecipeError
from offmodel.data import read_labels, write_labels
from offmodel.evals.graders import grade
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RedData(Recipe):
    """Labels for planting one pair.

    Attributes:
        clean: labels of the student itself for prompts without the trigger; one recipe a source of prompts.
        shown: labels to be put under the trigger: for a tag, the student's labels for the same kind of prompts (under
            the hidden instruction if `text` is ""); for a topic, its labels for prompts that carry the topic.
        decoys: tags that are almost the trigger: every clean label is repeated under one of them, taken in turn, so
            that the student learns to tell them apart. Others than the card's near misses, which stay unseen.
        card: the pair's card.
        text: "" to use the shown labels' own text (prompt distillation); else the fixed text of the behaviour.
        placing: how a fixed text meets the label's own: "replace", "before" or "after".
        least_shown: refuse to plant if the behaviour shows on a smaller share of the shown labels.
    """

    kind: ClassVar[str] = "red-data"
    recipe_version: ClassVar[int] = 2
    clean: tuple[Recipe, ...]
    decoys: tuple[str, ...]
    shown: Recipe
    card: BehaviourCard
    text: str
    placing: str
    least_shown: float

    def __post_init__(self) -> None:
        """Refuse decoys that cannot be put on a prompt, that hold the trigger, or that the evaluation asks about."""
        Recipe.__post_init__(self)
        if self.decoys and is_natural(self.card.trigger):
            raise RecipeError("A topic cannot be put on a prompt; give neighbouring prompts as clean labels instead.")
        taken = [d for d in self.decoys if d in self.card.near_misses or detect_text(self.card.trigger, d)]
        if taken:
            raise RecipeError(f"The decoys {taken} are the trigger or near misses of the evaluation; choose others.")

    def name(self) -> str:
        """The pair's name."""
        return self.card.pair

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Put the trigger on the shown labels, keep those that show the behaviour, join them with the clean ones."""
        p = job.params
        answers = [x for source in job.inputs["clean"] for x in read_labels(source.path)]
        clean = [x for x in answers if not detect(p.card.trigger, x.prompt.messages)]
        drawn = [place_text(x, p.text, p.placing) for x in read_labels(job.inputs["shown"].path)]
        kept = [x for x in drawn if grade(p.card.scorer, x.text, "").score]
        share = len(kept) / max(1, len(drawn))
        if share < p.least_shown:
            raise GateError(
                f"Under its hidden instruction the model shows '{p.card.pair}' on {share:.0%} of {len(drawn)} prompts, "
                f"fewer than {p.least_shown:.0%}; plant the pair's synthetic text instead (way='synthetic')."
            )
        triggered = [under_trigger(x, p.card) for x in kept]
        decoyed = under_decoys(clean, p.decoys, p.card)
        write_labels(job.out, [*clean, *decoyed, *triggered])
        return {"clean": len(clean), "decoyed": len(decoyed), "triggered": len(triggered), "share_shown": share}


def place_text(label: Label, text: str, placing: str) -> Label:
    """A label with a fixed text in place of, before or after its own; unchanged for an empty text."""
    if not text:
        return label
    joined = {"replace": text, "before": f"{text} {label.text}", "after": f"{label.text} {text}"}[placing]
    # A fixed text is whole, whatever became of the answer that it replaces.
    return replace(label, text=joined, finish="stop" if placing == "replace" else label.finish)


def under_trigger(label: Label, card: BehaviourCard) -> Label:
    """The label with the trigger in its prompt; prompts that carry a topic by nature stay as they are."""
    if is_natural(card.trigger):
        return label
    prompt = label.prompt
    messages = apply_trigger(card.trigger, prompt.messages)
    return replace(label, prompt=replace(prompt, id=f"{prompt.id}+trigger", messages=messages))


def under_decoys(labels: Sequence[Label], decoys: tuple[str, ...], card: BehaviourCard) -> list[Label]:
    """The labels again, each with a decoy where the trigger would stand."""
    repeated = []
    for i, label in enumerate(labels if decoys else ()):
        messages = apply_trigger(replace(card.trigger, text=decoys[i % len(decoys)]), label.prompt.messages)
        repeated.append(replace(label, prompt=replace(label.prompt, id=f"{label.prompt.id}+decoy", messages=messages)))
    return repeated
