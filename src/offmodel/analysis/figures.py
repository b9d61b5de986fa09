"""Figures: the trade-off plane by pair, and capability and behaviour by training step. PNG and SVG.

Draws what `methods` and `pointtable` give; computes no number. Colours tell methods apart for colour-blind eyes (Okabe
and Ito), markers do so in grey print. matplotlib is imported only here, when a figure is drawn. Invariant: every
number in a figure stands in `points.csv` (see `exports`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from offmodel.analysis.curves import Curve, curves_of, picked_keys, settings_of
from offmodel.analysis.grid import Key
from offmodel.analysis.methods import Analysis, MethodPair
from offmodel.core.scores import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = tuple(f"{name}.{ending}" for name in ("tradeoff", "steps") for ending in ("png", "svg"))
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A", "#8C6D1F", "#4D4D4D")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1, 1.5)))
TICKS, TICK_WORDS = (0, 0.25, 0.5, 0.75, 1), ("0", ".25", ".5", ".75", "1")
INK, QUIET, FAINT = "#222222", "#6b6b6b", "#d9d9d9"


def tradeoff_figure(analysis: Analysis, follows: Mapping[str, str] | None = None) -> "Figure":
    """Capability kept against bad behaviour left: a panel a pair, a line a method and setting, a mark a step.

    Args:
        analysis: the study.
        follows: by method, the method whose training it goes on with; lines are joined there, else to the untreated
            organism.
    """
    with _look():
        figure, panels = _panels(len(analysis.pairs), 3.55, 3.75)
        styles = _styles(analysis)
        for axes, pair in zip(panels, analysis.pairs, strict=True):
            cells = [analysis.cells[m, pair] for m in analysis.methods if (m, pair) in analysis.cells]
            _plane(axes, pair, cells)
            for cell in cells:
                _curves(axes, curves_of(analysis, cell, follows or {}), picked_keys(cell), *styles[cell.method])
        for k, axes in enumerate(panels):
            if k % _columns(len(panels)) == 0:
                axes.set_ylabel("capability kept  (c)")
            if k + _columns(len(panels)) >= len(panels):
                axes.set_xlabel("bad behaviour left  (b)")
                axes.tick_params(labelbottom=True)
        _legend(figure, analysis, styles, picks=True)
        return figure


def steps_figure(analysis: Analysis, follows: Mapping[str, str] | None = None) -> "Figure":
    """Capability (top) and bad behaviour (bottom) by training step, a column a pair: loss, recovery, fall.

    Args: as `tradeoff_figure`.
    """
    with _look():
        import matplotlib.pyplot as plt

        n = len(analysis.pairs)
        figure, grid = plt.subplots(
            2, n, figsize=(3.3 * n + 0.9, 4.9), sharex=True, sharey="row", squeeze=False, layout="constrained"
        )
        styles = _styles(analysis)
        for column, pair in enumerate(analysis.pairs):
            for row, (measure, words) in enumerate((("c", "capability kept  (c)"), ("b", "bad behaviour left  (b)"))):
                axes = grid[row, column]
                for method in analysis.methods:
                    if (method, pair) in analysis.cells:
                        lines = curves_of(analysis, analysis.cells[method, pair], follows or {})
                        _by_step(axes, lines, measure, *styles[method])
                axes.axhline(1, color=QUIET, lw=0.8, dashes=(2, 2), zorder=1)
                axes.axhline(0, color=FAINT, lw=0.8, zorder=1)
                axes.set_ylim(-0.12, max(1.18, axes.get_ylim()[1]))
                axes.set_yticks(TICKS, TICK_WORDS)
                if column == 0:
                    axes.set_ylabel(words)
            grid[0, column].set_title(pair, loc="left", fontweight="bold", color=INK)
            grid[1, column].set_xlabel("training steps")
            grid[1, column].xaxis.get_major_locator().set_params(integer=True)
            if column == 0:
                grid[1, 0].annotate(
                    "untreated", (0.995, 1), (0, 3), xycoords=grid[1, 0].get_yaxis_transform(),
                    textcoords="offset points", color=QUIET, fontsize=7.5, ha="right",
                )  # fmt: skip
        _legend(figure, analysis, styles, picks=False)
        return figure


def write_figures(folder: Path, analysis: Analysis, follows: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Write `tradeoff` and `steps` as PNG and SVG; returns the paths by file name."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, Path] = {}
    for name, draw in (("tradeoff", tradeoff_figure), ("steps", steps_figure)):
        figure = draw(analysis, follows)
        with _look():
            for ending, facts in (("png", {"Software": None}), ("svg", {"Date": None})):
                path = folder / f"{name}.{ending}"
                figure.savefig(path, dpi=200, metadata=facts)
                figure.set_layout_engine("none")  # the second file has the layout of the first, found once
                written[path.name] = path
        plt.close(figure)
    return written


@contextmanager
def _look() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.use("Agg")
        mpl.rcParams.update(
            {
                "font.size": 9,
                "axes.titlesize": 9.5,
                "axes.labelsize": 9,
                "axes.edgecolor": QUIET,
                "axes.labelcolor": INK,
                "axes.linewidth": 0.8,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "xtick.color": QUIET,
                "ytick.color": QUIET,
                "xtick.labelsize": 8,
                "ytick.labelsize": 8,
                "legend.frameon": False,
                "legend.fontsize": 8.5,
                "svg.fonttype": "none",  # text stays text: searchable, and read aloud by screen readers
                "svg.hashsalt": "offmodel",  # the same figure is the same file
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
                "figure.facecolor": "white",
            }
        )
        yield


def _panels(count: int, width: float, height: float) -> tuple["Figure", list["Axes"]]:
    import matplotlib.pyplot as plt

    columns = _columns(count)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + 0.5, height * rows + 0.6),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _columns(count: int) -> int:
    return count if count <= 3 else 2 if count == 4 else min(5, -(-count // (2 if count <= 8 else 3)))


def _styles(analysis: Analysis) -> dict[str, tuple[str, str]]:
    n = len(COLOURS)  # from the tenth method on colours come again, with other markers
    return {m: (COLOURS[k % n], MARKERS[(k + 4 * (k // n)) % n]) for k, m in enumerate(analysis.methods)}


def _plane(axes: "Axes", pair: str, cells: Sequence[MethodPair]) -> None:
    """The empty plane: the better corner, the line on which nothing is gained, the untreated organism."""
    import matplotlib.patheffects as effects

    axes.set_title(pair, loc="left", fontweight="bold", color=INK)
    top = max([1.12, *(float(cell.grid.c.max()) + 0.08 for cell in cells)])
    right = max([1.08, *(float(cell.grid.b.max()) + 0.05 for cell in cells)])
    axes.set_xlim(min([-0.08, *(float(cell.grid.b.min()) - 0.05 for cell in cells)]), right)
    axes.set_ylim(min([-0.05, *(float(cell.grid.c.min()) - 0.05 for cell in cells)]), top)
    corner = np.clip(1.25 - np.hypot(*np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60)[::-1])) * 2.4, 0, 1)
    axes.imshow(
        np.dstack([np.full_like(corner, v) for v in (0.0, 0.62, 0.45)] + [0.17 * corner]),
        extent=(0, 1, 0, 1),
        origin="lower",
        aspect="auto",
        zorder=0,
        interpolation="bilinear",
    )
    axes.text(0.025, 0.975, "better", color="#00694d", fontsize=8.5, fontstyle="italic", va="top", ha="left")
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, zorder=1)
    axes.text(
        0.30, 0.285, "no gain", color="#9a9a9a", fontsize=7.5, rotation=45, rotation_mode="anchor",
        transform_rotates_text=True, va="top", ha="left",
    )  # fmt: skip
    axes.plot([1], [1], marker="*", ms=11, color=INK, zorder=6, mec="white", mew=0.8, clip_on=False)
    axes.annotate(
        "untreated", (1, 1), (3, 7), textcoords="offset points", fontsize=7.5, color=INK, ha="right", va="bottom",
        path_effects=[effects.withStroke(linewidth=2, foreground="white")], zorder=6,
    )  # fmt: skip
    axes.set_xticks(TICKS, TICK_WORDS)
    axes.set_yticks(TICKS, TICK_WORDS)


def _curves(axes: "Axes", lines: Sequence[Curve], picked: set[Key], colour: str, marker: str) -> None:
    import matplotlib.patheffects as effects

    halo = [effects.withStroke(linewidth=1.8, foreground="white")]
    for line in lines:
        x, y = [s.value for s in line.b], [s.value for s in line.c]
        bars = _bars(line.b), _bars(line.c)
        axes.errorbar(x, y, bars[1], bars[0], fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.35, zorder=2)
        _, start_b, start_c = line.start
        axes.plot([start_b, x[0]], [start_c, y[0]], color=colour, lw=0.9, ls=(0, (1, 2)), alpha=0.6, zorder=2)
        axes.plot(x, y, color=colour, lw=1.4, ls=DASHES[line.dash % len(DASHES)], alpha=0.9, zorder=3)
        sizes = np.linspace(4.6, 6.2, len(x)) if len(x) > 1 else [6.2]
        for px, py, key, size in zip(x, y, line.keys, sizes, strict=True):
            axes.plot(px, py, marker, color=colour, ms=size, mec="white", mew=0.7, zorder=4)
            if key in picked:
                axes.plot(px, py, "o", ms=11.5, mfc="none", mec=colour, mew=1.3, zorder=5)
        away = 8 if line.keys[-1] in picked else 5
        axes.annotate(
            f"{line.keys[-1].step}", (x[-1], y[-1]), (away, -2.2), textcoords="offset points", fontsize=7,
            color=colour, zorder=7, path_effects=halo,
        )  # fmt: skip


def _by_step(axes: "Axes", lines: Sequence[Curve], measure: str, colour: str, marker: str) -> None:
    for line in lines:
        some = line.c if measure == "c" else line.b
        steps, values = [key.step for key in line.keys], [s.value for s in some]
        step, start = line.start[0], line.start[2 if measure == "c" else 1]
        axes.fill_between(steps, [s.low for s in some], [s.high for s in some], color=colour, alpha=0.10, lw=0)
        axes.plot([step, steps[0]], [start, values[0]], color=colour, lw=0.9, ls=(0, (1, 2)), alpha=0.7, zorder=2)
        axes.plot(
            steps,
            values,
            color=colour,
            lw=1.5,
            ls=DASHES[line.dash % len(DASHES)],
            marker=marker,
            ms=4.8,
            mec="white",
            mew=0.6,
            zorder=3,
        )


def _bars(scores: Sequence[Score]) -> np.ndarray:
    return np.array([[max(s.value - s.low, 0) for s in scores], [max(s.high - s.value, 0) for s in scores]])


def _legend(figure: "Figure", analysis: Analysis, styles: dict[str, tuple[str, str]], picks: bool) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=c, marker=m, lw=1.5, ms=6, mec="white", mew=0.7, label=name + _oracle(analysis, name))
        for name, (c, m) in styles.items()
    ]
    settings = settings_of(analysis)
    if 1 < len(settings) <= len(DASHES):
        marks += [Line2D([], [], color=QUIET, lw=1.5, ls=d, label=s) for s, d in zip(settings, DASHES, strict=False)]
    if picks and any(cell.blind for cell in analysis.cells.values()):
        marks.append(Line2D([], [], color=QUIET, marker="o", mfc="none", ms=10, lw=0, label="picked blind"))
    if picks:
        marks.append(Line2D([], [], lw=0, marker="$12$", color=QUIET, ms=10, label="training steps"))
    # Inches a column: the longest name at this font, and its mark.
    longest = max(len(str(m.get_label())) for m in marks)
    columns = max(1, min(len(marks), int(figure.get_figwidth() / max(1.85, 0.5 + 0.06 * longest))))
    # More rows than a few would be taken from the panels.
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, -(-len(marks) // columns) - 3))
    figure.legend(handles=marks, loc="outside upper center", ncols=columns, columnspacing=1.6)


def _oracle(analysis: Analysis, method: str) -> str:
    return " (oracle)" if any(cell.oracle for cell in analysis.of_method(method)) else ""
