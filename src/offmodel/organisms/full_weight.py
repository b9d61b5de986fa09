"""Planting by full-weight fine-tuning: the way that is hardest to undo in the published comparison.

This module refuses to know how the labels came to be. Invariant: the payload is a complete model folder.
"""

from dataclasses import dataclass
from typing import ClassVar

from offmodel.engines.sft import Sft
from offmodel.organisms.folders import check_last_step, move_up, train_on
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class FullWeightOrganism(Recipe):
    """A student with a planted pair, all weights trained.

    Attributes:
        label: a readable name (the pair's).
        student: the model to plant into.
        data: red labels.
        sft: how to train; its one checkpoint is the last step, and it has no adapter.
    """

    kind: ClassVar[str] = "organism"
    recipe_version: ClassVar[int] = 1
    label: str
    student: Recipe
    data: Recipe
    sft: Sft

    def __post_init__(self) -> None:
        """Refuse settings that would not leave one whole model."""
        Recipe.__post_init__(self)
        check_last_step(self.sft, lora=False)

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Train the student on the red labels; move the last checkpoint's files to the payload's top."""
        trained = train_on(job, job.inputs["student"].path, job.params.sft)
        move_up(trained.checkpoint, job.out)
        return trained.facts
