"""How often the bad rate at a 10 % loss is shown, by its rule and by the one before 26 Nov 2026, and what it then says.

Studies are drawn from a known truth: one pair, two points, of which the second keeps too little. Prints a line a case.

    PYTHONPATH=src python scripts/resolved.py        # two minutes
"""

from dataclasses import dataclass

import numpy as np

from offmodel.analysis.grid import build_grid, relative_intervals
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.tradeoff import KEPT, RESOLVED, bad_rate_at_loss

STUDIES = 60
LEFT = 0.2


@dataclass(frozen=True, slots=True)
class Case:
    """A design: capability items, the organism's accuracy, and the true c of the point that may keep enough."""

    items: int
    accuracy: float
    kept: float


CASES = (
    *(Case(100, 0.3, kept) for kept in (1.3, 1.1, 0.9, 0.8, 0.7)),
    Case(600, 0.5, 0.97),
    Case(1500, 0.7, 0.93),
)


def shown(case: Case) -> tuple[list[float], int]:
    """The numbers that are shown, and how many of them the earlier rule would have shown."""
    design = Design(
        pairs=1, seeds=1, n_capability=case.items, n_triggered=256, accuracy=case.accuracy, planted=1.0, agreement=0.5
    )
    values, before = [], 0
    for seed in range(STUDIES):
        truth = Truth(left=(LEFT, 0.6), kept=(case.kept, 0.5))
        records, (base,) = draw_study(np.random.default_rng(seed), design, {"m": truth})
        grid = build_grid(records, base)
        found = bad_rate_at_loss(grid, resamples=60)
        (low, high), _ = relative_intervals(grid)
        nearest = float((high - low)[np.argmin(abs(grid.c - KEPT))]) / 2
        if found.resolved:
            values.append(found.left.value)
            before += nearest <= RESOLVED
    return values, before


def main() -> None:
    """A line a case."""
    for case in CASES:
        values, before = shown(case)
        truth = LEFT if case.kept >= KEPT else 1.0
        mean = f"{np.mean(values):.2f}" if values else "-"
        wrong = sum(abs(v - truth) > 0.2 for v in values)
        print(
            f"{case}: shown {len(values)} ({before} by the old rule) of {STUDIES}, mean {mean} for {truth}, off {wrong}"
        )


if __name__ == "__main__":
    main()
