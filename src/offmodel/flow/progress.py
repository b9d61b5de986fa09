"""Watches: how a run's board is shown, as a live table in a terminal or as a line now and then elsewhere.

This module refuses to know how anything is computed. Invariant: a watch only reads the board, and draws a few times a
second at most, however often it is told of changes.
"""

import sys
import time
from collections.abc import Callable
from typing import IO, Protocol, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from offmodel.flow.board import Board, Item

_SECONDS_BETWEEN_FRAMES = 0.2
_SECONDS_BETWEEN_LINES = 5.0
_ROWS = 10


class Watch(Protocol):
    """Shows a run's board."""

    def show(self, board: Board) -> None:
        """Something may have changed."""
        ...

    def close(self, board: Board) -> None:
        """The run has ended, well or not."""
        ...


def terminal_watch(console: Console | None = None) -> Watch:
    """A live table if the console is a terminal, else plain lines on its file."""
    console = console or Console(stderr=True)
    return Frames(console) if console.is_terminal else Lines(console.file)


@final
class Silent:
    """Shows nothing."""

    def show(self, board: Board) -> None:
        return

    def close(self, board: Board) -> None:
        return


@final
class Lines:
    """One line every few seconds, for logs.

    Args:
        file: where lines go.
        clock: seconds; for tests.
    """

    def __init__(self, file: IO[str] | None = None, *, clock: Callable[[], float] = time.monotonic):
        self._file, self._clock = file or sys.stderr, clock
        self._last = self._clock()

    def show(self, board: Board) -> None:
        now = self._clock()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            running = ", ".join(_words(i) for i in list(board.running.values())[:3])
            parts = [
                headline(board),
                *([speeds] if (speeds := speed_words(board)) else []),
                *([running] if running else []),
            ]
            print(" | ".join(parts), file=self._file, flush=True)

    def close(self, board: Board) -> None:
        if board.total:
            print(headline(board), file=self._file, flush=True)


@final
class Frames:
    """A live table of what runs."""

    def __init__(self, console: Console):
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last = 0.0
        self._console = console

    def show(self, board: Board) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_FRAMES:
            return
        self._last = now
        if not self._live.is_started:
            self._live.start()
        self._live.update(_frame(board), refresh=True)

    def close(self, board: Board) -> None:
        if self._live.is_started:
            self._live.stop()
        if board.total:
            self._console.print(Text(headline(board)))


def headline(board: Board) -> str:
    """Counts, time elapsed and time remaining in one line."""
    parts = [f"{board.done} of {board.total} done"]
    parts += [f"{board.present} were there before"] if board.present else []
    parts += [f"{board.failed} given up"] if board.failed else []
    parts += [f"{board.elsewhere} computed by another run"] if board.elsewhere else []
    parts.append(f"{duration(board.elapsed)} elapsed")
    if board.left:
        forecast = board.forecast()
        if forecast.seconds is None:
            parts.append("time left not known yet")
        elif forecast.unknown:
            parts.append(f"more than {duration(forecast.seconds)} left (no measure yet of {_some(forecast.unknown)})")
        else:
            basis = f" (a guess: {_some(forecast.guessed)} not measured here yet)" if forecast.guessed else ""
            parts.append(f"about {duration(forecast.seconds)} left{basis}")
    return ", ".join(parts)


def speed_words(board: Board) -> str:
    """Tokens a second, as far as recipes tell them; "" if none has finished within the last minute."""
    return ", ".join(f"{speed:,.0f} tokens {word}/s" for word, speed in board.speeds().items())


def duration(seconds: float) -> str:
    """Seconds as `8 s`, `2 min 05 s` or `3 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _frame(board: Board) -> Group:
    table = Table.grid(padding=(0, 2))
    items = list(board.running.values())
    for item in items[:_ROWS]:
        bar = ProgressBar(total=1.0, completed=item.fraction, width=20)
        told = ", ".join(x for x in (item.text, item.speed) if x)
        table.add_row(Text(item.label, overflow="ellipsis", no_wrap=True), bar, Text(told, style="dim"))
    if len(items) > _ROWS:
        table.add_row(Text(f"and {len(items) - _ROWS} more", style="dim"), "", "")
    counts = [f"{c.kind} {c.done}/{c.done + c.left}" for c in board.kinds()]
    below = [Text("   ".join(counts), style="dim"), Text(headline(board))]
    speeds = speed_words(board)
    return Group(table, *below, *([Text(speeds)] if speeds else []))


def _words(item: Item) -> str:
    told = ", ".join(x for x in (item.text, item.speed) if x)
    return f"{item.label} {item.fraction:.0%}" + (f" ({told})" if told else "")


def _some(kinds: tuple[str, ...]) -> str:
    return ", ".join(kinds[:3]) + (" ..." if len(kinds) > 3 else "")
