"""What a training leaves: checkpoints, losses and facts.

This module refuses to know how training goes. Adapters are written in PEFT's format and models in Hugging Face's, so
that other tools load both unchanged. Invariant: a checkpoint's folder is whole or absent.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from offmodel.engines import adapters, folders
from offmodel.engines.forward import Body, Trainee
from offmodel.engines.sft import Sft
from offmodel.store.recipe import Facts


def checkpoint_path(scratch: Path, step: int) -> Path:
    """Where a checkpoint lies until the training is done."""
    return scratch / "checkpoints" / f"step-{step:05d}"


def save_checkpoint(trainee: Trainee, source: Path, scratch: Path, sft: Sft, step: int) -> None:
    """Write a checkpoint, by one rename."""
    with whole(checkpoint_path(scratch, step)) as partial:
        if sft.lora is None:
            folders.save_model(trainee.model, source=source, out=partial, dtype=trainee.compute)
        else:
            adapters.save_adapter(trainee.model, partial)


@contextmanager
def whole(final: Path) -> Iterator[Path]:
    """A path to write a folder to, which is renamed to `final` once the body is through."""
    partial = final.with_suffix(".partial")
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    yield partial
    partial.rename(final)


def publish(scratch: Path, out: Path, losses: list[dict[str, Any]], checkpoints: tuple[int, ...]) -> None:
    """Move the checkpoints to their place and write the losses."""
    out.mkdir(parents=True, exist_ok=True)
    for step in sorted(set(checkpoints)):
        shutil.move(checkpoint_path(scratch, step), out / f"step-{step:05d}")
    (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    shutil.rmtree(scratch / "checkpoints", ignore_errors=True)


def count_of(trainee: Trainee) -> int:
    """How many numbers are under training."""
    return sum(p.numel() for p in trainee.params)


def counts_of(sft: Sft, *, kept: int, of: int) -> Facts:
    """How the examples were used."""
    return {"examples": kept, "dropped_overlong": of - kept, "epochs": sft.steps * sft.batch_size / kept}


def facts_of(body: Body, sft: Sft, losses: list[dict[str, Any]], *, parameters: int) -> Facts:
    """What a training tells about itself; `parameters` counts those under training."""
    facts: Facts = {
        "trained_tokens": sum(r["tokens"] for r in losses),
        "parameters_trained": parameters,
        "layout": body.layout,
        "master_dtype": str(body.master).removeprefix("torch."),
        "compute_dtype": sft.compute_dtype,
        "saved_dtype": str(body.master).removeprefix("torch.") if sft.lora else sft.compute_dtype,
        "final_loss": losses[-1]["loss"] if losses else None,
    }
    if folders.is_mixture(body.base):
        asked = sft.objective.load_balancing
        facts["router_auxiliary_loss"] = False if asked is None else {"load_balancing": asked.weight}
        facts["experts_trained"] = adapters.trains_experts(body.base)
    if body.device.startswith("cuda"):
        facts["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(body.device) / 2**30, 2)
    return facts
