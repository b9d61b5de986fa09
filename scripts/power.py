"""How many items, pairs and seeds? The tables of docs/statistics.md, from `offmodel.analysis.power`.

python scripts/power.py
"""

from collections.abc import Iterable

from offmodel.analysis.power import (
    USUAL_BETWEEN_SEEDS,
    Planned,
    error_of_score_difference,
    items_to_resolve,
    pairs_needed,
    resolution,
    smallest_difference,
    smallest_difference_over_pairs,
)
from offmodel.analysis.powertable import CORRELATIONS, HEAD, power_rows

TYPICAL = {"seeds": 1, "chance": 0.0, "planted": 0.97, "floor": 0.0, "between_seeds": USUAL_BETWEEN_SEEDS}


def main() -> None:
    """Print the tables as Markdown."""
    print("Items to see a difference:\n")
    _table(HEAD, power_rows((0.2, 0.5, 0.7, 0.8)))
    print("The same with two seeds of each method:\n")
    _table(HEAD, power_rows((0.7,), seeds=2))
    print("Smallest difference in points, base rate .7:\n")
    sizes = (100, 200, 256, 500, 1000, 1319)
    _table(
        ("items", *(f"{n:,}" for n in sizes)),
        (
            (f"correlation {rho}", *(f"{100 * smallest_difference(n, 0.7, correlation=rho):.1f}" for n in sizes))
            for rho in CORRELATIONS
        ),
    )
    print("Half-width of c at .9, correlation .5, one seed; and the items for .05:\n")
    _table(
        ("accuracy", *(f"{n:,} items" for n in sizes), "for .05", "for .05, correlation .7"),
        (
            (
                a,
                *(f"{resolution(_planned(accuracy=a, capability=n)).kept:.3f}" for n in sizes),
                f"{items_to_resolve(_planned(accuracy=a)):,}",
                f"{items_to_resolve(_planned(accuracy=a, correlation=0.7)):,}",
            )
            for a in (0.3, 0.5, 0.7, 0.85)
        ),
    )
    print("Half-width of b at .5, one seed:\n")
    prompts = (60, 96, 150, 256, 500)
    _table(
        ("triggered prompts", *map(str, prompts)),
        [("half-width", *(f"{resolution(_planned(triggered=n)).left:.3f}" for n in prompts))],
    )
    _pairs()


def _pairs() -> None:
    print(
        "Smallest difference of blind scores in an average over pairs (256 items, 96 prompts, 2 seeds, accuracy .7):\n"
    )
    error = error_of_score_difference(_planned(seeds=2))
    _table(
        ("spread between pairs", "5 pairs", "6", "10", "15", "pairs for .03", "for .05", "for .1"),
        (
            (
                spread,
                *(f"{smallest_difference_over_pairs(k, error, spread):.3f}" for k in (5, 6, 10, 15)),
                *(pairs_needed(d, error, spread) for d in (0.03, 0.05, 0.1)),
            )
            for spread in (0.03, 0.05, 0.1)
        ),
    )


def _planned(**changes: float) -> Planned:
    return Planned(**({"capability": 256, "triggered": 96, "accuracy": 0.7, "correlation": 0.5} | TYPICAL | changes))  # type: ignore[arg-type]


def _table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    names = list(names)
    print("| " + " | ".join(map(str, names)) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


if __name__ == "__main__":
    main()
