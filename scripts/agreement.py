"""How far do models agree on items? The correlations that power and coverage assume, from a study that was run.

python scripts/agreement.py STUDY STORE

Medians of the correlation of two checkpoints' right and wrong answers on capability items, by how the two are related;
checkpoints of .3 accuracy and more, since broken models agree on failing.
"""

import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np

from offmodel.cli.running import load_study
from offmodel.store.artifacts import Store
from offmodel.studies.results import load_rows

LEAST = 0.3


def main(name: str, store: Path) -> None:
    """Print the medians with the number of pairs of models behind them."""
    study, home = load_study(name), Store(store)

    def answers(arm) -> np.ndarray:
        scores = {r["item"]: r["score"] for r in load_rows(arm, home)["capability"]}
        return np.array([scores[i] for i in sorted(scores)], float)

    organisms = {s.pair: answers(s.organism) for s in study.sides}
    able = [(c, a) for c in study.cells if (a := answers(c.arm)).mean() >= LEAST]
    found: defaultdict[str, list[float]] = defaultdict(list)
    for cell, rows in able:
        found["with the organism"].append(np.corrcoef(rows, organisms[cell.pair])[0, 1])
    for (one, x), (other, y) in combinations(able, 2):
        if one.pair == other.pair and (kind := _relation(one, other)):
            found[kind].append(np.corrcoef(x, y)[0, 1])
    for kind, values in found.items():
        print(f"{kind}: {np.median(values):.2f} ({len(values)})")


def _relation(one, other) -> str:
    if one.method != other.method:
        return "two methods"
    if one.seed == other.seed:
        return "two checkpoints of one training"
    return "two seeds at one step" if one.step == other.step and one.setting == other.setting else ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
