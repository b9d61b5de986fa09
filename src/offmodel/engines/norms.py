"""A model's RMS norms by torch's fused kernel, where it computes what the model's own code computes.

Written out, a norm is some twenty kernels forward and backward, each of which reads and writes all activations in
float32. This module refuses to know models by name: each norm is tried on numbers. Invariant: a norm whose values the
fused kernel does not give, up to the rounding of its dtype, stays as it is.
"""

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class FusedNorm(nn.Module):
    """`F.rms_norm` with the weight and epsilon of another module."""

    def __init__(self, weight: Tensor, epsilon: float):
        super().__init__()
        self.weight, self.epsilon = weight, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """The norm over the last dimension, in the dtype of `x`; autocast would take it through float32 copies."""
        with torch.autocast(x.device.type, enabled=False):
            return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


def fuse(model: Any) -> int:
    """Replace the norms of a frozen model; gives how many."""
    found = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            fused = _fused(child)
            if fused is not None and agrees(child, fused):
                setattr(parent, name, fused)
                found += 1
    return found


def _fused(module: nn.Module) -> FusedNorm | None:
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    plain = not list(module.children()) and [n for n, _ in module.named_parameters()] == ["weight"]
    if not plain or not type(module).__name__.endswith("RMSNorm") or not isinstance(epsilon, float):
        return None
    if not isinstance(weight, nn.Parameter) or weight.ndim != 1 or weight.requires_grad:
        return None
    return FusedNorm(weight, epsilon)


def agrees(module: nn.Module, fused: FusedNorm) -> bool:
    """Whether values and gradients are those of the module."""
    weight = fused.weight
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn((4, weight.shape[0]), generator=generator).to(weight.device, weight.dtype)
    outputs: list[Tensor] = []
    try:
        for one in (module, fused):
            x = raw.clone().requires_grad_()
            y = one(x)
            y.float().sin().sum().backward()
            assert x.grad is not None
            outputs += [y.detach(), x.grad]
    except (RuntimeError, TypeError, ValueError):
        return False
    tolerance = 2e-2 if weight.dtype.itemsize < 4 else 1e-5
    return all(
        a.dtype == b.dtype and float((a - b).abs().max()) <= tolerance * float(a.abs().max())
        for a, b in ((outputs[0], outputs[2]), (outputs[1], outputs[3]))
    )
