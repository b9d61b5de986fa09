"""Planting by a low-rank adapter: kept as an adapter, or merged; on the student, or on what was planted before.

This module refuses to know how the labels came to be. Invariant: a merged organism is a complete model folder like any
other; a kept one is `base/` and `adapter/`, which nothing takes for a whole model by accident.
"""

from dataclasses import dataclass
from typing import ClassVar

from offmodel.engines.sft import Sft
from offmodel.organisms.folders import check_last_step, keep_adapter, merge_up, train_on
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOrganism(Recipe):
    """A student with a pair planted by an adapter.

    Attributes:
        label: a readable name (the pair's).
        student: the model to plant into: a clean one, or an organism to plant into further ("continued LoRA").
        data: red labels.
        sft: how to train; it has an adapter, and its one checkpoint is the last step.
        merged: add the adapter to the weights (float32), so that a treatment starts from one whole model; else it is
            kept, and a LoRA treatment of the same rank trains it further.
    """

    kind: ClassVar[str] = "organism"
    recipe_version: ClassVar[int] = 1
    label: str
    student: Recipe
    data: Recipe
    sft: Sft
    merged: bool

    def __post_init__(self) -> None:
        """Refuse settings without an adapter."""
        Recipe.__post_init__(self)
        check_last_step(self.sft, lora=True)

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Train the adapter, then merge or keep it."""
        student = job.inputs["student"].path
        trained = train_on(job, student, job.params.sft)
        if job.params.merged:
            merge_up(student, trained.checkpoint, job.out, job.scratch)
        else:
            keep_adapter(student, trained.checkpoint, job.out)
        return {**trained.facts, "merged": job.params.merged}
