"""Random draws that belong to a request, not to its place in a batch.

This module refuses to know models. Invariant: the uniforms of a request depend on the sampling seed, its tokens and how
many equal requests came before it, so that equal prompts get different completions and order does not matter otherwise.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def request_seeds(prompts: Sequence[tuple[int, ...]], seed: int) -> list[int]:
    """A 63-bit seed for each request."""
    seen: Counter[tuple[int, ...]] = Counter()
    found = []
    for ids in prompts:
        text = f"{seed}:{seen[ids]}:{','.join(map(str, ids))}"
        seen[ids] += 1
        found.append(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1)
    return found


def uniforms(seed: int, n: int) -> np.ndarray:
    """float32 [n] in [0, 1): one draw for each token of a request."""
    return np.random.Generator(np.random.Philox(key=seed)).random(n, dtype=np.float32)


def pick(logits_SV: Tensor, temperature: float, draws_S: Tensor) -> Tensor:
    """The next token of each row, by inverting the distribution function.

    Args:
        logits_SV: one row a sequence.
        temperature: divides the logits; more than 0.
        draws_S: float32 uniforms.

    Returns:
        int64 [S].
    """
    cumulative_SV = torch.softmax(logits_SV.float() / temperature, -1).cumsum(-1)
    wanted_S1 = (draws_S * cumulative_SV[:, -1])[:, None]
    # right=True passes over tokens of probability 0; a draw that rounds up to the total would fall off the end.
    return torch.searchsorted(cumulative_SV, wanted_S1, right=True)[:, 0].clamp_(max=logits_SV.shape[1] - 1)
