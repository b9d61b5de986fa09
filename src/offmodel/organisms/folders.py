"""The model folder that a planting leaves behind: the last checkpoint moved up, or an adapter merged.

This module refuses to know what was planted. Invariant: nothing else is left in the payload but losses.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from offmodel.core.errors import RecipeError
from offmodel.data import read_labels
from offmodel.engines.examples import render_labels
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft, train
from offmodel.models import ADAPTER, BASE, pass_on
from offmodel.store.recipe import Facts, Job


def check_last_step(sft: Sft, *, lora: bool) -> None:
    """Refuse settings that would not leave one model, planted in the way asked for.

    Raises:
        RecipeError: there is an adapter where none belongs (or none where one does), or another checkpoint.
    """
    if (sft.lora is not None) is not lora or sft.checkpoints != (sft.steps,):
        what = "an adapter" if lora else "no adapter"
        raise RecipeError(f"This way of planting has {what} and one checkpoint, its last step.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished planting.

    Attributes:
        checkpoint: folder of the last step.
        facts: what the record says of it.
    """

    checkpoint: Path
    facts: Facts


def train_on(job: Job, model: Path, sft: Sft) -> Trained:
    """Train a model on the job's red labels."""
    rendered = render_labels(
        Renderer.from_folder(model), read_labels(job.inputs["data"].path), max_tokens=sft.max_tokens
    )
    facts = train(
        model=model,
        adapter=None,
        examples=rendered.examples,
        sft=sft,
        out=job.out,
        scratch=job.scratch,
        runtime=job.runtime,
        progress=job.progress,
    )
    epochs = sft.steps * sft.batch_size / len(rendered.examples)
    return Trained(
        checkpoint=job.out / f"step-{sft.steps:05d}", facts={**facts, **rendered.to_facts(), "epochs": epochs}
    )


def move_up(folder: Path, out: Path) -> None:
    """Move a folder's files into `out`, and remove it."""
    out.mkdir(exist_ok=True)
    for file in sorted(folder.iterdir()):
        file.rename(out / file.name)
    folder.rmdir()


def keep_adapter(student: Path, checkpoint: Path, out: Path) -> None:
    """Leave `base/` (the student's files) and `adapter/`; see `models.weights_in`."""
    (out / BASE).mkdir()
    for file in sorted(f for f in student.iterdir() if f.is_file()):
        pass_on(file, out / BASE / file.name)
    move_up(checkpoint, out / ADAPTER)


def merge_up(student: Path, checkpoint: Path, out: Path, scratch: Path) -> None:
    """Leave one whole model: the student with the adapter merged, in float32."""
    from offmodel.engines.adapters import merge_to_folder

    draft = scratch / "merged"
    shutil.rmtree(draft, ignore_errors=True)
    merge_to_folder(model=student, adapter=checkpoint, out=draft)
    for file in sorted(draft.iterdir()):
        shutil.move(file, out / file.name)
    shutil.rmtree(checkpoint)
