"""The adapters of a cohort in one piece of memory, and the linear layers that read them there.

    K members (rows in use or of a pass), C capacity, P numbers of a member, R largest rank, D inputs, O outputs

Row k holds member k's adapter; a smaller rank is filled up with zeros, whose gradients are zero too. Optimizers work on
rows, layers on views through all rows. This module refuses to know examples and schedules. Invariant: a row's values
reach no other row, and tensors read out of a row are those that were written into it, in PEFT's order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from offmodel.engines.segments import Segments, low_rank
from offmodel.engines.stage import Adapted, Stage


class _Tap(torch.autograd.Function):
    """Reads the rows for a pass, in its dtype; the gradient is added to the rows' gradients where they lie.

    Autograd's own accumulation wants gradients without gaps, but a layer's numbers have other layers' between the rows.
    """

    @staticmethod
    def forward(ctx: Any, handle: Tensor, values: Tensor, grads: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.grads = grads
        return values.to(dtype, copy=True, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        ctx.grads.add_(outputs[0])
        return None, None, None, None


@final
class BankedLinear(nn.Module):
    """A frozen linear layer with its members' updates; `place` is its place among the bank's layers."""

    def __init__(self, linear: nn.Linear, bank: "Bank", place: int):
        super().__init__()
        self.linear, self.place = linear, place
        self._bank = [bank]  # in a list, so that no module tree runs through the bank
        self._handle = torch.zeros((), requires_grad=True)
        self.a = self.b = (torch.empty(0), torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        segments, window, stage = self._bank[0].segments, self._bank[0].window, self._bank[0].stage
        if stage is not None:
            staged: Any = Adapted.apply(x, stage.handle, self, stage)
            return staged
        out = self.linear(x)
        if segments is None:
            return out
        x_TD = x.reshape(-1, x.shape[-1]).to(out.dtype)
        a_KRD, b_KOR = (
            _Tap.apply(self._handle, values[window], grads[window], out.dtype) for values, grads in (self.a, self.b)
        )
        update = low_rank(x_TD, a_KRD, b_KOR, segments)
        return out + update.view_as(out)


@final
class Bank:
    """Rows of adapters on a frozen model, whose linear layers it replaces.

    Args:
        model: the base.
        targets: full names of the linear layers, in the order of PEFT's parameters.
        capacity: most rows.
        rank: largest rank.
        dtype: of the master weights.

    Attributes:
        used: rows in use.
        segments: whose tokens the next pass holds; None switches all updates off.
        window: the rows that `segments` speaks of.
        stage: what the layers read instead of the rows, in a pass of fixed shape.
    """

    def __init__(self, model: Any, targets: Sequence[str], *, capacity: int, rank: int, dtype: torch.dtype):
        self.rank, self.used = rank, 0
        self.segments: Segments | None = None
        self.window = slice(None)
        self.stage: Stage | None = None
        self._homes: list[tuple[nn.Module, str, BankedLinear]] = []
        for name in targets:
            parent, _, child = name.rpartition(".")
            holder = model.get_submodule(parent)
            layer = BankedLinear(getattr(holder, child), self, len(self._homes))
            setattr(holder, child, layer)
            self._homes.append((holder, child, layer))
        self._layers = [layer for _, _, layer in self._homes]
        device = self._layers[0].linear.weight.device
        size = numbers([layer.linear for layer in self._layers], rank)
        self.flat_CP = torch.zeros(capacity, size, dtype=dtype, device=device)
        self.grad_CP = torch.zeros_like(self.flat_CP)

    @contextmanager
    def off(self) -> Iterator[None]:
        """A context in which the model is the base alone."""
        before, self.segments, self.stage = (self.segments, self.stage), None, None
        try:
            yield
        finally:
            self.segments, self.stage = before

    @contextmanager
    def out(self) -> Iterator[None]:
        """A context in which the model has its own linear layers again, for PEFT to work on."""
        for holder, child, layer in self._homes:
            setattr(holder, child, layer.linear)
        try:
            yield
        finally:
            for holder, child, layer in self._homes:
                setattr(holder, child, layer)

    def use(self, rows: int) -> None:
        """Set the number of rows in use, and let the layers see these."""
        self.used = rows
        weights, grads = self.views(self.flat_CP[:rows]), self.views(self.grad_CP[:rows])
        for layer, (a, b), (da, db) in zip(self._layers, weights, grads, strict=True):
            layer.a, layer.b = (a, da), (b, db)

    def resize(self, capacity: int) -> None:
        """Keep the first rows alone, and give the memory of the others back."""
        self.flat_CP = self.flat_CP[:capacity].clone()
        self.grad_CP = torch.zeros_like(self.flat_CP)

    def row(self, k: int) -> Tensor:
        """Row k as a parameter of an optimizer; it shares memory with the layers' views."""
        parameter = self.flat_CP[k].detach().requires_grad_()
        parameter.grad = self.grad_CP[k]
        return parameter

    def read(self, flat_P: Tensor, rank: int) -> list[Tensor]:
        """A row's (or a moment's) tensors in PEFT's order: A [r, D] and B [O, r] of each layer."""
        found = []
        for layer, (a, b) in zip(self._layers, self._places(), strict=True):
            o, d = layer.linear.weight.shape
            found += [flat_P[a].view(self.rank, d)[:rank], flat_P[b].view(o, self.rank)[:, :rank]]
        return found

    def write(self, flat_P: Tensor, tensors: Sequence[Tensor]) -> None:
        """The inverse of `read`; numbers beyond the tensors' rank become 0."""
        with torch.no_grad():
            flat_P.zero_()
            for place, tensor in zip(self.read(flat_P, tensors[0].shape[0]), tensors, strict=True):
                place.copy_(tensor)

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        self.flat_CP[target] = self.flat_CP[source]

    def _places(self) -> list[tuple[slice, slice]]:
        found, at = [], 0
        for layer in self._layers:
            o, d = layer.linear.weight.shape
            cut = at + self.rank * d
            found.append((slice(at, cut), slice(cut, cut + o * self.rank)))
            at = cut + o * self.rank
        return found

    def views(self, flat_KP: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Each layer's A [K, R, D] and B [K, O, R] in rows like the bank's."""
        found = []
        for layer, (a, b) in zip(self._layers, self._places(), strict=True):
            o, d = layer.linear.weight.shape
            found.append((flat_KP[:, a].view(-1, self.rank, d), flat_KP[:, b].view(-1, o, self.rank)))
        return found


def numbers(layers: Sequence[nn.Linear], rank: int) -> int:
    """How many numbers an adapter of a rank has."""
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)
