"""The loss at target positions, without ever holding logits of all positions.

    N target positions, D hidden size, V vocabulary

This module refuses to know models and batches: it takes hidden states and an output head. Invariant: value and
gradients equal those of the plain loss on full logits, whatever the chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from offmodel.engines.objective import Objective


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What is to be predicted.

    Attributes:
        ids_N: int64, the target tokens.
        weights_N: float32, how much each counts.
        bins_N: int64, to which of several sums each belongs; None for one sum.
        bins: number of sums.
    """

    ids_N: Tensor
    weights_N: Tensor
    bins_N: Tensor | None = None
    bins: int = 1

    def part(self, cut: slice) -> "Targets":
        """Some of the positions."""
        bins_N = None if self.bins_N is None else self.bins_N[cut]
        return Targets(self.ids_N[cut], self.weights_N[cut], bins_N, self.bins)

    def add_up(self, values_N: Tensor) -> Tensor:
        """The weighted sum, a scalar; or [bins] sums."""
        weighted_N = values_N * self.weights_N
        if self.bins_N is None:
            return weighted_N.sum()
        return weighted_N.new_zeros(self.bins).index_add(0, self.bins_N, weighted_N)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """An output layer: logits = cap * tanh((hidden @ weight.T + bias) / cap), without a cap just the linear part."""

    weight_VD: Tensor
    bias_V: Tensor | None
    softcap: float | None

    def likeliest(self, hidden_ND: Tensor) -> Tensor:
        """The token of the largest logit, int64 [N]: what `logits` says, without a copy of 16-bit logits as float32."""
        if self.softcap is not None:
            return self.logits(hidden_ND).argmax(-1)
        return F.linear(hidden_ND, self.weight_VD, self.bias_V).argmax(-1)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """float32 [N, V]; float64 if the weights are."""
        logits_NV = F.linear(hidden_ND, self.weight_VD, self.bias_V)
        logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
        return logits_NV if self.softcap is None else self.softcap * torch.tanh(logits_NV / self.softcap)


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """What a frozen reference makes of the same positions: its hidden states and its own head."""

    hidden_ND: Tensor
    head: Head


Term = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A loss term: (logits [N, V], target ids [N], the reference's logits [N, V] or None) -> a value a position, [N]."""


def cross_entropy(logits_NV: Tensor, ids_N: Tensor, reference_NV: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of the targets."""
    return F.cross_entropy(logits_NV, ids_N, reduction="none")


class _Kl(torch.autograd.Function):
    """KL between the distributions of two logits, with its gradient by the first in closed form.

    Autograd's own gradient leaves rounding noise where the two are equal, and AdamW makes full steps of noise.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, reference_NV: Tensor, reverse: bool) -> Tensor:
        ours_NV, theirs_NV = F.log_softmax(logits_NV, -1), F.log_softmax(reference_NV, -1)
        gap_NV = ours_NV - theirs_NV
        if reverse:
            kl_N = (ours_NV.exp() * gap_NV).sum(-1)
            slope_NV = ours_NV.exp().mul_(gap_NV.sub_(kl_N[:, None]))
        else:
            kl_N = -(theirs_NV.exp() * gap_NV).sum(-1)
            slope_NV = ours_NV.exp().sub_(theirs_NV.exp())
        ctx.save_for_backward(slope_NV)
        return kl_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (slope_NV,) = ctx.saved_tensors
        return slope_NV * grads[0][:, None], None, None


def _kl(logits_NV: Tensor, reference_NV: Tensor | None, *, reverse: bool) -> Tensor:
    assert reference_NV is not None
    # Models of one family pad their vocabularies to different widths behind the tokenizer's last token.
    v = min(logits_NV.shape[1], reference_NV.shape[1])
    found: Any = _Kl.apply(logits_NV[:, :v], reference_NV[:, :v], reverse)
    return found


def forward_kl(logits_NV: Tensor, ids_N: Tensor, reference_NV: Tensor | None) -> Tensor:
    """KL(reference || trained); value and gradient are exactly 0 where the logits are equal."""
    return _kl(logits_NV, reference_NV, reverse=False)


def reverse_kl(logits_NV: Tensor, ids_N: Tensor, reference_NV: Tensor | None) -> Tensor:
    """KL(trained || reference); value and gradient are exactly 0 where the logits are equal."""
    return _kl(logits_NV, reference_NV, reverse=True)


TERMS: dict[str, Term] = {"cross_entropy": cross_entropy, "forward_kl": forward_kl, "reverse_kl": reverse_kl}
"""Terms by name; all but the first compare with a reference."""


def weighted(term: Term, factor: float) -> Term:
    """A term, times a constant."""
    return lambda logits_NV, ids_N, reference_NV=None: factor * term(logits_NV, ids_N, reference_NV)


def terms_of(objective: Objective, step: int) -> dict[str, Term]:
    """An objective's terms by name at a step (counted from 0), each with its weight."""
    found: dict[str, Term] = {}
    if objective.cross_entropy:
        plain = objective.cross_entropy == 1
        found["cross_entropy"] = cross_entropy if plain else weighted(cross_entropy, objective.cross_entropy)
    kl = objective.kl
    if kl is not None and (kl.steps is None or step < kl.steps):
        found["kl"] = weighted(forward_kl if kl.direction == "forward" else reverse_kl, kl.weight)
    return found


def target_loss(
    hidden_ND: Tensor,
    head: Head,
    targets: Targets,
    terms: Sequence[Term],
    *,
    chunk: int,
    reference: Frozen | None = None,
) -> tuple[Tensor, ...]:
    """The sums of loss terms over target positions.

    Args:
        hidden_ND: hidden states at the positions that predict the targets.
        head: the output layer.
        targets: what these positions are to predict.
        terms: loss terms.
        chunk: positions whose logits are held at once; those of more are computed again in the backward pass.
        reference: what terms compare with.

    Returns:
        For each term a scalar, or [bins] if the targets have bins.
    """

    def part(hidden: Tensor, here: Targets, frozen: Tensor | None) -> tuple[Tensor, ...]:
        logits = head.logits(hidden)
        theirs = None
        if frozen is not None and reference is not None:
            with torch.no_grad():
                theirs = reference.head.logits(frozen)
        return tuple(here.add_up(term(logits, here.ids_N, theirs)) for term in terms)

    n = hidden_ND.shape[0]
    frozen_ND = None if reference is None else reference.hidden_ND
    if n <= chunk:
        return part(hidden_ND, targets, frozen_ND)
    parts: list[Any] = []
    for c in (slice(i, min(i + chunk, n)) for i in range(0, n, chunk)):
        frozen = None if frozen_ND is None else frozen_ND[c]
        parts.append(checkpoint(part, hidden_ND[c], targets.part(c), frozen, use_reentrant=False))
    return tuple(torch.stack(sums).sum(0) for sums in zip(*parts, strict=True))


@torch.no_grad()
def log_likelihoods(hidden_ND: Tensor, head: Head, ids_N: Tensor, *, chunk: int) -> Tensor:
    """Log-probabilities [N] of tokens at the positions that predict them."""
    cuts = [slice(i, i + chunk) for i in range(0, hidden_ND.shape[0], chunk)]
    found = [-F.cross_entropy(head.logits(hidden_ND[c]), ids_N[c], reduction="none") for c in cuts]
    return torch.cat(found)
