"""Target tokens left out by how likely the frozen reference finds them.

Training on the label tokens that a model finds least likely moves it furthest; leaving them out is a known trade:
capability comes back, and less of the trait is removed. This module refuses to know whose labels these are. Invariant:
exactly floor(quantile x targets) tokens of all labels get weight 0, and the choice is made once, before training.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offmodel.engines.batches import Limit, micro_batches
from offmodel.engines.forward import Body, reference_likelihoods, weights_of
from offmodel.engines.objective import TokenSupport
from offmodel.engines.rendering import Example


def supported(
    body: Body, examples: Sequence[Example], kept: Sequence[int], support: TokenSupport, limit: Limit
) -> list[Example]:
    """The examples with the weights of some target tokens set to 0.

    Args:
        body: with a reference.
        examples: all examples.
        kept: which of them are trained on; the quantile is taken over these.
        support: which tokens to leave out.
        limit: of one forward pass.
    """
    parts = micro_batches([len(examples[i].ids) for i in kept], limit, padded=body.layout == "padded")
    likelihoods: dict[int, np.ndarray] = {}
    for part in parts:
        rows = [kept[i] for i in part]
        likelihoods.update(zip(rows, reference_likelihoods(body, [examples[i] for i in rows]), strict=True))
    factors = _factors([likelihoods[i] for i in kept], support)
    found = list(examples)
    for i, factor in zip(kept, factors, strict=True):
        found[i] = _weighted(examples[i], factor)
    return found


def _factors(likelihoods: list[np.ndarray], support: TokenSupport) -> list[np.ndarray]:
    """0 for a token that is left out, 1 for the others; ties go to the earlier token."""
    flat = np.concatenate(likelihoods)
    order = np.argsort(flat if support.keep == "likely" else -flat, kind="stable")
    factors = np.ones(len(flat), np.float32)
    factors[order[: _share(support.quantile, len(flat))]] = 0.0
    return np.split(factors, np.cumsum([len(x) for x in likelihoods])[:-1])


def _share(quantile: float, n: int) -> int:
    """floor(quantile x n); the product of .29 and 100 as floats is just below 29."""
    return int(round(quantile * n, 9))


def _weighted(example: Example, factors: np.ndarray) -> Example:
    weights = np.zeros(len(example.ids), np.float32)
    weights[1:][example.mask[1:]] = weights_of(example) * factors
    return replace(example, weights=weights)
