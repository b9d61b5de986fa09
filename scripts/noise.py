"""What do areas read when nothing works? The tables of docs/statistics.md on noise.

python scripts/noise.py [STUDIES]
"""

import sys
from dataclasses import replace

import numpy as np

from offmodel.analysis.grid import build_grid
from offmodel.analysis.simulate import Design, draw_study, noise_area, nothing_works
from offmodel.analysis.tradeoff import cross_fitted_area, raw_area

FIRST = Design(pairs=1, seeds=1, n_capability=256, n_triggered=256, accuracy=0.223, planted=1.0, agreement=0.0)
DESIGNS = (
    FIRST,
    replace(FIRST, accuracy=0.6, n_triggered=96, planted=0.97),
    replace(FIRST, accuracy=0.85, n_triggered=96, planted=0.97),
    replace(FIRST, accuracy=0.7, n_capability=1319, n_triggered=200, planted=0.97),
)


def main(studies: int) -> None:
    """Print both tables as Markdown."""
    print("| points | 1 | 4 | 15 | 60 |\n|---|---|---|---|---|")
    for label, prompts in (("`noise_area`, b known", None), ("`noise_area`, b measured", 256)):
        areas = [noise_area(p, 0.223, 256, prompts) for p in (1, 4, 15, 60)]
        print(f"| {label} | " + " | ".join(f"{a:.3f}" for a in areas) + " |")
    areas = [_mean(FIRST, p, studies, cross_fitted=True) for p in (1, 4, 15, 60)]
    print("| cross-fitted area | " + " | ".join(areas) + " |\n")
    print("| organism's accuracy | items, prompts | points | `noise_area` | models unrelated | models agree |")
    print("|---|---|---|---|---|---|")
    for d in DESIGNS:
        for points in (3, 15):
            alone = noise_area(points, d.accuracy, d.n_capability, d.n_triggered)
            found = [_mean(replace(d, agreement=a, same_run=a / 4), points, studies) for a in (0.0, 0.7)]
            print(
                f"| {d.accuracy} | {d.n_capability:,}, {d.n_triggered} | {points} | {alone:.3f} | "
                + " | ".join(found)
                + " |"
            )


def _mean(design: Design, points: int, studies: int, *, cross_fitted: bool = False) -> str:
    rng, areas = np.random.default_rng(1), []
    for _ in range(studies):
        records, (baseline,) = draw_study(rng, design, {"m": nothing_works(points)})
        grid = build_grid(records, baseline)
        areas.append(cross_fitted_area(grid, resamples=1).value if cross_fitted else raw_area(grid))
    return f"{np.mean(areas):.3f} ± {np.std(areas) / studies**0.5:.3f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
