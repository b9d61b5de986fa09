"""Attention of a pack of short sequences on a CPU, which stand side by side for it alone.

    T tokens of the pack, H heads, D head size; B sequences of a shape, L tokens of its longest; N = B x H x L of all

Two batched products and a softmax; tokens go to their places, and back, by one selection of rows each. Padding repeats
a sequence's last token, so that what is broken in one sequence stays there. This module refuses to know models.
Invariant: no position attends to another sequence or to what comes after it.
"""

import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Where the tokens of a pack stand.

    Attributes:
        shapes: (B, L) of each group of sequences of like length.
        at_T: each token's place among all places, shape by shape, sequence by sequence.
        tokens: of each shape, the token at each place [B, L]; at padding, the last one of its sequence.
        real: of each shape, which places are no padding.
    """

    shapes: list[tuple[int, int]]
    at_T: Tensor
    tokens: list[np.ndarray]
    real: list[np.ndarray]
    by_heads: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(longest for _, longest in self.shapes)

    @property
    def sizes(self) -> list[int]:
        """Places of each shape."""
        return [rows * longest for rows, longest in self.shapes]

    def rows(self, heads: int) -> tuple[Tensor, Tensor, Tensor]:
        """Indices among T x H rows by place (shape, sequence, head, token); with T x H at padding; and back."""
        if heads not in self.by_heads:
            head = np.arange(heads)[None, :, None]
            into_N = np.concatenate([(t[:, None] * heads + head).ravel() for t in self.tokens])
            real_N = np.concatenate(
                [np.broadcast_to(r[:, None], (len(r), heads, r.shape[1])).ravel() for r in self.real]
            )
            last = len(self.at_T) * heads
            back_M = np.empty(last, np.int64)
            back_M[into_N[real_N]] = np.flatnonzero(real_N)
            found = (into_N, np.where(real_N, into_N, last), back_M)
            self.by_heads[heads] = (torch.from_numpy(found[0]), torch.from_numpy(found[1]), torch.from_numpy(found[2]))
        return self.by_heads[heads]


# What a group of its own costs, in scores of one head (rows x longest^2).
_A_GROUP = 4000
_LAST: list[tuple[Any, Plan]] = []


def side_by_side(ends: Tensor) -> Plan:
    """The plan of a pack with these boundaries, int32 [sequences + 1]; all layers of a pass ask for the same one."""
    known = _LAST[0] if _LAST else None
    if known is not None and known[0]() is ends:
        return known[1]
    plan = _plan(ends.numpy().astype(np.int64))
    _LAST[:] = [(weakref.ref(ends), plan)]
    return plan


def _plan(ends: np.ndarray) -> Plan:
    firsts, lengths = ends[:-1], np.diff(ends)
    at_T, shapes, tokens, real, size = np.empty(ends[-1], np.int64), [], [], [], 0
    for some in _alike(lengths.tolist()):
        length, longest = lengths[some], int(lengths[some].max())
        steps = np.arange(longest)
        shapes.append((len(some), longest))
        tokens.append(firsts[some][:, None] + np.minimum(steps, length[:, None] - 1))
        real.append(steps < length[:, None])
        at_T[tokens[-1][real[-1]]] = size + np.flatnonzero(real[-1])
        size += len(some) * longest
    return Plan(shapes, torch.from_numpy(at_T), tokens, real)


def _alike(lengths: list[int]) -> list[list[int]]:
    """Sequences that are padded together, by length: as many groups as make up for the products that each costs."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    if len(order) * max(lengths) ** 2 <= _A_GROUP:
        return [order]
    # best[n]: the least work for the n shortest; the last of its groups begins at begin[n].
    best, begin = np.zeros(len(order) + 1), [0] * (len(order) + 1)
    for n in range(1, len(order) + 1):
        work = best[:n] + np.arange(n, 0, -1) * float(lengths[order[n - 1]] ** 2)
        begin[n] = int(work.argmin())
        best[n] = work[begin[n]] + _A_GROUP
    groups, n = list[list[int]](), len(order)
    while n:
        groups.append(order[begin[n] : n])
        n = begin[n]
    return groups[::-1]


def short_attention(
    q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, plan: Plan, scale: float, window: int | None
) -> Tensor:
    """Causal attention within sequences, [T, H, D]; a window of w sees a token and the w - 1 before it."""
    found: Any = _Attention.apply(q_THD, k_THD, v_THD, plan, scale, window)
    return found


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, plan: Plan, scale: float, window: int | None
    ) -> Tensor:
        heads, size = q_THD.shape[1:]
        into_N, _, back_M = plan.rows(heads)
        q_ND, k_ND, v_ND = (x.reshape(-1, size).index_select(0, into_N) for x in (q_THD, k_THD, v_THD))
        q_ND.mul_(scale)
        out_ND = torch.empty_like(q_ND)
        weights = []
        for cut, rows, longest in _cuts(plan, heads):
            q, k, v, out = (x[cut].view(rows, longest, size) for x in (q_ND, k_ND, v_ND, out_ND))
            scores = torch.baddbmm(_hidden(longest, window, q), q, k.transpose(1, 2))
            weights.append(torch.softmax(scores, -1))
            torch.bmm(weights[-1], v, out=out)
        ctx.save_for_backward(q_ND, k_ND, v_ND, *weights)
        ctx.plan, ctx.scale, ctx.heads = plan, scale, heads
        return out_ND.index_select(0, back_M).view(q_THD.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q_ND, k_ND, v_ND, *weights = ctx.saved_tensors
        size = q_ND.shape[1]
        _, into_N, back_M = ctx.plan.rows(ctx.heads)
        grad_MD = grads[0].reshape(-1, size)
        g_ND = torch.cat([grad_MD, grad_MD.new_zeros(1, size)]).index_select(0, into_N)
        found = [torch.empty_like(q_ND) for _ in range(3)]
        for (cut, rows, longest), p in zip(_cuts(ctx.plan, ctx.heads), weights, strict=True):
            q, k, v, g, by_q, by_k, by_v = (x[cut].view(rows, longest, size) for x in (q_ND, k_ND, v_ND, g_ND, *found))
            by_p = torch.bmm(g, v.transpose(1, 2))
            by_s = torch.ops.aten._softmax_backward_data(by_p, p, -1, p.dtype)
            torch.bmm(p.transpose(1, 2), g, out=by_v)
            torch.bmm(by_s, k, out=by_q)
            torch.bmm(by_s.transpose(1, 2), q, out=by_k)
        found[0].mul_(ctx.scale)
        return *(x.index_select(0, back_M).view(grads[0].shape) for x in found), None, None, None


def _cuts(plan: Plan, heads: int) -> list[tuple[slice, int, int]]:
    """The rows of each shape as (where, B x H, L)."""
    found, begin = [], 0
    for rows, longest in plan.shapes:
        end = begin + rows * heads * longest
        found.append((slice(begin, end), rows * heads, longest))
        begin = end
    return found


def _hidden(longest: int, window: int | None, like: Tensor) -> Tensor:
    """What is added to scores: 0 for what a token sees, minus infinity for the rest, [rows, L, L]."""
    seen = torch.ones(longest, longest, dtype=torch.bool).tril_()
    if window is not None and window < longest:
        seen.triu_(1 - window)
    return like.new_zeros(longest, longest).masked_fill_(~seen, float("-inf")).expand(len(like), -1, -1)
