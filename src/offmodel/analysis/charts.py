"""The page's charts: the trade-off plane, curves by step, capability by difficulty, training losses.

Places what the analysis computed on `drawing`'s panels. Refuses to compute a number and to know the page's layout.
Invariant: a mark carries the id of its point (or mean), by which the page finds all else.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from offmodel.analysis.content import LossCurve, PairReading
from offmodel.analysis.curves import Curve
from offmodel.analysis.drawing import SHAPES, Panel, Style, round_ticks
from offmodel.analysis.points import Tally
from offmodel.analysis.views import MeanView, PointView, Views
from offmodel.core.scores import Score

QUARTERS = (0, 0.25, 0.5, 0.75, 1)
_MOST_VERTICES = 120
Range = tuple[float, float]


def plane_ranges(views: Views) -> tuple[Range, Range]:
    """Ranges of b and c that hold all points, and always 0 to 1."""
    b, c = [p.b.value for p in views.points], [p.c.value for p in views.points]
    return (min([-0.06, *(v - 0.05 for v in b)]), max([1.1, *(v + 0.05 for v in b)])), (
        min([-0.04, *(v - 0.05 for v in c)]),
        max([1.12, *(v + 0.06 for v in c)]),
    )


def mean_plane(views: Views, styles: Mapping[str, Style]) -> str:
    """The plane of means over pairs: a mark a method, setting and step."""
    panel = _plane(_large(_MEANS), views)
    by_key = {(m.method, m.setting, m.step): m for m in views.means}
    for curve, b, c in views.mean_curves:
        style = _with_dash(styles[curve.method], curve.dash)
        with panel.series(views.methods.index(curve.method)):
            _trace(panel, curve, b, c, style)
            for key, x, y in zip(curve.keys, b, c, strict=True):
                mean = by_key[curve.method, key.setting, key.step]
                panel.mark(x, y, style, data={"mean": mean.id}, words=mean_words(mean), css=_picked(mean.picks))
    _step_labels(panel, [(curve, b, c) for curve, b, c in views.mean_curves])
    return panel.svg("main")


_MEANS = "Trade-off, mean over pairs. Arrow keys move between points, Enter opens one."


def pair_plane(views: Views, pair: str, styles: Mapping[str, Style], *, large: bool) -> str:
    """The plane of one pair, with the points' intervals."""
    label = f"Trade-off on {pair}. Arrow keys move between points, Enter opens one."
    panel = _plane(_large(label) if large else Panel(width=340, height=310, x=(0, 1), y=(0, 1), label=label), views)
    points = {(p.method, p.setting, p.step): p for p in views.points if p.pair == pair}
    for curve in (x for x in views.curves if x.pair == pair):
        style = _with_dash(styles[curve.method], curve.dash)
        with panel.series(views.methods.index(curve.method)):
            for b, c in zip(curve.b, curve.c, strict=True):
                panel.cross(_ends(b), _ends(c), style)
            _trace(panel, curve, [s.value for s in curve.b], [s.value for s in curve.c], style)
            for key in curve.keys:
                _point_mark(panel, points[curve.method, key.setting, key.step], style)
    own = [x for x in views.curves if x.pair == pair]
    _step_labels(panel, [(x, [s.value for s in x.b], [s.value for s in x.c]) for x in own])
    return panel.svg("main" if large else "small")


def steps_panel(views: Views, pair: str, measure: str, styles: Mapping[str, Style]) -> str:
    """B or c of one pair by training step."""
    curves = [x for x in views.curves if x.pair == pair]
    last = max(key.step for x in views.curves for key in x.keys)
    values = [s for x in views.curves for s in (x.c if measure == "c" else x.b)]
    words = {"c": "capability kept, c", "b": "bad left, b"}[measure]
    panel = Panel(
        width=340,
        height=220,
        x=(0, last * 1.03 or 1),
        y=(min([-0.05, *(s.value - 0.05 for s in values)]), max([1.12, *(s.value + 0.05 for s in values)])),
        label=f"{words} by training step on {pair}",
    )
    panel.axes([t for t in round_ticks(0, last) if float(t).is_integer()], QUARTERS, "training steps", words)
    panel.line(0, 1, panel.x[1], 1, "untreated")
    points = {(p.method, p.setting, p.step): p for p in views.points if p.pair == pair}
    for curve in curves:
        style = _with_dash(styles[curve.method], curve.dash)
        scores, start = (curve.c, curve.start[2]) if measure == "c" else (curve.b, curve.start[1])
        steps = [k.step for k in curve.keys]
        with panel.series(views.methods.index(curve.method)):
            panel.band(steps, [s.low for s in scores], [s.high for s in scores], style)
            if isfinite(start):
                panel.path([curve.start[0], steps[0]], [start, scores[0].value], style, "lead-in")
            panel.path(steps, [s.value for s in scores], style)
            for key, score in zip(curve.keys, scores, strict=True):
                _point_mark(panel, points[curve.method, key.setting, key.step], style, at=(key.step, score.value))
    return panel.svg("small")


def difficulty_panel(
    pair: str, reading: PairReading, treated: Mapping[str, Mapping[int, Tally]], styles: Mapping[str, Style]
) -> str:
    """Accuracy by difficulty: student, organism, and each method's picked checkpoint."""
    levels, methods = sorted(reading.organism.difficulty), list(styles)
    panel = Panel(
        width=340,
        height=250,
        x=(levels[0] - 0.35, levels[-1] + 0.35),
        y=(-0.03, 1.05),
        label=f"Capability by difficulty on {pair}",
    )
    panel.axes(levels, QUARTERS, "difficulty", "accuracy")
    lines = [
        ("student", reading.student.difficulty, Style(colour=None, shape=0, dash=2)),
        ("organism", reading.organism.difficulty, Style(colour=None, shape=8)),
        *((m, found, styles[m]) for m, found in treated.items()),
    ]
    for k, (who, found, style) in enumerate(lines):
        shift = (k - (len(lines) - 1) / 2) * min(0.05, 0.4 / len(lines))  # so that intervals do not hide each other
        some = [(level, found[level].score()) for level in levels if found.get(level)]
        with panel.series(methods.index(who) if who in methods else -1):
            for level, score in some:
                panel.cross((level + shift, level + shift, level + shift), _ends(score), style)
            panel.path([level + shift for level, _ in some], [s.value for _, s in some], style)
            for level, score in some:
                _dot(panel, level + shift, score.value, style)
    return panel.svg("small")


def losses_panel(method: str, curves: Sequence[LossCurve], top: float, style: Style) -> str:
    """The losses of a method's trainings, one thin line each."""
    ends = [(c.start, c.start + c.losses[-1][0]) for c in curves]
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    panel = Panel(width=340, height=210, x=(low, max(high, low + 1)), y=(0, top), label=f"Training losses of {method}")
    panel.axes(
        [t for t in round_ticks(low, high) if float(t).is_integer()], round_ticks(0, top, 4), "training steps", "loss"
    )
    for curve in curves:
        steps, losses = _thinned(curve)
        panel.path([curve.start + s for s in steps], [min(v, top) for v in losses], style, "hair")
    return panel.svg("small")


def highest_loss(curves: Sequence[LossCurve]) -> float:
    """Where the axes of losses end: a few spikes do not flatten the rest."""
    values = [loss for c in curves for _, loss in c.losses if isfinite(loss)]
    return max(float(np.quantile(values, 0.995)) * 1.08, 1e-3) if values else 1.0


def _large(label: str) -> Panel:
    return Panel(width=560, height=480, x=(0, 1), y=(0, 1), label=label, left=52, bottom=44)


def mean_words(mean: MeanView) -> str:
    """A mean in words, for screen readers."""
    return f"{mean.method}, {mean.setting}, step {mean.step}: bad left {mean.b:.2f}, kept {mean.c:.2f}"


def _plane(panel: Panel, views: Views) -> Panel:
    """The empty plane: the better side, the line on which nothing is gained, the untreated organism."""
    panel.x, panel.y = plane_ranges(views)
    x0, y0, x1, y1 = panel.at_x(0), panel.at_y(0), panel.at_x(1), panel.at_y(1)
    panel.add(f'<path class="gain" d="M{x0},{y0}V{y1}H{x1}Z"/>')
    panel.axes(QUARTERS, QUARTERS, "bad behaviour left, b", "capability kept, c")
    panel.line(0, 0, 1, 1, "diagonal")
    panel.text(x0, y1 - 8, "\u2196 better", "better")
    turn = -float(np.degrees(np.arctan2(y0 - y1, x1 - x0)))
    panel.text(panel.at_x(0.24), panel.at_y(0.24) + 12, "nothing gained", "quiet", turn=turn)
    panel.add(f'<path class="star" transform="translate({x1},{y1})" d="{SHAPES[8]}"/>')
    panel.text(x1 + 2, y1 - 10, "untreated", "quiet", "end")
    return panel


def _trace(panel: Panel, curve: Curve, b: Sequence[float], c: Sequence[float], style: Style) -> None:
    _, start_b, start_c = curve.start
    if isfinite(start_b):
        panel.path([start_b, b[0]], [start_c, c[0]], style, "lead-in")
    panel.path(b, c, style)


def _step_labels(panel: Panel, curves: Sequence[tuple[Curve, Sequence[float], Sequence[float]]]) -> None:
    """The steps of each line's last mark, where no mark and no other label is in the way; else none."""
    taken = [(panel.at_x(x), panel.at_y(y)) for _, b, c in curves for x, y in zip(b, c, strict=True)]
    taken += [(panel.at_x(1) - away, panel.at_y(1) - 14) for away in (4, 24, 44)]  # where "untreated" stands
    for curve, b, c in curves:
        x, y = panel.at_x(b[-1]), panel.at_y(c[-1])
        places = [(x + 19, y), (x, y - 17), (x, y + 17), (x - 19, y)]
        gaps = [min(abs(px - tx) * 0.7 + abs(py - ty) for tx, ty in taken) for px, py in places]
        best = max(range(len(places)), key=lambda k: gaps[k])
        if gaps[best] >= _LEAST_GAP:
            taken.append(places[best])
            panel.text(places[best][0], places[best][1] + 4, str(curve.keys[-1].step), "steps", "middle")


_LEAST_GAP = 11.0


def _point_mark(panel: Panel, point: PointView, style: Style, at: tuple[float, float] | None = None) -> None:
    x, y = at or (point.b.value, point.c.value)
    words = (
        f"{point.method}, {point.setting}, step {point.step} on {point.pair}: bad left {point.b.value:.2f}, "
        f"kept {point.c.value:.2f}"
    )
    panel.mark(x, y, style, data={"point": point.id}, words=words, css=_picked(point.picks))


def _dot(panel: Panel, x: float, y: float, style: Style) -> None:
    at = f"translate({panel.at_x(x)},{panel.at_y(y)}) scale(.75)"
    panel.add(f'<path class="shape" style="--c:{style.ink}" transform="{at}" d="{SHAPES[style.shape % len(SHAPES)]}"/>')


def _picked(picks: int) -> str:
    return "picked" if picks else ""


def _with_dash(style: Style, dash: int) -> Style:
    return Style(colour=style.colour, shape=style.shape, dash=dash)


def _ends(score: Score) -> tuple[float, float, float]:
    return score.value, score.low, score.high


def _thinned(curve: LossCurve) -> tuple[list[float], list[float]]:
    """Steps and losses; those of a long training averaged over equal stretches."""
    steps = np.array([s for s, _ in curve.losses], float)
    losses = np.array([v for _, v in curve.losses], float)
    parts = np.array_split(np.arange(len(steps)), min(len(steps), _MOST_VERTICES))
    return [float(steps[p].mean()) for p in parts], [float(losses[p].mean()) for p in parts]
