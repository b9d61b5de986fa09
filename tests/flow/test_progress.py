"""What a run shows: honest numbers, few lines."""

import io

import pytest
from rich.console import Console
from toy_recipes import Number, Total

from offmodel.flow.board import Board
from offmodel.flow.graph import closure
from offmodel.flow.plan import Cost
from offmodel.flow.progress import Frames, Lines, duration, headline, terminal_watch
from offmodel.store.recipe import Recipe


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def board(clock: Clock, *targets: Recipe, workers: int = 1, **seconds: float) -> Board:
    costs = {k: Cost(s, 10, "measured") for k, s in seconds.items()}
    return Board(closure(targets), present=2, costs=costs, workers=workers, clock=clock)


def test_forecast_is_corrected_by_what_is_measured() -> None:
    clock = Clock()
    numbers = [Number(seed=i) for i in range(11)]
    state = board(clock, *numbers, number=1.0)
    assert state.forecast().seconds == pytest.approx(11)
    for number in numbers[:10]:
        state.begin(number)
        clock.now += 12
        state.finish(number.digest, 12.0)
    assert state.forecast().seconds == pytest.approx(11)  # one left, at (10 x 12 + 1) / 11 seconds
    assert state.elapsed == 120
    assert (state.done, state.left, state.failed) == (10, 1, 0)


def test_forecast_counts_what_runs_and_what_must_wait() -> None:
    clock = Clock()
    a, b = Number(seed=1), Number(seed=2)
    total = Total(parts=(a,))
    state = board(clock, a, b, total, workers=4, number=10.0, total=20.0)
    assert state.forecast().seconds == pytest.approx(30)  # the total waits for its number
    state.begin(a)
    state.tell(a.digest, 0.5, "half")
    clock.now += 2
    assert state.forecast().seconds == pytest.approx(25)


def test_forecast_says_what_it_does_not_know() -> None:
    clock = Clock()
    a = Number(seed=1)
    state = board(clock, Total(parts=(a,)))
    assert state.forecast().seconds is None
    assert "time left not known yet" in headline(state)
    state.finish(a.digest, 3.0)
    clock.now += 5
    assert state.forecast().unknown == ("total",)
    state = board(clock, Total(parts=(a,)), number=70.0)
    assert "more than 1 min 10 s left (no measure yet of total)" in headline(state)


def test_what_is_given_up_leaves_the_board() -> None:
    a = Number(seed=1)
    total = Total(parts=(a,))
    state = board(Clock(), total, number=1.0, total=1.0)
    state.begin(a)
    state.give_up({a.digest, total.digest})
    state.give_up({a.digest})
    assert (state.done, state.failed, state.left, state.running) == (0, 2, 0, {})
    assert headline(state) == "0 of 2 done, 2 were there before, 2 given up, 0 s elapsed"


def test_lines_are_few() -> None:
    clock, out = Clock(), io.StringIO()
    state = board(clock, *(Number(seed=i) for i in range(100)), number=1.0)
    watch = Lines(out, clock=clock)
    state.begin(Number(seed=1))
    state.tell(Number(seed=1).digest, 0.25, "step 1 of 4")
    for _ in range(1000):
        clock.now += 0.01
        watch.show(state)
    watch.close(state)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 3
    assert lines[0].endswith("| number/n1 25% (step 1 of 4)")


def test_terminal_gets_a_table_and_a_file_gets_lines() -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    watch = terminal_watch(terminal)
    assert isinstance(watch, Frames)
    state = board(Clock(), *(Number(seed=i) for i in range(20)), number=1.0)
    for i in range(15):
        state.begin(Number(seed=i))
    watch.show(state)
    watch.close(state)
    assert "number/n3" in out.getvalue()
    assert "and 5 more" in out.getvalue()
    assert isinstance(terminal_watch(Console(file=io.StringIO())), Lines)


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 125, 11400)] == ["0 s", "59 s", "2 min 05 s", "3 h 10 min"]
