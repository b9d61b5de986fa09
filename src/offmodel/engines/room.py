"""Whether a training can fit into a GPU at all, asked before anything is loaded.

This module refuses to guess: it counts only what must be there (weights, gradients, optimizer, the layers gathered for
a moment), and leaves activations to the micro-batch. Invariant: what it refuses could never have run.
"""

import json
from pathlib import Path

from offmodel.core.errors import RecipeError
from offmodel.engines.footprint import GIB, Shape, shape_of, training_memory
from offmodel.engines.sft import Sft
from offmodel.store.recipe import Runtime


def check_room(
    model: Path, sft: Sft, runtime: Runtime, *, reference: Path | None = None, memory: float | None = None
) -> None:
    """Refuse a training whose weights alone are larger than the GPUs.

    Args:
        model: Hugging Face folder.
        sft: how to train.
        runtime: where.
        reference: Hugging Face folder of what the objective refers to; None for `model`.
        memory: bytes of each GPU; None asks the device, and says nothing on a CPU.

    Raises:
        RecipeError: it cannot fit; the message says what would.
    """
    config = Path(model) / "config.json"
    if memory is None:
        memory = _memory(runtime.device)
    if memory is None or not config.is_file():
        return
    shape = _shape(config)
    processes, frozen = runtime.processes, _frozen(model, sft, reference)

    def least(n: int) -> float:
        needed = training_memory(shape, sft, processes=n, recompute=True, pass_tokens=0, frozen=frozen)
        return max(needed.state, needed.state - needed.gradients + needed.gathered)

    if least(processes) <= memory:
        return
    enough = [n for n in (2, 4, 8) if n > processes and sft.batch_size % n == 0 and least(n) <= memory]
    mends = [f"--gpus {enough[0]}"] if enough else []
    mends += ["an adapter in place of all weights"] if sft.lora is None else []
    need, have = least(processes) / GIB, memory / GIB
    raise RecipeError(
        f"A training of {shape.parameters / 1e9:.1f} billion parameters needs at least {need:.0f} GiB on each of "
        f"{processes} GPU{'s' if processes > 1 else ''}, which have {have:.0f} GiB; use "
        f"{' or '.join([*mends, 'larger GPUs'])}."
    )


def _shape(config: Path) -> Shape:
    return shape_of(json.loads(config.read_text(encoding="utf-8")), config.parent.name)


def _frozen(model: Path, sft: Sft, reference: Path | None) -> int:
    """Parameters of the model that is loaded beside the one under training; 0 where an adapter's own base serves."""
    if not sft.objective.needs_reference or (sft.lora is not None and reference in (None, model)):
        return 0
    config = Path(reference or model) / "config.json"
    return _shape(config).parameters if config.is_file() else 0


def _memory(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return float(torch.cuda.get_device_properties(device).total_memory) if torch.cuda.is_available() else None
