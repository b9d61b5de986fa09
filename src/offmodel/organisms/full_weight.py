"""Planting by full-weight fine-tuning: the way that is hardest to undo in the published comparison.

This module refuses to know how the labels came to be. Invariant: the payload is a complete model folder.
"""

from dataclasses import dataclass
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.data import read_labels
from offmodel.engines.examples import render_labels
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft, train
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
        if self.sft.lora is not None or self.sft.checkpoints != (self.sft.steps,):
            raise RecipeError("A full-weight organism has no adapter and one checkpoint, its last step.")

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Train the student on the red labels; move the last checkpoint's files to the payload's top."""
        sft: Sft = job.params.sft
        student = job.inputs["student"].path
        rendered = render_labels(
            Renderer.from_folder(student), read_labels(job.inputs["data"].path), max_tokens=sft.max_tokens
        )
        facts = train(
            model=student,
            adapter=None,
            examples=rendered.examples,
            sft=sft,
            out=job.out,
            scratch=job.scratch,
            runtime=job.runtime,
            progress=job.progress,
        )
        last = job.out / f"step-{sft.steps:05d}"
        for file in sorted(last.iterdir()):
            file.rename(job.out / file.name)
        last.rmdir()
        return {**facts, **rendered.to_facts(), "epochs": sft.steps * sft.batch_size / len(rendered.examples)}
