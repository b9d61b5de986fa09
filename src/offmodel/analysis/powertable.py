"""The power table: to see so many points at this base rate you need so many items; for a terminal and for the docs.

The formulas are `power`'s; this module only lays them out. It refuses to know studies. Invariant: every number is an
item count for the usual power of .8 and a 95 % interval, of two methods measured on the same items.
"""

from collections.abc import Iterable, Sequence

from offmodel.analysis.power import POWER, items_needed
from offmodel.core.errors import UserError

DIFFERENCES = (0.02, 0.03, 0.05, 0.1)
"""True differences of two accuracies."""
CORRELATIONS = (0.0, 0.5, 0.7)
"""Of two methods' answers: unrelated, usual between methods, usual between seeds of one method."""
HEAD = ("base rate", "correlation", *(f"{100 * d:g} points" for d in DIFFERENCES))


def power_rows(
    rates: Iterable[float], *, correlations: Sequence[float] = CORRELATIONS, seeds: int = 1
) -> list[tuple[str, ...]]:
    """Rows with the columns of `HEAD`: items needed to see each difference.

    Args:
        rates: the methods' accuracy.
        correlations: of two methods' answers over items.
        seeds: runs of each method, averaged.

    Raises:
        UserError: a rate is not between 0 and 1, or there is no seed.
    """
    if seeds < 1:
        raise UserError(f"{seeds} seeds can show nothing; name at least 1.")
    found: list[tuple[str, ...]] = []
    for rate in rates:
        if not 0 < rate < 1:
            raise UserError(f"A base rate lies between 0 and 1, not at {rate:g}; name one such as 0.7.")
        for rho in correlations:
            needed = (items_needed(d, rate, correlation=rho, seeds=seeds) for d in DIFFERENCES)
            found.append((f"{rate:g}", f"{rho:g}", *(f"{n:,}" for n in needed)))
    return found


def meaning(seeds: int) -> str:
    """What the rows say, in a sentence."""
    runs = "one seed" if seeds == 1 else f"{seeds} seeds"
    return (
        f"Items for a chance of {POWER:.0%} to see a true difference of two methods' accuracies on one pair, {runs} "
        "each, the same items for both. Correlation: of the two methods' right and wrong answers over items."
    )
