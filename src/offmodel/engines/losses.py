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


Term = Callable[[Tensor, Targets], Tensor]
"""A loss term: (logits [N, V], targets of these positions) -> the sum over the positions, a scalar."""


def cross_entropy(logits_NV: Tensor, targets: Targets) -> Tensor:
    """Weighted negative log-likelihood of the targets, summed."""
    losses_N = F.cross_entropy(logits_NV, targets.ids_N, reduction="none")
    return (losses_N * targets.weights_N).sum()


def weighted(term: Term, factor: float) -> Term:
    """A term, times a constant."""
    return lambda logits_NV, targets: factor * term(logits_NV, targets)


def target_loss(hidden_ND: Tensor, head: Head, targets: Targets, terms: Sequence[Term], *, chunk: int) -> Tensor:
    """The sum of loss terms over target positions.

    Args:
        hidden_ND: hidden states at the positions that predict the targets.
        head: the output layer.
        targets: what these positions are to predict.
        terms: loss terms, added up.
        chunk: positions whose logits are held at once; those of more are computed again in the backward pass.

    Returns:
        A scalar.
    """

    def part(hidden: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        logits = head.logits(hidden)
        values = [term(logits, Targets(ids, weights)) for term in terms]
        return torch.stack(values).sum() if len(values) > 1 else values[0]

    n = hidden_ND.shape[0]
    if n <= chunk:
        return part(hidden_ND, targets.ids_N, targets.weights_N)
    cuts = [slice(i, min(i + chunk, n)) for i in range(0, n, chunk)]
    sums: list[Any] = [
        checkpoint(part, hidden_ND[c], targets.ids_N[c], targets.weights_N[c], use_reentrant=False) for c in cuts
    ]
    return torch.stack(sums).sum()
