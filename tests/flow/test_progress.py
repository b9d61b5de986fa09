"""What a run shows: honest numbers, few lines."""

import io

import pytest
from rich.console import Console
from toy_recipes import Number, Total

from offmodel.flow.board import Board
from offmodel.flow.graph import closure
from offmodel.flow.plan import Cost
from offmodel.flow.progress import Frames, Lines, duration, headline, speed_words, terminal_watch
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


def test_a_group_shares_the_time_that_has_passed() -> None:
    clock = Clock()
    numbers = [Number(seed=i) for i in range(4)]
    state = board(clock, *numbers, number=10.0)
    for number in numbers:
        state.begin(number, together=4)
    clock.now += 8
    assert state.forecast().seconds == pytest.approx(40 - 8)


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


def test_speeds_are_of_the_last_minute_and_need_facts() -> None:
    clock = Clock()
    numbers = [Number(seed=i) for i in range(5)]
    state = board(clock, *numbers, number=1.0)
    assert speed_words(state) == ""
    clock.now += 10
    state.finish(numbers[0].digest, 10.0, {"tokens": 5000})
    state.finish(numbers[1].digest, 10.0, {"trained_tokens": 1000})
    state.finish(numbers[2].digest, None, {"tokens": 99_000})  # another run's work is not this one's speed
    assert state.speeds() == {"sampled": 500.0, "trained": 100.0}
    assert speed_words(state) == "500 tokens sampled/s, 100 tokens trained/s"
    clock.now += 30
    state.finish(numbers[3].digest, 10.0, {"tokens": 1000})
    assert state.speeds()["sampled"] == pytest.approx(6000 / 40)
    clock.now += 61
    assert state.speeds() == {}


def test_what_runs_tells_its_own_speed() -> None:
    clock = Clock()
    numbers = [Number(seed=i) for i in range(2)]
    state = board(clock, *numbers, number=1.0)
    for number in numbers:
        state.begin(number)
    clock.now += 100  # waiting for the group's other members is no part of the speed
    for done, loss in ((1, 2.0), (21, 1.5)):
        state.tell(numbers[0].digest, done / 40, f"step {done} of 40, loss {loss:.3f}")
        state.tell(numbers[1].digest, done / 40, f"{done} of 40 sampled")
        clock.now += 5
    state.tell(numbers[0].digest, 0.55, "step 22 of 40, loss 1.4")
    assert [i.speed for i in state.running.values()] == ["2.1 steps/s", "4 sampled/s"]
    state.tell(numbers[0].digest, 0.6, "writing")
    assert state.running[numbers[0].digest].text == "writing"


def test_kinds_are_counted_and_those_that_are_done_come_last() -> None:
    a, b = Number(seed=1), Number(seed=2)
    total = Total(parts=(a, b))
    state = board(Clock(), total, number=1.0, total=1.0)
    state.begin(a)
    state.finish(a.digest, 1.0)
    state.begin(b)
    assert [(k.kind, k.done, k.running, k.left) for k in state.kinds()] == [("number", 1, 1, 1), ("total", 0, 0, 1)]
    state.finish(b.digest, 1.0)
    assert [k.kind for k in state.kinds()] == ["total", "number"]


def test_a_typical_cost_is_called_a_guess_until_it_is_measured() -> None:
    a, b = Number(seed=1), Number(seed=2)
    clock = Clock()
    state = Board(closure([a, b]), present=0, costs={"number": Cost(60.0, 1, "typical")}, workers=1, clock=clock)
    assert "about 2 min 00 s left (a guess: number not measured here yet)" in headline(state)
    state.finish(a.digest, 60.0)
    clock.now += 2
    assert "about 1 min 00 s left" in headline(state)
    assert "guess" not in headline(state)


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59, 125, 11400)] == ["0 s", "59 s", "2 min 05 s", "3 h 10 min"]
