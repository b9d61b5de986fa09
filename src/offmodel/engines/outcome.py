"""What a training leaves: checkpoints, losses and facts.

This module refuses to know how training goes. Adapters are written in PEFT's format and models in Hugging Face's, so
that other tools load both unchanged. Invariant: a checkpoint's folder is whole or absent.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from offmodel.engines import adapters, folders
from offmodel.engines.forward import Trainee
from offmodel.engines.sft import Sft
from offmodel.store.recipe import Facts


def checkpoint_path(scratch: Path, step: int) -> Path:
    """Where a checkpoint lies until the training is done."""
    return scratch / "checkpoints" / f"step-{step:05d}"


def save_checkpoint(trainee: Trainee, source: Path, scratch: Path, sft: Sft, step: int) -> None:
    """Write a checkpoint, by one rename."""
    final = checkpoint_path(scratch, step)
    partial = final.with_suffix(".partial")
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    if sft.lora is None:
        folders.save_model(trainee.model, source=source, out=partial, dtype=trainee.compute)
    else:
        adapters.save_adapter(trainee.model, partial)
    partial.rename(final)


def publish(scratch: Path, out: Path, losses: list[dict[str, Any]], checkpoints: tuple[int, ...]) -> None:
    """Move the checkpoints to their place and write the losses."""
    out.mkdir(parents=True, exist_ok=True)
    for step in sorted(set(checkpoints)):
        shutil.move(checkpoint_path(scratch, step), out / f"step-{step:05d}")
    (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    shutil.rmtree(scratch / "checkpoints", ignore_errors=True)


def counts_of(sft: Sft, *, kept: int, of: int) -> Facts:
    """How the examples were used."""
    return {"examples": kept, "dropped_overlong": of - kept, "epochs": sft.steps * sft.batch_size / kept}


def facts_of(trainee: Trainee, sft: Sft, losses: list[dict[str, Any]]) -> Facts:
    """What a training tells about itself."""
    mixture = folders.is_mixture(trainee.model)
    facts: Facts = {
        "trained_tokens": sum(r["tokens"] for r in losses),
        "parameters_trained": sum(p.numel() for p in trainee.params),
        "layout": trainee.layout,
        "master_dtype": "float32",
        "compute_dtype": sft.compute_dtype,
        "saved_dtype": "float32" if sft.lora else sft.compute_dtype,
        "final_loss": losses[-1]["loss"] if losses else None,
    }
    if mixture:
        facts["router_auxiliary_loss"] = False
        facts["experts_trained"] = adapters.trains_experts(trainee.model)
    if trainee.device.startswith("cuda"):
        facts["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(trainee.device) / 2**30, 2)
    return facts
