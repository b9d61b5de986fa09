"""Sharded states and checkpoints on disk: each process writes and reads its own part.

States go through torch.distributed.checkpoint in safetensors files, so nothing is unpickled, and another number of
processes can read them. This module refuses to know steps and losses beyond their JSON. Invariant: a state or a
checkpoint is whole or absent, since its folder is renamed after every process has written.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from offmodel.core.errors import ModelError, RecipeError
from offmodel.engines import adapters, folders
from offmodel.engines.outcome import checkpoint_path
from offmodel.engines.sft import Sft
from offmodel.engines.sharded.model import Whole, plain_name
from offmodel.engines.sharded.stored import SHARD_BYTES, Shards, Stored, finish

STATES = "sharded-state-"
_MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}


def check_optimizer(sft: Sft) -> None:
    """Refuse an optimizer whose state is not cut like its weights.

    Raises:
        RecipeError: it is such an optimizer.
    """
    if sft.optimizer not in _MOMENTS:
        raise RecipeError(
            f"The optimizer '{sft.optimizer}' cannot train over several processes; use adamw or sgd, or one process."
        )


def trained(whole: Whole) -> dict[str, Tensor]:
    """The parameters under training by name, each the part of this process."""
    return {name: p for name, p in whole.model.named_parameters() if p.requires_grad}


def save_state(
    whole: Whole, optimizer: torch.optim.Optimizer, scratch: Path, *, step: int, key: str, losses: list[dict[str, Any]]
) -> None:
    """Write the state after `step` steps, then remove older ones; all processes call it together."""
    partial, final = scratch / "sharded.partial", scratch / f"{STATES}{step:06d}"
    _fresh(partial)
    writer = HuggingFaceStorageWriter(str(partial), save_distributed=True)
    save(dict(_tensors(whole, optimizer)), storage_writer=writer)
    dist.barrier()
    if dist.get_rank() == 0:
        (partial / "state.json").write_text(
            json.dumps({"step": step, "key": key, "model": _shapes(whole), "losses": losses})
        )
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in scratch.glob(f"{STATES}*"):
            if old != final:
                shutil.rmtree(old)
    dist.barrier()


def load_state(
    whole: Whole, optimizer: torch.optim.Optimizer, scratch: Path, *, key: str, sft: Sft
) -> tuple[int, list[dict[str, Any]]]:
    """Put the newest state of these settings into model and optimizer: (steps done, losses); (0, []) without one.

    Raises:
        ModelError: the state is of a model of other shapes.
    """
    for folder in sorted(scratch.glob(f"{STATES}*"), reverse=True):
        meta = json.loads((folder / "state.json").read_text())
        wanted = (s for s in sft.checkpoints if s <= meta["step"])
        if meta["key"] != key or not all(checkpoint_path(scratch, s).exists() for s in wanted):
            continue
        if meta["model"] != _shapes(whole):
            raise ModelError(
                f"The state in {folder} is of another model than this one; delete that folder to begin anew."
            )
        for p in trained(whole).values():
            moments = {name: torch.zeros_like(p, requires_grad=False) for name in _moments(sft)}
            if sft.optimizer == "adamw":
                moments["step"] = torch.tensor(float(meta["step"]), device=p.device)
            optimizer.state[p] = moments
        with torch.no_grad():
            load(_tensors(whole, optimizer), storage_reader=HuggingFaceStorageReader(str(folder)))
        return meta["step"], meta["losses"]
    return 0, []


def _shapes(whole: Whole) -> str:
    """What tells models of another shape apart."""
    text = json.dumps({name: list(p.shape) for name, p in trained(whole).items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _moments(sft: Sft) -> tuple[str, ...]:
    return () if sft.optimizer == "sgd" and not sft.beta1 else _MOMENTS[sft.optimizer]


def _tensors(whole: Whole, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Weights and moments by name. The step counter is not among them: the state's own step says it."""
    found: dict[str, Any] = {}
    for name, p in trained(whole).items():
        found[f"{name}#weight"] = p.detach()
        state = optimizer.state.get(p, {})
        found |= {f"{name}#{what}": v for what, v in state.items() if isinstance(v, Tensor) and v.ndim}
    return found


def save_checkpoint(whole: Whole, source: Path, scratch: Path, sft: Sft, step: int) -> None:
    """Write a checkpoint as one device would: an adapter, or a model in several files; all processes call it."""
    final = checkpoint_path(scratch, step)
    partial = final.with_suffix(".partial")
    _fresh(partial)
    if sft.lora is None:
        _save_model(whole, source, partial, folders.dtype_of(sft.compute_dtype))
    else:
        full = {name: _gathered(p) for name, p in trained(whole).items()}
        if dist.get_rank() == 0:
            partial.rmdir()
            adapters.save_adapter(whole.model, partial, full)
    dist.barrier()
    if dist.get_rank() == 0:
        if sft.lora is None:
            finish(partial, source, folders.dtype_of(sft.compute_dtype))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    dist.barrier()


def _save_model(whole: Whole, source: Path, out: Path, dtype: torch.dtype) -> None:
    """Gather one parameter at a time; the files fall to the processes in turn, so each holds one file's at most."""
    stored, shards = Stored(source), Shards(out, dtype, {})
    number, size = 0, 0
    for name, param in whole.model.named_parameters():
        taken = param.numel() * dtype.itemsize
        if size and size + taken > SHARD_BYTES:
            shards.flush(number)
            number, size = number + 1, 0
        tensor = _gathered(param)
        if number % dist.get_world_size() == dist.get_rank():
            for part, value in stored.parts_of(plain_name(name), tensor):
                shards.add(part, value)
        size += taken
    shards.flush(number)


@torch.no_grad()
def _gathered(param: Any) -> Tensor:
    return param.full_tensor()


def _fresh(folder: Path) -> None:
    if dist.get_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    dist.barrier()
