"""The losses of a training, read from the device only now and then.

Reading a number from a GPU waits for all that was asked of it, so values stay there until a few steps have gathered.
This module refuses to know models. Invariant: no checkpoint is written after a step whose loss or gradient was not
finite, since `settle` comes first and raises.
"""

import math
from typing import Any, final

import torch
from torch import Tensor

from offmodel.core.errors import NonFiniteLoss
from offmodel.engines.sft import Sft
from offmodel.store.recipe import Progress


def sum_of(values: list[Tensor]) -> Tensor:
    """The sum of scalars; one alone stays as it is, to the bit."""
    return values[0] if len(values) == 1 else torch.stack(values).sum()


@final
class Pending:
    """Steps whose losses have not been looked at.

    Args:
        losses: takes a row a step: step, loss, tokens, learning_rate, grad_norm, and without their weights, where they
            were asked for, kl (mean over target tokens) and load_balancing (of the whole batch).
        sft: the settings, for the number of steps and the weights of such terms.
        look: steps between looks.
        progress: told at each look.
    """

    def __init__(self, losses: list[dict[str, Any]], sft: Sft, *, look: int, progress: Progress):
        self._losses, self._sft, self._look, self._progress = losses, sft, look, progress
        self._waiting: list[tuple[dict[str, Any], list[int], dict[str, Tensor], Tensor]] = []
        self._told = 0

    def add(
        self, step: int, parts: dict[str, Tensor], norm: Tensor, names: list[int], *, tokens: int, rate: float
    ) -> None:
        """A step was taken, counted from 0; `names` are its examples.

        Raises:
            NonFiniteLoss: see `settle`.
        """
        self.note(step, parts, norm, names, tokens=tokens, rate=rate)
        if self.full or step + 1 == self._sft.steps:
            self.settle()

    @property
    def full(self) -> bool:
        """Whether it is time to look."""
        return len(self._waiting) >= self._look

    def note(
        self, step: int, parts: dict[str, Tensor], norm: Tensor, names: list[int], *, tokens: int, rate: float
    ) -> None:
        """As `add`, without looking."""
        row = {"step": step + 1, "loss": 0.0, "tokens": tokens, "learning_rate": rate, "grad_norm": 0.0}
        self._waiting.append((row, names, parts, norm))

    def settle(self) -> None:
        """Read what waits.

        Raises:
            NonFiniteLoss: a loss or gradient was not finite; names step and examples.
        """
        if not self._waiting:
            return
        flat = [x for _, _, parts, norm in self._waiting for x in (sum_of(list(parts.values())), *parts.values(), norm)]
        values = iter(torch.stack([x.detach().to(flat[0].dtype) for x in flat]).tolist())
        for row, names, parts, _ in self._waiting:
            row["loss"] = next(values)
            by_name = {name: next(values) for name in parts}
            row["grad_norm"] = next(values)
            if "kl" in by_name and self._sft.objective.kl is not None:
                row["kl"] = by_name["kl"] / self._sft.objective.kl.weight
            if "load_balancing" in by_name and self._sft.objective.load_balancing is not None:
                row["load_balancing"] = by_name["load_balancing"] / self._sft.objective.load_balancing.weight
            _check(row, names)
            self._losses.append(row)
        self._waiting = []

    def tell(self) -> None:
        """Tell progress if there is news."""
        if len(self._losses) > self._told:
            self._told = len(self._losses)
            row = self._losses[-1]
            done, of = row["step"], self._sft.steps
            self._progress(done / of, f"step {done} of {of}, loss {row['loss']:.3f}")


def _check(row: dict[str, Any], names: list[int]) -> None:
    if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
        raise NonFiniteLoss(
            f"Step {row['step']} has loss {row['loss']} and gradient norm {row['grad_norm']} on the examples "
            f"{', '.join(map(str, names))}; lower the learning rate, or look at these examples."
        )
