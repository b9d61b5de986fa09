"""Which sequences of a step go to which process, and in how many forward passes. Numbers only, no tensors.

All processes compute the same split, since FSDP gathers a layer's weights from all of them at once: each must make the
same number of passes. Invariant: every sequence of the batch falls to exactly one pass of one process.
"""

from collections.abc import Sequence

from offmodel.core.errors import RecipeError
from offmodel.engines.batches import Limit, micro_batches


def check_divides(batch_size: int, processes: int) -> None:
    """Refuse a batch that does not deal out evenly.

    Raises:
        RecipeError: the batch size is no multiple of the number of processes.
    """
    if processes < 1 or batch_size % processes:
        fits = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        raise RecipeError(
            f"A batch of {batch_size} sequences cannot be dealt out evenly to {processes} processes; use one of "
            f"{', '.join(map(str, fits))} processes, or another batch size."
        )


def deal(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Indices into `lengths` for each process: equal numbers of sequences, and tokens as even as a snake makes them."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    shares: list[list[int]] = [[] for _ in range(processes)]
    for turn in range(0, len(order), processes):
        row = order[turn : turn + processes]
        for share, i in zip(shares if turn // processes % 2 == 0 else reversed(shares), row, strict=True):
            share.append(i)
    return shares


def passes(lengths: Sequence[int], processes: int, limit: Limit, *, padded: bool) -> list[list[list[int]]]:
    """For each process its forward passes, as lists of indices into `lengths`; all have the same number of them.

    Raises:
        RecipeError: the sequences do not divide by the number of processes.
    """
    check_divides(len(lengths), processes)
    found: list[list[list[int]]] = []
    for share in deal(lengths, processes):
        parts = micro_batches([lengths[i] for i in share], limit, padded=padded)
        found.append([[share[i] for i in part] for part in parts])
    most = max(len(parts) for parts in found)
    for parts in found:
        while len(parts) < most:
            # A process has at least as many sequences as any has passes, so some pass holds two.
            widest = max(parts, key=len)
            parts.append(widest[len(widest) // 2 :])
            del widest[len(widest) // 2 :]
    return found
