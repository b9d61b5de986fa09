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
    """

    ids_N: Tensor
    weights_N: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """An output layer: logits = cap * tanh((hidden @ weight.T + bias) / cap), without a cap just the linear part."""

    weight_VD: Tensor
    bias_V: Tensor | None
    softcap: float | None

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


Term = Callable[[Tensor, Targets, Tensor | None], Tensor]
"""A loss term: (logits [N, V], targets of these positions, the reference's logits [N, V] or None) -> the sum over the
positions, a scalar."""


def cross_entropy(logits_NV: Tensor, targets: Targets, reference_NV: Tensor | None = None) -> Tensor:
    """Weighted negative log-likelihood of the targets, summed."""
    losses_N = F.cross_entropy(logits_NV, targets.ids_N, reduction="none")
    return (losses_N * targets.weights_N).sum()


class _Kl(torch.autograd.Function):
    """Weighted KL between the distributions of two logits, with its gradient by the first in closed form.

    Autograd's own gradient leaves rounding noise where the two are equal, and AdamW makes full steps of noise.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, reference_NV: Tensor, weights_N: Tensor, reverse: bool) -> Tensor:
        ours_NV, theirs_NV = F.log_softmax(logits_NV, -1), F.log_softmax(reference_NV, -1)
        gap_NV = ours_NV - theirs_NV
        if reverse:
            kl_N = (ours_NV.exp() * gap_NV).sum(-1)
            slope_NV = ours_NV.exp().mul_(gap_NV.sub_(kl_N[:, None]))
        else:
            kl_N = -(theirs_NV.exp() * gap_NV).sum(-1)
            slope_NV = ours_NV.exp().sub_(theirs_NV.exp())
        ctx.save_for_backward(slope_NV.mul_(weights_N[:, None]))
        return (kl_N * weights_N).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (slope_NV,) = ctx.saved_tensors
        return slope_NV * grads[0], None, None, None


def _kl(logits_NV: Tensor, targets: Targets, reference_NV: Tensor | None, *, reverse: bool) -> Tensor:
    assert reference_NV is not None
    # Models of one family pad their vocabularies to different widths behind the tokenizer's last token.
    v = min(logits_NV.shape[1], reference_NV.shape[1])
    found: Any = _Kl.apply(logits_NV[:, :v], reference_NV[:, :v], targets.weights_N, reverse)
    return found


def forward_kl(logits_NV: Tensor, targets: Targets, reference_NV: Tensor | None) -> Tensor:
    """Weighted KL(reference || trained), summed; value and gradient are exactly 0 where the logits are equal."""
    return _kl(logits_NV, targets, reference_NV, reverse=False)


def reverse_kl(logits_NV: Tensor, targets: Targets, reference_NV: Tensor | None) -> Tensor:
    """Weighted KL(trained || reference), summed; value and gradient are exactly 0 where the logits are equal."""
    return _kl(logits_NV, targets, reference_NV, reverse=True)


def weighted(term: Term, factor: float) -> Term:
    """A term, times a constant."""
    return lambda logits_NV, targets, reference_NV=None: factor * term(logits_NV, targets, reference_NV)


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
        A scalar for each term.
    """

    def part(hidden: Tensor, ids: Tensor, weights: Tensor, frozen: Tensor | None) -> tuple[Tensor, ...]:
        logits = head.logits(hidden)
        theirs = None
        if frozen is not None and reference is not None:
            with torch.no_grad():
                theirs = reference.head.logits(frozen)
        return tuple(term(logits, Targets(ids, weights), theirs) for term in terms)

    n = hidden_ND.shape[0]
    frozen_ND = None if reference is None else reference.hidden_ND
    if n <= chunk:
        return part(hidden_ND, targets.ids_N, targets.weights_N, frozen_ND)
    parts: list[Any] = []
    for c in (slice(i, min(i + chunk, n)) for i in range(0, n, chunk)):
        frozen = None if frozen_ND is None else frozen_ND[c]
        arguments = (hidden_ND[c], targets.ids_N[c], targets.weights_N[c], frozen)
        parts.append(checkpoint(part, *arguments, use_reentrant=False))
    return tuple(torch.stack(sums).sum() for sums in zip(*parts, strict=True))


@torch.no_grad()
def log_likelihoods(hidden_ND: Tensor, head: Head, ids_N: Tensor, *, chunk: int) -> Tensor:
    """Log-probabilities [N] of tokens at the positions that predict them."""
    cuts = [slice(i, i + chunk) for i in range(0, hidden_ND.shape[0], chunk)]
    found = [-F.cross_entropy(head.logits(hidden_ND[c]), ids_N[c], reduction="none") for c in cuts]
    return torch.cat(found)
