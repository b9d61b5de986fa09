"""A checkpoint as a whole model folder, so that it can be sampled from or trained further as any other model.

This module refuses to know what the training was for. Invariant: the folder answers as base and checkpoint together do.
"""

import shutil
from dataclasses import dataclass
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.models import pass_on, weights_in
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointModel(Recipe):
    """The model of a checkpoint; an adapter is merged in float32, since 16-bit weights would round it away.

    Attributes:
        base: the model that was trained.
        training: a recipe whose payload holds the checkpoint's folder.
        step: the folder's number.
    """

    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    base: Recipe
    training: Recipe
    step: int

    def name(self) -> str:
        """The training with the step."""
        return f"{self.training.name()}-{self.step}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Merge the adapter, or link the full model's files."""
        folder = job.inputs["training"].path / f"step-{job.params.step:05d}"
        if not folder.is_dir():
            raise RecipeError(f"The training has no checkpoint at step {job.params.step}; add it to its checkpoints.")
        merged = (folder / "adapter_config.json").is_file()
        if merged:
            from offmodel.engines.adapters import merge_to_folder

            draft = job.scratch / "merged"
            shutil.rmtree(draft, ignore_errors=True)
            merge_to_folder(model=weights_in(job.inputs["base"].path)[0], adapter=folder, out=draft)
            folder = draft
        for file in sorted(folder.iterdir()):
            pass_on(file, job.out / file.name)
        return {"adapter_merged": merged}
