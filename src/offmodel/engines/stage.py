"""A pass's own copy of the adapters that it needs, at addresses that stay the same, and how layers use it.

    T tokens, W members of a pass, C capacity of the bank, P numbers of a member, R rank, D inputs, O outputs

Frozen layer and update are one function with a backward pass of its own: no gradient is built that nobody reads, and
weights and gradients cross between the bank and the stage once a pass, not once a layer. Tokens stand sorted by member.
This module refuses to know examples. Invariant: a member's update and gradient depend on its own tokens alone.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from offmodel.engines.bank import Bank, BankedLinear

Way = Literal["loop", "grouped"]

# Numbers that cross between bank and stage at once; each crossing holds them in float32.
_CROSSING = 2**27


@final
class Stage:
    """Weights and gradients of the members of a pass.

    Args:
        bank: whose rows come here.
        members: W.
        dtype: of the pass.
        way: how several members' matrices multiply: "grouped" is torch's grouped product, whose offsets stay on the
            device; "loop" reads them and cannot be captured.

    Attributes:
        ends_W: int32, where each member's tokens end; the last end is the number of tokens.
        scale_T1: each token's alpha / rank.
        handle: requires a gradient and gets none: it leads autograd to layers whose input is the frozen embedding.
    """

    def __init__(self, bank: "Bank", members: int, dtype: torch.dtype, way: Way):
        self.members, self.way = members, way
        shape = (members, bank.flat_CP.shape[1])
        self.weights_WP = torch.zeros(shape, dtype=dtype, device=bank.flat_CP.device)
        self.grads_WP = torch.zeros_like(self.weights_WP)
        self.weights, self.grads = bank.views(self.weights_WP), bank.views(self.grads_WP)
        self.handle = torch.zeros((), requires_grad=True)
        self.ends_W: Tensor | None = None
        self.scale_T1: Tensor | None = None

    def load(self, bank: "Bank", rows_W: Tensor) -> None:
        """Take the members' rows, and forget gradients."""
        # A leaf keeps the stream that it was first used on, and a capture must not wait for a stream outside of it.
        self.handle = torch.zeros((), requires_grad=True)
        for cut in self._cuts():
            rows = bank.flat_CP[:, cut] if bank.flat_CP.shape[0] == 1 else bank.flat_CP[:, cut].index_select(0, rows_W)
            self.weights_WP[:, cut].copy_(rows)
        self.grads_WP.zero_()

    def fold(self, bank: "Bank", rows_W: Tensor) -> None:
        """Add the gradients to those of the members' rows; a row may be named twice, the second time with zeros."""
        for cut in self._cuts():
            grads = self.grads_WP[:, cut].to(bank.grad_CP.dtype)
            if bank.grad_CP.shape[0] == 1:
                bank.grad_CP[:, cut].add_(grads)
            else:
                bank.grad_CP[:, cut].index_add_(0, rows_W, grads)

    def times(self, x_TI: Tensor, matrices_WIO: Tensor) -> Tensor:
        """Each token by its member's matrix, [T, O]."""
        if self.members == 1:
            return x_TI @ matrices_WIO[0]
        assert self.ends_W is not None
        if self.way == "grouped":
            return _grouped()(x_TI, matrices_WIO, offs=self.ends_W)
        return torch.cat([x_TI[cut] @ m for cut, m in zip(self._stretches(), matrices_WIO, strict=True)])

    def add_times(self, out_TO: Tensor, x_TI: Tensor, matrices_WIO: Tensor) -> None:
        """The same, added to what is there."""
        if self.members == 1:
            out_TO.addmm_(x_TI, matrices_WIO[0])
        else:
            out_TO.add_(self.times(x_TI, matrices_WIO))

    def add_outer(self, out_WOI: Tensor, left_TO: Tensor, right_TI: Tensor) -> None:
        """Add each member's left.T @ right."""
        if self.members == 1:
            out_WOI[0].addmm_(left_TO.T, right_TI)
        elif self.way == "grouped":
            out_WOI.add_(_grouped()(left_TO.T, right_TI, offs=self.ends_W))
        else:
            for out_OI, cut in zip(out_WOI, self._stretches(), strict=True):
                out_OI.addmm_(left_TO[cut].T, right_TI[cut])

    def _stretches(self) -> list[slice]:
        assert self.ends_W is not None
        ends = self.ends_W.tolist()
        return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def _cuts(self) -> list[slice]:
        size = self.weights_WP.shape[1]
        width = max(1, _CROSSING // self.members)
        return [slice(at, min(at + width, size)) for at in range(0, size, width)]


def _grouped() -> Any:
    return getattr(torch, "_grouped_mm")  # noqa: B009 -- torch does not export it yet


class Adapted(torch.autograd.Function):
    """A frozen linear layer with its members' updates; gradients by the updates go to the stage."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, handle: Tensor, layer: "BankedLinear", stage: Stage) -> Tensor:
        """The layer's output with updates; `handle` is the stage's."""
        assert stage.scale_T1 is not None
        linear = layer.linear
        a_WRD, b_WOR = stage.weights[layer.place]
        x_TD = x.reshape(-1, x.shape[-1]).to(linear.weight.dtype)
        out_TO = F.linear(x_TD, linear.weight, linear.bias)
        h_TR = stage.times(x_TD, a_WRD.transpose(1, 2)).mul_(stage.scale_T1)
        stage.add_times(out_TO, h_TR, b_WOR.transpose(1, 2))
        ctx.layer, ctx.stage, ctx.scale_T1, ctx.like = layer, stage, stage.scale_T1, (x.shape, x.dtype)
        ctx.save_for_backward(x_TD, h_TR)
        return out_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """The input's gradient alone; the others are added where they lie."""
        layer, stage, (shape, dtype) = ctx.layer, ctx.stage, ctx.like
        x_TD, h_TR = ctx.saved_tensors
        a_WRD, b_WOR = stage.weights[layer.place]
        da_WRD, db_WOR = stage.grads[layer.place]
        g_TO = outputs[0].reshape(-1, b_WOR.shape[1]).contiguous()
        dh_TR = stage.times(g_TO, b_WOR).mul_(ctx.scale_T1)
        stage.add_outer(db_WOR, g_TO, h_TR)
        stage.add_outer(da_WRD, dh_TR, x_TD)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None
        dx_TD = g_TO @ layer.linear.weight
        stage.add_times(dx_TD, dh_TR, a_WRD)
        return dx_TD.view(shape).to(dtype), None, None, None


@lru_cache(maxsize=8)
def grouped_works(device: str, dtype: torch.dtype) -> bool:
    """Whether grouped products of strided matrices equal loops on this machine, members without tokens included."""
    generator = torch.Generator().manual_seed(0)
    x_TD, flat_WP = (torch.randn(s, generator=generator).to(device, dtype) for s in ((80, 32), (4, 16 * 32 + 64)))
    a_WRD = flat_WP[:, : 16 * 32].view(4, 16, 32)
    ends = [13, 13, 53, 80]
    offs = torch.tensor(ends, dtype=torch.int32, device=device)
    cuts = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    try:
        h_TR = _grouped()(x_TD, a_WRD.transpose(1, 2), offs=offs)
        found = [h_TR, _grouped()(h_TR, a_WRD, offs=offs), _grouped()(h_TR.T, x_TD, offs=offs)]
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    expected = [
        torch.cat([x_TD[c] @ a.T for c, a in zip(cuts, a_WRD, strict=True)]),
        torch.cat([h_TR[c] @ a for c, a in zip(cuts, a_WRD, strict=True)]),
        torch.stack([h_TR[c].T @ x_TD[c] for c in cuts]),
    ]
    tolerance = 5e-2 if dtype.itemsize < 4 else 1e-4
    return all(
        float((a - b).abs().max()) <= tolerance * float(b.abs().max()) for a, b in zip(found, expected, strict=True)
    )
