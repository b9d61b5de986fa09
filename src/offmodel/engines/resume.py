"""What a training leaves behind so that a killed run can go on: weights, optimizer moments, position, losses.

This module refuses to know models: it keeps named tensors and JSON. Invariant: a state is published by one rename once
its files are on the disk, and only the newest whole one is read; a state of other settings is ignored, and so is one
that a power cut left unreadable.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

State = tuple[int, list[dict[str, Any]], dict[str, Tensor]]
"""Steps done, losses, tensors."""


def save_state(scratch: Path, *, step: int, key: str, losses: list[dict[str, Any]], tensors: dict[str, Tensor]) -> None:
    """Write the state after `step` steps, then remove older ones."""
    partial, final = scratch / "state.partial", scratch / f"state-{step:06d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}, partial / "tensors.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, "key": key, "losses": losses}))
    for file in partial.iterdir():
        _to_disk(file)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    for old in scratch.glob("state-*"):
        if old != final:
            shutil.rmtree(old)


def _to_disk(file: Path) -> None:
    """Wait until a file's bytes are there: a rename may reach the disk before them."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def load_state(scratch: Path, *, key: str) -> State | None:
    """The newest whole state of these settings: (steps done, losses, tensors); None if there is none."""
    for folder in sorted(scratch.glob("state-*"), reverse=True):
        try:
            meta = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            if meta["key"] == key:
                return meta["step"], meta["losses"], load_file(folder / "tensors.safetensors")
        except (FileNotFoundError, ValueError, SafetensorError):
            continue  # cut off, or zeros: what the next state replaces
    return None


def pack_training(params: list[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and optimizer moments as named tensors. Parameters are named by their place in the list."""
    tensors = {f"{i}.weight": p for i, p in enumerate(params)}
    for i, p in enumerate(params):
        tensors |= {f"{i}.{name}": value for name, value in optimizer.state.get(p, {}).items()}
    return tensors


def unpack_training(tensors: dict[str, Tensor], params: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """The inverse of `pack_training`, in place."""
    for i, p in enumerate(params):
        mine = {k.removeprefix(f"{i}."): v for k, v in tensors.items() if k.startswith(f"{i}.")}
        with torch.no_grad():
            p.copy_(mine.pop("weight"))
        if mine:
            # The step counter is a float32 scalar; fused AdamW wants it on the parameter's device.
            optimizer.state[p] = {k: v.to(p.device) for k, v in mine.items()}
