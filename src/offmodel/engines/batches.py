"""Which examples form a step, and which of them share a forward pass. Numbers only, no tensors.

Invariant: `batch_indices` depends on (n, batch_size, seed, step) alone, so a resumed run meets the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offmodel.engines.rendering import Example
from offmodel.engines.sft import Sft


def batch_indices(n: int, *, batch_size: int, seed: int, step: int) -> np.ndarray:
    """The examples of one step (counted from 0): a stretch of the endless row of seeded epoch shuffles.

    Returns:
        int64 [batch_size]. A batch may span two epochs, so that every step has the same number of sequences: the
        gradient of a short last batch has another magnitude.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // n, (last - 1) // n + 1)
    row = np.concatenate([np.random.default_rng([seed, epoch]).permutation(n) for epoch in epochs])
    offset = first - epochs.start * n
    return row[offset : offset + batch_size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much fits in one forward pass.

    Attributes:
        rows: sequences; None for no limit.
        tokens: tokens, padding counted where there is any.
    """

    rows: int | None
    tokens: int

    def halved(self) -> "Limit":
        """Half as much of both."""
        rows = None if self.rows is None else max(1, self.rows // 2)
        return Limit(rows=rows, tokens=max(1, self.tokens // 2))


def micro_batches(lengths: Sequence[int], limit: Limit, *, padded: bool) -> list[list[int]]:
    """Split a batch into forward passes: indices into `lengths`, rows of like length together.

    A sequence longer than the limit gets a pass of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    parts: list[list[int]] = []
    used = 0
    for i in order:
        rows = len(parts[-1]) + 1 if parts else 1
        tokens = lengths[i] * rows if padded else used + lengths[i]
        if parts and tokens <= limit.tokens and (limit.rows is None or rows <= limit.rows):
            parts[-1].append(i)
            used += lengths[i]
        else:
            parts.append([i])
            used = lengths[i]
    return parts


def keep_short(examples: Sequence[Example], max_tokens: int) -> list[int]:
    """Indices of the examples that are short enough and have a target."""
    return [i for i, e in enumerate(examples) if len(e.ids) <= max_tokens and e.mask[1:].any()]


def trained_tokens(examples: Sequence[Example], groups: Sequence[str], sft: Sft, *, steps: int) -> dict[str, int]:
    """Target tokens that a training sees in its first steps, by group (for example by the labels' author).

    Args:
        examples: the examples given to `train`.
        groups: one name an example.
        sft: the settings given to `train`.
        steps: how many steps to count.
    """
    kept = keep_short(examples, sft.max_tokens)
    found = dict.fromkeys(groups, 0)
    for step in range(steps if kept else 0):
        for i in batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=step):
            found[groups[kept[int(i)]]] += int(examples[kept[int(i)]].mask[1:].sum())
    return found
