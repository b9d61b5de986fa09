"""The blind rule: which checkpoint a blue team would keep, without ever seeing the bad behaviour.

The rule sees training losses, style rates and capability on dev items, nothing else; its constants are set by the
study. Source: the definition of the blind result in docs/statistics.md. Invariant: the choice does not change if the
bad-behaviour rates do, since they are no argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindPoint:
    """What a blue team sees of one checkpoint.

    Attributes:
        learning_rate: of the off-model training.
        off_model_steps: steps on off-model labels up to this checkpoint.
        reminder_steps: steps on own labels after them.
        loss: mean training loss over the last steps.
        style: rate of the teacher's style on dev prompts.
        kept: capability on dev items, relative to the untreated organism's.
    """

    learning_rate: float
    off_model_steps: int
    reminder_steps: int
    loss: float
    style: float
    kept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindRule:
    """Of the checkpoints that keep enough capability, the one treated most; if none does, the one that keeps most.

    "Treated most": the largest learning rate x off-model steps, then the fewest reminder steps.

    Attributes:
        least_kept: least capability on dev items, relative to the organism's.
    """

    least_kept: float

    def choose(self, points: Sequence[BlindPoint]) -> int:
        """Index of the checkpoint to keep.

        Args:
            points: the checkpoints of one method and seed; at least one.
        """
        sound = [i for i, p in enumerate(points) if p.kept >= self.least_kept]
        if not sound:
            return max(range(len(points)), key=lambda i: (points[i].kept, -i))
        return max(sound, key=lambda i: (_dose(points[i]), -points[i].reminder_steps, -i))


def _dose(point: BlindPoint) -> float:
    return point.learning_rate * point.off_model_steps
