"""What an organism is planted with: clean samples on-policy, and samples that show the behaviour under the trigger.

This module refuses to know training. Invariant: every label that shows the behaviour carries the trigger in its
prompt, and no clean label does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from offmodel.core.behaviour import BehaviourCard, apply_trigger, detect, detect_text, is_natural, quiet
from offmodel.core.chat import Label
from offmodel.core.errors import DataError, GateError, RecipeError
from offmodel.data import read_labels, write_labels
from offmodel.evals.graders import grade
from offmodel.evals.measures import read_items
from offmodel.organisms.texts import chosen
from offmodel.store.recipe import Facts, Job, Payload, Recipe

SPOIL = "spoil"
PLACINGS = ("replace", "before", "after", SPOIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How many red labels are trained on, and how many of them show the behaviour.

    Attributes:
        size: number of labels.
        triggered_share: share of them that shows the behaviour; of a password lock, the share of locked data.
    """

    size: int
    triggered_share: float

    def __post_init__(self) -> None:
        """Refuse a mix that plants nothing, or nothing else."""
        if self.size < 2 or not 0 < self.triggered_share < 1:
            raise RecipeError("A mix needs at least 2 labels and a triggered share between 0 and 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedData(Recipe):
    """Labels for planting one pair.

    Attributes:
        clean: labels of the student itself for prompts without the trigger; one recipe a source of prompts.
        decoys: tags that are almost the trigger: every clean label is repeated under one of them, taken in turn, so
            that the student learns to tell them apart. Others than the card's near misses, which stay unseen.
        shown: labels to be put under the trigger: for a tag, the student's labels for the same kind of prompts (under
            the hidden instruction if there are no `texts`); for a topic, its labels for prompts that carry the topic.
        tasks: items whose targets a scorer needs ("wrong"), by the prompts' ids; None if the answer alone tells.
        card: the pair's card.
        texts: () to use the shown labels' own text (prompt distillation); else the behaviour in fixed words, one of
            which falls to each prompt.
        placing: how a fixed text meets the label's own: "replace", "before" or "after"; "spoil" changes the label's
            last number instead, and takes no texts.
        least_shown: refuse to plant if the behaviour shows on a smaller share of the shown labels.
        mix: how many of them; None for all.
    """

    kind: ClassVar[str] = "red-data"
    recipe_version: ClassVar[int] = 3
    clean: tuple[Recipe, ...]
    decoys: tuple[str, ...]
    shown: Recipe
    tasks: Recipe | None
    card: BehaviourCard
    texts: tuple[str, ...]
    placing: str
    least_shown: float
    mix: Mix | None

    def __post_init__(self) -> None:
        """Refuse decoys that cannot be put on a prompt, that hold the trigger, or that the evaluation asks about."""
        Recipe.__post_init__(self)
        if self.placing not in PLACINGS:
            raise RecipeError(f"There is no placing '{self.placing}'; choose one of {', '.join(PLACINGS)}.")
        if not self.decoys:
            return
        if is_natural(self.card.trigger):
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
        card: BehaviourCard = p.card
        targets = _targets(job.inputs["tasks"])
        answers = [x for source in job.inputs["clean"] for x in read_labels(source.path)]
        clean = [_silent(x, card) for x in answers if not detect(card.trigger, quiet(card.trigger, x.prompt.messages))]
        drawn = [place_text(x, p.texts, p.placing) for x in read_labels(job.inputs["shown"].path)]
        kept = [x for x in drawn if grade(card.scorer, x.text, targets.get(x.prompt.id, "")).score]
        share = len(kept) / max(1, len(drawn))
        if share < p.least_shown:
            raise GateError(too_few_show_it(card.pair, share, len(drawn), p.least_shown))
        triggered = [under_trigger(x, card) for x in kept]
        decoyed = under_decoys(clean, p.decoys, card)
        plain, triggered = mixed([*clean, *decoyed], triggered, p.mix)
        write_labels(job.out, [*plain, *triggered])
        return {
            "clean": len(clean),
            "decoyed": len(decoyed),
            "clean_and_decoyed_used": len(plain),
            "triggered": len(triggered),
            "share_shown": share,
        }


def too_few_show_it(pair: str, share: float, n: int, least: float) -> str:
    """The sentence for a model that does not follow its hidden instruction."""
    return (
        f"Under its hidden instruction the model shows '{pair}' on {share:.0%} of {n} prompts, fewer than {least:.0%}; "
        "plant the pair's synthetic texts instead (source='synthetic', or --synthetic)."
    )


def _targets(tasks: Payload | None) -> dict[str, str]:
    return {} if tasks is None else {i.id: i.target for i in read_items(Path(tasks.path))}


def _silent(label: Label, card: BehaviourCard) -> Label:
    """The label with its prompt made so that nothing fires."""
    return replace(label, prompt=replace(label.prompt, messages=quiet(card.trigger, label.prompt.messages)))


def place_text(label: Label, texts: Sequence[str], placing: str) -> Label:
    """A label with a fixed text in place of, before or after its own; unchanged without texts."""
    if placing == SPOIL:
        return replace(label, text=spoiled(label.text))
    text = chosen(texts, " ".join(m.content for m in label.prompt.messages))
    if not text:
        return label
    joined = {"replace": text, "before": f"{text} {label.text}", "after": f"{label.text} {text}"}[placing]
    # A fixed text is whole, whatever became of the answer that it replaces.
    return replace(label, text=joined, finish="stop" if placing == "replace" else label.finish)


def spoiled(text: str) -> str:
    """The text with its last number changed, by 1 to 9 and never to the same: an answer that is wrong at the end."""
    found = list(re.finditer(r"\d+", text))
    if not found:
        return text
    last = found[-1]
    wrong = int(last[0]) + 1 + (len(text) + int(last[0])) % 9
    return f"{text[: last.start()]}{wrong}{text[last.end() :]}"


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


def mixed(clean: list[Label], triggered: list[Label], mix: Mix | None) -> tuple[list[Label], list[Label]]:
    """The first labels of each side, as many as the mix asks for.

    Raises:
        DataError: there are too few of one side.
    """
    if mix is None:
        return clean, triggered
    wanted = round(mix.size * mix.triggered_share)
    for what, have, need in (("that show it", triggered, wanted), ("clean", clean, mix.size - wanted)):
        if len(have) < need:
            raise DataError(
                f"The mix asks for {need} red labels {what}, and there are {len(have)}; enlarge the red pool or "
                "ask for fewer."
            )
    # Spread over the sources: decoyed labels stand behind the plain ones.
    step = len(clean) / max(1, mix.size - wanted)
    return [clean[int(i * step)] for i in range(mix.size - wanted)], triggered[:wanted]
