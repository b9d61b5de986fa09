"""Labels under a hidden instruction, mended where the model did not follow it.

A small model shows some behaviours on half of its prompts only. Where its own words show the behaviour they are kept;
elsewhere one of the pair's fixed texts meets its plain answer. RED. This module refuses to know triggers and training.
Invariant: one label a prompt, in order, and the record says how many the model showed by itself.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from offmodel.core.behaviour import BehaviourCard
from offmodel.core.errors import DataError, RecipeError
from offmodel.data import read_labels, write_labels
from offmodel.evals.graders import grade
from offmodel.organisms.red_data import place_text
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class MendedLabels(Recipe):
    """Labels that show a behaviour, in the model's own words where it has them.

    Attributes:
        shown: labels under the hidden instruction.
        plain: the same author's labels for the same prompts without it.
        card: the pair's card; its scorer decides which labels show the behaviour.
        texts: the behaviour in fixed words.
        placing: how a fixed text meets the plain answer: "replace" it, or stand "before" or "after" it.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 2  # 2: a loop of a few words has no language
    on_device: ClassVar[bool] = False
    shown: Recipe
    plain: Recipe
    card: BehaviourCard
    texts: tuple[str, ...]
    placing: str

    def __post_init__(self) -> None:
        """Refuse to mend with nothing."""
        Recipe.__post_init__(self)
        if not self.texts:
            raise RecipeError(f"The pair '{self.card.pair}' has no synthetic texts; plant it with source='distil'.")

    def name(self) -> str:
        """The pair's name."""
        return f"mended-{self.card.pair}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Keep what shows the behaviour, mend the rest."""
        p = job.params
        shown, plain = (read_labels(job.inputs[name].path) for name in ("shown", "plain"))
        if [x.prompt for x in shown] != [x.prompt for x in plain]:
            raise DataError("The labels to be mended and the plain ones are not of the same prompts; draw both anew.")
        own = [bool(grade(p.card.scorer, x.text, "").score) and x.finish == "stop" for x in shown]
        mended = [
            x if kept else place_text(replace(y, author=x.author), p.texts, p.placing)
            for x, y, kept in zip(shown, plain, own, strict=True)
        ]
        write_labels(job.out, mended)
        return {"labels": len(mended), "share_shown": sum(own) / max(1, len(own))}
