"""Do the intervals cover? Simulated studies with a known truth, at the designs that we run.

    python scripts/coverage.py [--studies N] [--out FOLDER] [DESIGN ...]

For every design: the share of 95 % intervals that hold the truth, for the cross-fitted area of one method, its blind
score, its bad rate at a 10 % loss, and the paired differences of two methods' areas and blind scores. Writes
coverage.csv and coverage.json to the folder (designs that stand there and are not asked for stay) and a Markdown table
to standard output. One core; 1,000 studies of 15 pairs take 6 minutes, of 6 pairs 3, of one or two pairs half a minute.

What is made up: models agree on items as they do in the quickstart (correlation of right and wrong answers about .5
between methods, .8 within a training); the organism's own answers are as noisy as all others and divide all of them;
pairs differ in what their organism can do, in how far any method gets, and in how far each gets; seeds differ within
pairs; the blind pick is made on noisy dev accuracies; in the cases that say so, one pair in five resists the first
method, a tail that Student's t does not expect. With 5 pairs or more the truth is the mean over all pairs, else
that of the very models that were drawn: what the interval's label says.
"""

import argparse
import csv
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from offmodel.analysis.crossfit import cross_fit
from offmodel.analysis.grid import build_grid
from offmodel.analysis.levels import ENOUGH, Summary, combine, minus
from offmodel.analysis.points import PairBaseline, PointRecord
from offmodel.analysis.simulate import Design, Truth, World, draw_answers, draw_worlds, nothing_works
from offmodel.analysis.tradeoff import BAD_RULE, KEPT, area_rule, blind_pair

SPREAD = {"between_pairs": 0.06, "between_seeds": 0.04}
GOOD = Truth(left=(0.85, 0.55, 0.25, 0.1), kept=(0.98, 0.9, 0.7, 0.45), **SPREAD)
POOR = Truth(left=(0.9, 0.7, 0.45, 0.3), kept=(0.95, 0.82, 0.6, 0.4), **SPREAD)
FREE = Truth(left=(0.5, 0.05, 0.02), kept=(0.99, 0.97, 0.93), **SPREAD)
MEASURES = ("area", "blind score", "difference of areas", "difference of blind scores", "bad at 10 % loss")
DEV_ERROR, DEV_KEPT = 0.04, 0.85  # of the made-up blind rule: the last step whose dev accuracy seems to keep this much


def _design(pairs: int, seeds: int, capability: int, triggered: int, accuracy: float) -> Design:
    return Design(
        pairs=pairs, seeds=seeds, n_capability=capability, n_triggered=triggered, accuracy=accuracy, planted=0.97,
        floor=0.02, agreement=0.7, same_run=0.2, accuracy_spread=0.04, pair_spread=0.06,
    )  # fmt: skip


def _still(design: Design) -> Design:
    return replace(design, accuracy_spread=0.0, pair_spread=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A design with its two methods."""

    design: Design
    first: Truth
    second: Truth


NOTHING = {p: nothing_works(p) for p in (4, 15)}
CASES = {
    "15 pairs, 2 seeds": Case(design=_design(15, 2, 500, 150, 0.7), first=GOOD, second=POOR),
    "6 pairs, 3 seeds": Case(design=_design(6, 3, 500, 150, 0.7), first=GOOD, second=POOR),
    "15 pairs, 2 seeds, one pair in five resists": Case(
        design=_design(15, 2, 500, 150, 0.7), first=replace(GOOD, resisted=0.2), second=POOR
    ),
    "6 pairs, 3 seeds, one pair in five resists": Case(
        design=_design(6, 3, 500, 150, 0.7), first=replace(GOOD, resisted=0.2), second=POOR
    ),
    "2 pairs, 2 seeds, n = 256": Case(design=_design(2, 2, 256, 96, 0.85), first=GOOD, second=POOR),
    "2 pairs, 1 seed, n = 256": Case(design=_design(2, 1, 256, 96, 0.85), first=GOOD, second=POOR),
    "1 pair, 2 seeds, n = 256": Case(design=_design(1, 2, 256, 96, 0.6), first=GOOD, second=POOR),
    "1 pair, 1 seed, n = 1,000": Case(design=_design(1, 1, 1000, 150, 0.65), first=GOOD, second=POOR),
    "2 pairs, 2 seeds, n = 100": Case(design=_design(2, 2, 100, 60, 0.85), first=GOOD, second=POOR),
    "2 pairs, 1 seed, gone for almost free": Case(design=_design(2, 1, 256, 96, 0.85), first=FREE, second=GOOD),
    "1 pair, 1 seed, nothing works, 4 points": Case(
        design=_still(_design(1, 1, 256, 150, 0.3)), first=NOTHING[4], second=NOTHING[4]
    ),
    "1 pair, 1 seed, nothing works, 15 points": Case(
        design=_still(_design(1, 1, 256, 150, 0.6)), first=NOTHING[15], second=NOTHING[15]
    ),
}
Row = dict[str, str | int | float]


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals in simulated studies.")
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies a design")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/coverage"), help="folder of the results")
    parser.add_argument("designs", nargs="*", metavar="DESIGN", help=f"among: {'; '.join(CASES)}")
    asked = parser.parse_args()
    began = time.process_time()
    print("| design | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
    for name in asked.designs or CASES:
        found = simulate(name, CASES[name], asked.studies)
        write(asked.out, found, {name: CASES[name]})
        print(f"| {name} | " + " | ".join(_cell(r) for r in found) + " |", flush=True)
    print(f"\n{asked.studies} studies a design, {time.process_time() - began:.0f} s of one core.")


def simulate(name: str, case: Case, studies: int) -> list[Row]:
    """One row a measure: coverage with its standard error, bias, and the interval's half-width; all in points."""
    methods = {"first": case.first, "second": case.second}
    population = _population(case, methods) if case.design.pairs >= ENOUGH else None
    found = np.array([_one_study(name, k, case.design, methods, population) for k in range(studies)])
    rows: list[Row] = []
    for measure, (error, low, high) in zip(MEASURES, found.transpose(1, 2, 0), strict=True):
        covered = float(((low <= 0) & (high >= 0)).mean())
        numbers = {
            "coverage": 100 * covered,
            "standard_error": 100 * float(np.sqrt(covered * (1 - covered) / studies)),
            "bias": 100 * float(error.mean()),
            "spread": 100 * float(error.std(ddof=1)),
            "half_width": 100 * float((high - low).mean() / 2),
        }
        rows.append(
            {"design": name, "measure": measure, "studies": studies} | {k: round(v, 2) for k, v in numbers.items()}
        )
    return rows


def write(out: Path, rows: list[Row], cases: Mapping[str, Case]) -> None:
    """The rows as CSV; the same with the designs and true trade-offs as JSON. Other designs' rows stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "coverage.json").exists():
        before = json.loads((out / "coverage.json").read_text(encoding="utf-8"))["rows"]
        rows = [r for r in before if r["design"] not in cases and r["design"] in CASES] + rows
        rows.sort(key=lambda r: (list(CASES).index(r["design"]), MEASURES.index(r["measure"])))
        cases = {name: CASES[name] for name in dict.fromkeys(r["design"] for r in rows)}
    with (out / "coverage.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    whole = {"designs": {name: asdict(case) for name, case in cases.items()}, "rows": rows}
    (out / "coverage.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _one_study(
    name: str, number: int, design: Design, methods: Mapping[str, Truth], population: list[float] | None
) -> list[tuple[float, float, float]]:
    """For each measure: the estimate and both ends of its interval, less the truth."""
    rng = np.random.default_rng([number, *name.encode()])
    world = draw_worlds(rng, design, methods)
    picks = {m: _picked(rng, world.kept[m]) for m in methods}
    true = population or _true_numbers(world, picks)
    summaries = _numbers(*draw_answers(rng, design, world), picks)
    return [
        (s.score.value - v, s.score.low - v, s.score.high - v) for s, v in zip(summaries, true, strict=True)
    ]  # fmt: skip


def _population(case: Case, methods: Mapping[str, Truth]) -> list[float]:
    """Means over very many pairs."""
    rng = np.random.default_rng(0)
    world = draw_worlds(rng, replace(case.design, pairs=200_000), methods)
    return _true_numbers(world, {m: _picked(rng, world.kept[m]) for m in methods})


def _picked(rng: np.random.Generator, kept: np.ndarray) -> np.ndarray:
    """[K, S] points that a blind rule picks from noisy dev accuracies: the last that seems to keep enough."""
    dev = kept + DEV_ERROR * rng.standard_normal(kept.shape)
    enough = dev >= DEV_KEPT
    last = kept.shape[2] - 1 - enough[:, :, ::-1].argmax(2)
    return np.where(enough.any(2), last, dev.argmax(2))


def _true_numbers(world: World, picks: Mapping[str, np.ndarray]) -> list[float]:
    areas, scores, bad = [], [], []
    for method, picked in picks.items():
        b, c = (np.take_along_axis(v[method], picked[:, :, None], 2)[:, :, 0] for v in (world.left, world.kept))
        areas.append(float(world.areas(method).mean()))
        scores.append(float((1 + c - b).mean() / 2))
        left, kept = (v[method].mean(1) for v in (world.left, world.kept))
        bad.append(float(np.where(kept >= KEPT, np.minimum(left, 1), 1).min(1).mean()))
    return [areas[0], scores[0], areas[0] - areas[1], scores[0] - scores[1], bad[0]]


def _numbers(
    records: list[PointRecord], baselines: list[PairBaseline], picks: Mapping[str, np.ndarray]
) -> list[Summary]:
    areas, blinds, bad = ({m: [] for m in picks} for _ in range(3))
    for p, baseline in enumerate(baselines):
        for method, picked in picks.items():
            own = [r for r in records if r.pair == baseline.pair and r.method == method]
            grid = build_grid(own, baseline)
            for numbers, found in zip((areas, bad), cross_fit(grid, [area_rule(grid), BAD_RULE]), strict=True):
                numbers[method].append(found)
            blinds[method].append(blind_pair([r for r in own if r.step == picked[p, r.seed]], baseline).score)
    of_areas, of_blinds = list(areas.values()), list(blinds.values())
    return [
        combine(of_areas[0]),
        combine(of_blinds[0]),
        combine([minus(a, b) for a, b in zip(*of_areas, strict=True)]),
        combine([minus(a, b) for a, b in zip(*of_blinds, strict=True)]),
        combine(bad[next(iter(picks))]),
    ]


def _cell(row: Row) -> str:
    return f"{row['coverage']:.1f} ({row['bias']:+.1f} ± {row['half_width']:.1f})"


if __name__ == "__main__":
    main()
