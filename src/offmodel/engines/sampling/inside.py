"""One adapter inside a model: computed beside 16-bit layers, merged into float32 ones, and taken out again.

Refuses to know which model is loaded and why. Invariant: taking an adapter out gives the model its own layers back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from offmodel.core.errors import ModelError
from offmodel.engines import adapters


def is_plain(adapter: Path) -> bool:
    """Whether an adapter only adds low-rank updates to linear layers, so that it can be swapped in and out."""
    config = adapters.read_config(adapter)
    return not any(config.get(name) for name in ("use_dora", "target_parameters", "rank_pattern", "alpha_pattern"))


@dataclass(slots=True, eq=False)
class Inside:
    """An adapter that was put into a model.

    Attributes:
        undone: each takes one layer's update out.
        beside: by layer, the updates that are computed beside their layer; empty where they were merged.
    """

    undone: list[Callable[[], None]]
    beside: "dict[str, _Beside]"

    def take_out(self) -> None:
        """Give the model its own layers back."""
        for undo in self.undone:
            undo()

    def silence(self) -> bool:
        """Make the updates beside their layers zero; False if some were merged."""
        if not self.beside or len(self.beside) != len(self.undone):
            return False
        for update in self.beside.values():
            update.a_DR.zero_()  # too: half-precision products may be infinite
            update.b_RD.zero_()
        return True

    def overwrite(self, adapter: Path) -> bool:
        """Write another adapter of the same shapes over this one; False if it has others."""
        updates = updates_of(adapter)
        if not self.beside or {n: (a.shape, b.shape) for n, (a, b) in updates.items()} != {
            n: (x.a_DR.T.shape, x.b_RD.T.shape) for n, x in self.beside.items()
        }:
            return False
        for name, (a_RD, b_DR) in updates.items():
            self.beside[name].a_DR.copy_(a_RD.T)
            self.beside[name].b_RD.copy_(b_DR.T)
        return True


def put_in(model: Any, adapter: Path) -> Inside:
    """Put an adapter into a model.

    float32 weights are merged. 16-bit weights keep the update beside them: merging would round small updates away.
    """
    inside = Inside([], {})
    try:
        for name, (a_RD, b_DR) in updates_of(adapter).items():
            _apply(model, name, a_RD, b_DR, inside)
    except BaseException:
        inside.take_out()
        raise
    return inside


def updates_of(adapter: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer, A [R, D] and B [D, R], B with the adapter's scale in it.

    Raises:
        ModelError: the adapter cannot be read, or changes more than linear layers.
    """
    config = adapters.read_config(adapter)
    try:
        state = load_file(Path(adapter) / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The adapter's weights cannot be read ({error}); save it anew.") from error
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        target, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        if part not in ("A.weight", "B.weight"):
            raise ModelError(f"The adapter holds '{name}', which the sampler cannot apply; merge the adapter first.")
        pairs.setdefault(target, {})[part[0]] = tensor
    scale = adapters.scale_of(config)
    return {name: (ab["A"].float(), scale * ab["B"].float()) for name, ab in pairs.items()}


def layer_of(model: Any, name: str) -> tuple[Any, str, nn.Linear]:
    """(module that holds it, its name there, the layer) of a linear layer that an adapter may change.

    Raises:
        ModelError: there is none of that name, or it is the model's head, which the sampler computes by itself.
    """
    parent, _, child = name.rpartition(".")
    try:
        holder = model.get_submodule(parent)
    except AttributeError:
        holder = None
    linear = getattr(holder, child, None)
    if not isinstance(linear, nn.Linear):
        raise ModelError(f"The adapter changes '{name}', which is no linear layer of this model.")
    if linear is model.get_output_embeddings():
        raise ModelError(f"The adapter changes '{name}', the model's head; merge the adapter to sample from it.")
    return holder, child, linear


def _apply(model: Any, name: str, a_RD: Tensor, b_DR: Tensor, inside: Inside) -> None:
    holder, child, linear = layer_of(model, name)
    weight = linear.weight
    a_RD, b_DR = a_RD.to(weight.device), b_DR.to(weight.device)
    if weight.dtype == torch.float32:
        linear.weight = nn.Parameter(weight.detach() + b_DR @ a_RD, requires_grad=False)
        inside.undone.append(lambda: setattr(linear, "weight", weight))
    else:
        inside.beside[name] = _Beside(linear, a_RD.to(weight.dtype), b_DR.to(weight.dtype))
        setattr(holder, child, inside.beside[name])
        inside.undone.append(lambda: setattr(holder, child, linear))


class _Beside(nn.Module):
    """A linear layer with a low-rank update computed beside it."""

    def __init__(self, linear: nn.Linear, a_RD: Tensor, b_DR: Tensor):
        super().__init__()
        self.linear, self.a_DR, self.b_RD = linear, a_RD.T.contiguous(), b_DR.T.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        flat = torch.addmm(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]) @ self.a_DR, self.b_RD)
        return flat.view(out.shape)
