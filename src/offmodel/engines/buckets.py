"""Sizes of passes that are few, so that a captured pass can be replayed: numbers only, no tensors.

A pass is described by how many tokens, target positions, sequences and members it holds; a shape with a little more
room serves many passes. Invariant: `split_evenly` keeps the order of the sequences and loses none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

# A shape serves passes down to this share of its tokens; below, padding costs more than another capture.
_LEAST_FILLED = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a pass holds, or has room for.

    Attributes:
        tokens: of all sequences.
        targets: positions that predict a target.
        sequences: sequences, those of padding included where it is room.
        members: adapters.
    """

    tokens: int
    targets: int
    sequences: int
    members: int

    def serves(self, need: "Shape", longest: int) -> bool:
        """Whether a pass fits, padding cut into sequences of at most `longest` tokens, and does not waste the room."""
        padding = -(-(self.tokens - need.tokens) // longest)
        return (
            need.tokens <= self.tokens
            and need.targets <= self.targets
            and need.sequences + padding <= self.sequences
            and need.members <= self.members
            and need.tokens >= _LEAST_FILLED * self.tokens
            and 2 * need.members >= self.members
        )

    def roomy(self, longest: int) -> "Shape":
        """A shape with room for this pass and for others like it."""
        tokens = round_up(self.tokens)
        sequences = self.sequences + self.sequences // 4 + -(-tokens // longest)
        return replace(
            self,
            tokens=tokens,
            targets=min(tokens, round_up(self.targets + self.targets // 8)),
            sequences=power_of_two(sequences),
            members=power_of_two(self.members),
        )


def round_up(n: int) -> int:
    """The next of four sizes in each octave: 64, 80, 96, 112, 128, 160, ... Grouped products want multiples of 16."""
    if n <= 64:
        return 64
    step = power_of_two(n) // 8
    return -(-n // step) * step


def power_of_two(n: int) -> int:
    """The next power of two."""
    return 1 << max(0, n - 1).bit_length()


def split_evenly(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Split sequences, in their order, into passes of nearly equal numbers of tokens.

    Args:
        lengths: tokens of each sequence.
        most: tokens of a pass, as far as no single sequence has more.

    Returns:
        Indices into `lengths`.
    """
    total, longest = sum(lengths), max(lengths)
    if total <= most:
        return [list(range(len(lengths)))]
    if 2 * longest > most:
        return _filled_up(lengths, most)
    # A pass holds its share and at most one sequence more.
    passes = -(-total // (most - longest))
    parts: list[list[int]] = [[] for _ in range(passes)]
    before = 0
    for i, length in enumerate(lengths):
        parts[min(passes - 1, int((before + length / 2) * passes / total))].append(i)
        before += length
    return [part for part in parts if part]


def _filled_up(lengths: Sequence[int], most: int) -> list[list[int]]:
    """One pass full after the other, where sequences are too long for even ones."""
    parts: list[list[int]] = [[]]
    held = 0
    for i, length in enumerate(lengths):
        if parts[-1] and held + length > most:
            parts.append([])
            held = 0
        parts[-1].append(i)
        held += length
    return parts
