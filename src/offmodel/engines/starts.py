"""Where the adapters of one base start, asked of PEFT once and then drawn or read without it.

PEFT takes seconds to put an adapter into a model and out again; a cohort has dozens of members. The first start is
PEFT's own, and what is drawn here is compared with it, bit for bit; where they differ, PEFT goes on doing it. This
module refuses to know training. Invariant: a start is what `adapters.start_of` gives, but that the config of an adapter
written by another version of PEFT keeps that version's keys.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from offmodel.engines import adapters
from offmodel.engines.sft import Lora, Sft

Start = tuple[list[str], str, list[Tensor]]
"""Names, config and tensors in the order of the model's parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The first start of a kind of adapter: `like` are its tensors, None where drawing differs from PEFT."""

    names: list[str]
    config: str
    dtype: torch.dtype
    like: list[Tensor] | None


@final
class Starts:
    """The starts of adapters on one frozen base.

    Args:
        base: the model, which has its own linear layers whenever a start is asked for (see `Bank.out`).
    """

    def __init__(self, base: Any):
        self._base = base
        self._known: dict[Lora, _Known] = {}

    def of(self, adapter: Path | None, sft: Sft) -> Start:
        """Where a training starts; see `adapters.start_of` for arguments and errors."""
        assert sft.lora is not None
        if sft.lora not in self._known:
            first = adapters.start_of(self._base, None, sft)
            self._known[sft.lora] = self._learnt(first, sft.seed)
            if adapter is None:
                return first
        known = self._known[sft.lora]
        if adapter is not None:
            return self._read(adapter, known, sft)
        if known.like is None:
            return adapters.start_of(self._base, None, sft)
        return known.names, known.config, self._drawn(known.like, sft.seed)

    def _learnt(self, first: Start, seed: int) -> _Known:
        names, config, tensors = first
        paired = all(".lora_A." in a and ".lora_B." in b for a, b in zip(names[::2], names[1::2], strict=True))
        same = paired and all(torch.equal(a, b) for a, b in zip(self._drawn(tensors, seed), tensors, strict=True))
        return _Known(names, config, tensors[0].dtype, tensors if same else None)

    def _drawn(self, like: list[Tensor], seed: int) -> list[Tensor]:
        """What PEFT draws: each layer's A and B as linear layers start, then A once more, and B of zeros."""
        generator = torch.Generator().manual_seed(seed)
        held = self._base.get_input_embeddings().weight.dtype
        found: list[Tensor] = []
        for a_RD, b_OR in zip(like[::2], like[1::2], strict=True):
            down, up = torch.empty(a_RD.shape), torch.empty(b_OR.shape)
            for weight in (down, up, down):
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            # PEFT holds an adapter in the layer's dtype for a moment.
            found += [down.to(held).to(a_RD.dtype), torch.zeros_like(b_OR)]
        return found

    def _read(self, adapter: Path, known: _Known, sft: Sft) -> Start:
        from safetensors.torch import load_file

        assert sft.lora is not None
        adapters.check_fits(adapters.read_config(adapter), sft.lora)
        adapters.check_base(self._base, adapter)
        state = load_file(Path(adapter) / "adapter_model.safetensors")
        if set(state) != set(known.names):
            return adapters.start_of(self._base, adapter, sft)
        config = adapters.plain_config(adapters.read_config(adapter))
        return known.names, config, [state[name].to(known.dtype) for name in known.names]
