"""Some rows of a tensor, and rows at some places of a tensor, with gradients that are copies.

    T rows, N rows of which they are a part, X whatever a row holds

Autograd's own gradient of an indexing adds up, in case a row was taken twice. This module refuses to know what rows
are. Invariant: no place is named twice.
"""

from typing import Any, final

import torch
from torch import Tensor


@final
class Laid(torch.autograd.Function):
    """`apply(rows_TX, at_T, n)`: rows at their places among n, zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, rows_TX: Tensor, at_T: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(at_T)
        return rows_TX.new_zeros(n, *rows_TX.shape[1:]).index_copy_(0, at_T, rows_TX)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


@final
class Taken(torch.autograd.Function):
    """`apply(rows_NX, at_T)`: the rows from their places."""

    @staticmethod
    def forward(ctx: Any, rows_NX: Tensor, at_T: Tensor) -> Tensor:
        ctx.save_for_backward(at_T)
        ctx.n = len(rows_NX)
        return rows_NX.index_select(0, at_T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad, (at_T,) = grads[0], ctx.saved_tensors
        return grad.new_zeros(ctx.n, *grad.shape[1:]).index_copy_(0, at_T, grad), None
