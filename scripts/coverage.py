"""Do the intervals cover? Simulated studies with a known truth, at the designs that we run.

    python scripts/coverage.py [STUDIES] [DESIGN ...]

For every design: the share of 95 % intervals that hold the truth, for the cross-fitted area of one method, its blind
score and the paired difference of two methods' blind scores and areas. Writes a Markdown table to standard output.
"""

import sys
from dataclasses import dataclass

import numpy as np

from offmodel.analysis.grid import build_grid
from offmodel.analysis.hull import hull_areas
from offmodel.analysis.levels import Summary, combine, minus
from offmodel.analysis.simulate import Design, Truth, draw_study, nothing_works
from offmodel.analysis.tradeoff import blind_pair, cross_fitted_area

BETWEEN = {"between_pairs": 0.08, "between_seeds": 0.04}
GOOD = Truth(left=(0.85, 0.55, 0.25, 0.1), kept=(0.98, 0.9, 0.7, 0.45))
POOR = Truth(left=(0.9, 0.7, 0.45, 0.3), kept=(0.95, 0.82, 0.6, 0.4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design with its two methods; `spread`: pairs and seeds differ, as a sample of a population does."""

    design: Design
    first: Truth
    second: Truth
    spread: bool


def _design(pairs: int, seeds: int, capability: int, triggered: int, accuracy: float) -> Design:
    return Design(
        pairs=pairs, seeds=seeds, n_capability=capability, n_triggered=triggered, accuracy=accuracy, planted=0.97,
        agreement=0.6,
    )  # fmt: skip


CASES = {
    "15 pairs, 2 seeds": Case(design=_design(15, 2, 500, 150, 0.7), first=GOOD, second=POOR, spread=True),
    "6 pairs, 3 seeds": Case(design=_design(6, 3, 500, 150, 0.7), first=GOOD, second=POOR, spread=True),
    "items only: 2 pairs, 2 seeds, n = 100": Case(
        design=_design(2, 2, 100, 60, 0.88), first=GOOD, second=POOR, spread=False
    ),
    "items only: 1 pair, 1 seed, n = 1,000": Case(
        design=_design(1, 1, 1000, 150, 0.65), first=GOOD, second=POOR, spread=False
    ),
    "items only, nothing works, 4 points": Case(
        design=_design(1, 1, 256, 150, 0.223), first=nothing_works(4), second=nothing_works(4), spread=False
    ),
    "items only, nothing works, 15 points": Case(
        design=_design(1, 1, 256, 150, 0.223), first=nothing_works(15), second=nothing_works(15), spread=False
    ),
}


def main(studies: int, names: list[str]) -> None:
    """Print one line a design."""
    error = 100 * (0.05 * 0.95 / studies) ** 0.5
    print(
        f"{studies} simulated studies a line; coverage in per cent (standard error {error:.1f}), in brackets the mean"
    )
    print("estimate minus the truth, in points.\n")
    print("| design | area | blind score | difference of areas | difference of blind scores |")
    print("|---|---|---|---|---|")
    for k, name in enumerate(names):
        print(f"| {name} | " + " | ".join(_line(CASES[name], studies, seed=k)) + " |", flush=True)


def _line(case: Case, studies: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    truths = {"first": case.first, "second": case.second}
    if case.spread:
        truths = {m: Truth(left=t.left, kept=t.kept, **BETWEEN) for m, t in truths.items()}
    true = _true_numbers(case)
    hits, errors = np.zeros(4), np.zeros(4)
    for _ in range(studies):
        found = _numbers(*draw_study(rng, case.design, truths))
        for k, (summary, value) in enumerate(zip(found, true, strict=True)):
            hits[k] += summary.score.low <= value <= summary.score.high
            errors[k] += summary.score.value - value
    return [f"{100 * h / studies:.1f} ({100 * e / studies:+.1f})" for h, e in zip(hits, errors, strict=True)]


def _true_numbers(case: Case, draws: int = 200_000) -> list[float]:
    """Population means over pairs and seeds: each pair's numbers are those of its own true points."""
    rng, pairs, seeds = np.random.default_rng(0), *((draws, case.design.seeds) if case.spread else (1, 1))
    areas, scores = [], []
    for truth in (case.first, case.second):
        b, c = (np.repeat(np.array(v)[:, None], pairs, 1) for v in (truth.left, truth.kept))
        if case.spread:
            b, c = (_shifted(rng, v, top, seeds) for v, top in ((b, 1 / 0.97), (c, 1 / case.design.accuracy)))
        areas.append(hull_areas(b, c).mean())
        scores.append((1 + c[1] - b[1]).mean() / 2)
    return [areas[0], scores[0], areas[0] - areas[1], scores[0] - scores[1]]


def _shifted(rng: np.random.Generator, values: np.ndarray, top: float, seeds: int) -> np.ndarray:
    """[P, pairs] true values of pairs whose seeds are averaged, cut at rates of 0 and 1 as `draw_study` does."""
    pair = BETWEEN["between_pairs"] * rng.standard_normal(values.shape[1])
    each = BETWEEN["between_seeds"] * rng.standard_normal((seeds, 1, values.shape[1]))
    return np.clip(values + pair + each, 0, top).mean(0)


def _numbers(records, baselines) -> list[Summary]:
    areas, blinds = {"first": [], "second": []}, {"first": [], "second": []}
    for baseline in baselines:
        for method in areas:
            own = [r for r in records if r.pair == baseline.pair and r.method == method]
            areas[method].append(cross_fitted_area(build_grid(own, baseline)))
            blinds[method].append(blind_pair([r for r in own if r.step == 1], baseline).score)
    return [
        combine(areas["first"]),
        combine(blinds["first"]),
        combine([minus(a, b) for a, b in zip(areas["first"], areas["second"], strict=True)]),
        combine([minus(a, b) for a, b in zip(blinds["first"], blinds["second"], strict=True)]),
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, sys.argv[2:] or list(CASES))
