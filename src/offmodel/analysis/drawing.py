"""Drawing: panels, axes, lines and marks as SVG text for the page, in its colours and with its keyboard.

A panel has a fixed number of units a side and scales with the page. Colours are the page's variables, so that light
and dark need one drawing. This module knows no study and computes no number. Invariant: every text is escaped, and
what stands in a mark's data can be clicked, hovered and focused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10

SHAPES = (
    "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z",
    "M-4.5,-4.5H4.5V4.5H-4.5Z",
    "M0,-5.6L5.4,4.2H-5.4Z",
    "M0,-6L5.4,0L0,6L-5.4,0Z",
    "M0,5.6L5.4,-4.2H-5.4Z",
    "M-1.9,-5.4H1.9V-1.9H5.4V1.9H1.9V5.4H-1.9V1.9H-5.4V-1.9H-1.9Z",
    "M-5.6,0L4.2,-5.4V5.4Z",
    "M5.6,0L-4.2,-5.4V5.4Z",
    "M0,-5.8L1.7,-1.8L5.6,-1.8L2.6,1L3.6,5L0,2.7L-3.6,5L-2.6,1L-5.6,-1.8L-1.7,-1.8Z",
)
"""Outlines of marks, one a method: told apart without colour."""
DASHES = ("", "7 3", "2 3", "9 3 2 3")
COLOURS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one series is drawn.

    Attributes:
        colour: number of the page's colour, or None for the quiet ink.
        shape: number of the mark's outline.
        dash: number of the line's dashes.
    """

    colour: int | None
    shape: int = 0
    dash: int = 0

    @property
    def ink(self) -> str:
        """The colour as CSS."""
        return "var(--quiet)" if self.colour is None else f"var(--m{self.colour % COLOURS})"


@dataclass(slots=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        width, height: in units; 1 unit is 1 pixel at the size that the panel was made for.
        x, y: the axes' ranges.
        label: said by screen readers.
        left, right, top, bottom: margins.
    """

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    left: int = 44
    right: int = 14
    top: int = 14
    bottom: int = 38
    _parts: list[str] = field(default_factory=list)

    def at_x(self, value: float) -> float:
        """Where a value is, from the left."""
        return round(
            self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - self.left - self.right), 1
        )

    def at_y(self, value: float) -> float:
        """Where a value is, from the top."""
        inside = self.height - self.top - self.bottom
        return round(self.height - self.bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * inside, 1)

    def add(self, svg: str) -> None:
        """Add SVG text, which must be escaped already."""
        self._parts.append(svg)

    @contextmanager
    def series(self, number: int) -> Iterator[None]:
        """What is drawn meanwhile belongs to one series, which the page can hide."""
        self.add(f'<g class="series" data-method="{number}">')
        yield
        self.add("</g>")

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line between two values."""
        ends = f'x1="{self.at_x(x1)}" y1="{self.at_y(y1)}" x2="{self.at_x(x2)}" y2="{self.at_y(y2)}"'
        self.add(f'<line class="{css}" {ends}/>')

    def text(self, x: float, y: float, words: str, css: str, anchor: str = "start", turn: float = 0) -> None:
        """Words at a place in units."""
        turned = f' transform="rotate({turn} {x} {y})"' if turn else ""
        self.add(f'<text class="{css}" x="{x}" y="{y}" text-anchor="{anchor}"{turned}>{escape(words)}</text>')

    def axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_words: str, y_words: str) -> None:
        """Ticks with faint lines, and the axes' words."""
        low, right = self.height - self.bottom, self.width - self.right
        for value in y_ticks:
            at = self.at_y(value)
            self.add(f'<line class="grid" x1="{self.left}" y1="{at}" x2="{right}" y2="{at}"/>')
            self.text(self.left - 6, at + 4, tick_words(value), "tick", "end")
        for value in x_ticks:
            at = self.at_x(value)
            self.add(f'<line class="axis" x1="{at}" y1="{low}" x2="{at}" y2="{low + 4}"/>')
            self.text(at, low + 16, tick_words(value), "tick", "middle")
        self.add(f'<line class="axis" x1="{self.left}" y1="{low}" x2="{right}" y2="{low}"/>')
        self.text((self.left + right) / 2, self.height - 5, x_words, "words", "middle")
        middle = (self.top + low) / 2
        self.text(12, middle, y_words, "words", "middle", turn=-90)

    def path(self, xs: Sequence[float], ys: Sequence[float], style: Style, css: str = "curve") -> None:
        """A line through points."""
        d = "M" + "L".join(f"{self.at_x(x)},{self.at_y(y)}" for x, y in zip(xs, ys, strict=True))
        dash = f' stroke-dasharray="{DASHES[style.dash % len(DASHES)]}"' if style.dash else ""
        self.add(f'<path class="{css}" style="--c:{style.ink}" d="{d}"{dash}/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: Style) -> None:
        """An interval about a line."""
        there = [f"{self.at_x(x)},{self.at_y(self.inside(y))}" for x, y in zip(xs, highs, strict=True)]
        back = [f"{self.at_x(x)},{self.at_y(self.inside(y))}" for x, y in zip(xs, lows, strict=True)]
        self.add(f'<path class="band" style="--c:{style.ink}" d="M{"L".join([*there, *reversed(back)])}Z"/>')

    def inside(self, y: float) -> float:
        """A value no farther out than the panel's frame."""
        return min(max(y, self.y[0]), self.y[1])

    def cross(self, x: tuple[float, float, float], y: tuple[float, float, float], style: Style) -> None:
        """Intervals in both directions, as (value, low, high)."""
        d = (
            f"M{self.at_x(max(x[1], self.x[0]))},{self.at_y(y[0])}H{self.at_x(min(x[2], self.x[1]))}"
            f"M{self.at_x(x[0])},{self.at_y(self.inside(y[1]))}V{self.at_y(self.inside(y[2]))}"
        )
        self.add(f'<path class="whisker" style="--c:{style.ink}" d="{d}"/>')

    def mark(self, x: float, y: float, style: Style, *, data: Mapping[str, object], words: str, css: str = "") -> None:
        """A mark that can be clicked, hovered and focused.

        Args:
            x: its value.
            y: its other value.
            style: how it looks.
            data: `data-` attributes for the page's script.
            words: said by screen readers.
            css: further classes.
        """
        attributes = "".join(f' data-{k}="{escape(str(v))}"' for k, v in data.items())
        self.add(
            f'<g class="mark {css}" style="--c:{style.ink}" transform="translate({self.at_x(x)},{self.at_y(y)})" '
            f'role="button" tabindex="-1" aria-label="{escape(words)}"{attributes}>'
            f'<circle class="reach" r="13"/><circle class="ring" r="10"/>'
            f'<path d="{SHAPES[style.shape % len(SHAPES)]}"/></g>'
        )

    def svg(self, css: str = "") -> str:
        """The panel."""
        return (
            f'<svg class="panel {css}" viewBox="0 0 {self.width} {self.height}" role="group" '
            f'aria-label="{escape(self.label)}">{"".join(self._parts)}</svg>'
        )


def swatch(style: Style) -> str:
    """A line with its mark, for legends."""
    dash = f' stroke-dasharray="{DASHES[style.dash % len(DASHES)]}"' if style.dash else ""
    shape = SHAPES[style.shape % len(SHAPES)]
    return (
        f'<svg class="swatch" style="--c:{style.ink}" viewBox="-15 -8 30 16" width="30" height="16" aria-hidden="true">'
        f'<path class="curve" d="M-14,0H14"{dash}/><path class="shape" d="{shape}"/></svg>'
    )


def interval_bar(value: float, low: float, high: float, span: tuple[float, float], style: Style, units: Iterable[float],
                 middle: float) -> str:  # fmt: skip
    """A value with its interval on a scale that other rows share; `units` are drawn as small ticks."""

    def at(v: float) -> str:
        return f"{100 * min(max((v - span[0]) / (span[1] - span[0]), 0), 1):.2f}%"

    there = sorted(units)
    spread = f'<line class="spread" x1="{at(there[0])}" x2="{at(there[-1])}" y1="11" y2="11"/>' if there else ""
    ticks = "".join(f'<line class="unit" x1="{at(u)}" x2="{at(u)}" y1="6" y2="16"/>' for u in there)
    return (
        f'<svg class="bar" style="--c:{style.ink}" width="100%" height="22" aria-hidden="true">'
        f'<line class="zero" x1="{at(middle)}" x2="{at(middle)}" y1="0" y2="22"/>{spread}{ticks}'
        f'<line class="reach" x1="{at(low)}" x2="{at(high)}" y1="11" y2="11"/>'
        f'<circle class="value" cx="{at(value)}" cy="11" r="4.5"/></svg>'
    )


def tick_words(value: float) -> str:
    """A tick's number: as short as it can be."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "\u2212").replace("0.", ".", 1) if abs(value) < 1 else text


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two values."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    unit = 10 ** floor(log10(raw))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, floor(high / step + 1e-9) + 1)]
