"""A forward and backward pass of several members whose shapes and addresses never change, so that it can be captured.

    T tokens, N target positions, S sequences, W members, C rows of the bank

What is less than the shape is padded: tokens by sequences of their own, which belong to the last member and predict
nothing, and target positions by ones of weight 0. The pass runs on any device; capturing it is another module's part.
This module refuses to know steps and memory. Invariant: values and gradients are those of the pass without padding.
"""

import contextlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from offmodel.engines import fused_loss
from offmodel.engines.bank import Bank
from offmodel.engines.buckets import Shape
from offmodel.engines.forward import Body, chunk_of, hidden_at, send, weights_of
from offmodel.engines.losses import cross_entropy
from offmodel.engines.stage import Stage

if TYPE_CHECKING:
    from offmodel.engines.cohort_pass import Entry


# Without copies in float32, pieces may be larger in the same memory.
_FUSED_CHUNKS = 4


def need_of(part: Sequence["Entry"]) -> Shape:
    """What some sequences need at least."""
    return Shape(
        tokens=sum(len(e.example.ids) for e in part),
        targets=sum(int(e.example.mask[1:].sum()) for e in part),
        sequences=len(part),
        members=len({e.row for e in part}),
    )


@final
class StaticPass:
    """Buffers of one shape, and the pass over them.

    Args:
        body: the frozen base, in a packed layout.
        bank: the adapters.
        stage: for as many members as the shape has.
        shape: of the buffers.
        longest: tokens of the longest sequence that will come, padding included.
        sums_C: takes each row's loss.
    """

    def __init__(self, body: Body, bank: Bank, stage: Stage, shape: Shape, longest: int, sums_C: Tensor):
        self._body, self._bank, self._stage, self._sums_C = body, bank, stage, sums_C
        self.shape, self.longest = shape, min(longest, shape.tokens)
        head = body.head
        self.fused = head.softcap is None and fused_loss.works(body.device, head.weight_VD.dtype, len(head.weight_VD))
        self._sizes = {
            "ids": shape.tokens,
            "positions": shape.tokens,
            "at": shape.targets,
            "wanted": shape.targets,
            "bins": shape.targets,
            "rows": shape.members,
            "member_ends": shape.members,
            "sequence_ends": shape.sequences + 1,
        }
        # Two pieces of memory, so that two copies fill all.
        self._integers = torch.zeros(sum(self._sizes.values()), dtype=torch.int64, device=body.device)
        self._integer = dict(zip(self._sizes, self._integers.split(list(self._sizes.values())), strict=True))
        self._reals = torch.zeros(shape.targets + shape.tokens, dtype=body.master, device=body.device)
        self._weights_N, self._scale_T = self._reals.split([shape.targets, shape.tokens])

    def fill(self, part: Sequence["Entry"], scales: Sequence[float], factors: Sequence[Mapping[str, float]]) -> None:
        """Write sequences, sorted by row, into the buffers; see `cohort_pass.summed_losses` for the others."""
        shape, examples = self.shape, [e.example for e in part]
        lengths = [len(e.ids) for e in examples]
        starts = [0, *accumulate(lengths)]
        counts = [int(e.mask[1:].sum()) for e in examples]
        gap = shape.tokens - starts[-1]
        pads = [min(self.longest, gap - at) for at in range(0, gap, self.longest)]
        ends = [0, *accumulate(lengths + pads)]
        rows = sorted({e.row for e in part})
        tokens = [sum(n for n, e in zip(lengths, part, strict=True) if e.row == row) for row in rows]
        last = rows[-1]
        # Spread, since gradients that meet at one position wait for each other.
        spare = shape.tokens - 1 - np.arange(shape.targets - sum(counts)) % (gap + tokens[-1])
        at = [s + np.flatnonzero(e.mask[1:]) for s, e in zip(starts, examples, strict=False)]
        parts = {
            "ids": filled(shape.tokens, 0, *(e.ids for e in examples)),
            "positions": filled(shape.tokens, 0, *(np.arange(n) for n in lengths + pads)),
            "at": filled(shape.targets, 0, *at, spare),
            "wanted": filled(shape.targets, 0, *(e.ids[1:][e.mask[1:]] for e in examples)),
            "bins": filled(shape.targets, last, np.repeat([e.row for e in part], counts)),
            "rows": filled(shape.members, last, rows),
            # Padding belongs to the last member: what it computes there is read by nobody, were it infinite too.
            "member_ends": filled(shape.members, shape.tokens, list(accumulate(tokens))[:-1]),
            "sequence_ends": filled(shape.sequences + 1, shape.tokens, ends),
        }
        weights = [weights_of(e.example).astype(np.float64) * (factors[e.row]["cross_entropy"] / e.total) for e in part]
        scale = np.repeat([scales[row] for row in rows], tokens)
        reals = np.concatenate([_filled(shape.targets, 0.0, weights), _filled(shape.tokens, scales[last], [scale])])
        self._integers.copy_(send(torch.from_numpy(np.concatenate([parts[n] for n in self._sizes])), self._body.device))
        self._reals.copy_(send(torch.from_numpy(reals).to(self._body.master), self._body.device))

    def run(self) -> None:
        """Add the gradients of what the buffers hold to the bank's, and the losses to the sums."""
        i, bank, stage = self._integer, self._bank, self._stage
        stage.load(bank, i["rows"])
        stage.ends_W = i["member_ends"].to(torch.int32)
        stage.scale_T1 = self._scale_T[:, None].to(stage.weights_WP.dtype)
        bank.stage = stage
        try:
            with self._autocast():
                hidden_ND = hidden_at(self._body.decoder, self._inputs(), i["at"])
                slopes_ND = self._slopes(hidden_ND.detach())
            hidden_ND.backward(slopes_ND)
        finally:
            bank.stage = stage.ends_W = stage.scale_T1 = None
        stage.fold(bank, i["rows"])

    def _inputs(self) -> dict[str, Any]:
        i = self._integer
        found: dict[str, Any] = {"input_ids": i["ids"][None], "position_ids": i["positions"][None]}
        if self._body.layout == "varlen":
            ends = i["sequence_ends"].to(torch.int32)
            found |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
            found |= {"max_length_q": self.longest, "max_length_k": self.longest}
        return found

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        # As forward.autocast, without its cache of cast weights: a captured pass must not find another's there.
        body = self._body
        if body.compute.itemsize >= 4:
            return contextlib.nullcontext()
        return torch.autocast(body.device.split(":")[0], dtype=body.compute, cache_enabled=False)

    def _slopes(self, hidden_ND: Tensor) -> Tensor:
        """The loss's gradient by the hidden states; a piece's logits are gone before the next piece's come."""
        chunk = chunk_of(self._body) * (_FUSED_CHUNKS if self.fused else 1)
        slopes_ND = torch.empty_like(hidden_ND)
        for start in range(0, hidden_ND.shape[0], chunk):
            cut = slice(start, min(start + chunk, hidden_ND.shape[0]))
            piece = self._fused_piece if self.fused else self._plain_piece
            loss_N, slopes_ND[cut] = piece(hidden_ND[cut], cut)
            self._sums_C.index_add_(0, self._integer["bins"][cut], loss_N)
        return slopes_ND

    def _plain_piece(self, hidden_ND: Tensor, cut: slice) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            piece_ND = hidden_ND.detach().requires_grad_()
            logits_NV = self._body.head.logits(piece_ND)
            loss_N = cross_entropy(logits_NV, self._integer["wanted"][cut]) * self._weights_N[cut]
            return loss_N.detach(), torch.autograd.grad(loss_N.sum(), piece_ND)[0]

    def _fused_piece(self, hidden_ND: Tensor, cut: slice) -> tuple[Tensor, Tensor]:
        weight_VD, weights_N = self._body.head.weight_VD, self._weights_N[cut]
        logits_NV = F.linear(hidden_ND.to(weight_VD.dtype), weight_VD, self._body.head.bias_V)
        loss_N = fused_loss.cross_entropy_in_place(logits_NV, self._integer["wanted"][cut])
        return loss_N * weights_N, (logits_NV @ weight_VD) * weights_N[:, None]


def filled(size: int, value: int, *parts: Any) -> np.ndarray:
    """Integers one after the other, int64 [size], with `value` behind them.

    Raises:
        ValueError: they are more than `size`.
    """
    return _filled(size, value, parts).astype(np.int64)


def _filled(size: int, value: float, parts: Sequence[Any]) -> np.ndarray:
    # float64 holds all integers up to 2**53: token numbers, positions and places are far below.
    found = np.full(size, value, np.float64)
    joined = np.concatenate([np.asarray(p, np.float64) for p in parts])
    if len(joined) > size:
        raise ValueError(f"{len(joined)} values do not fit into a buffer of {size}")
    found[: len(joined)] = joined
    return found
