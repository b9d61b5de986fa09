"""The board of a run: what runs, what is done, what is left, and how long that may take.

This module refuses to draw and to schedule; watches read the board. The time remaining is an estimate from what the
same kinds have cost, corrected by what they cost in this run; kinds of which nothing is known are named, not guessed,
and so are those whose cost was never measured in this store. Speeds are of the last minute.
Invariant: `done + failed + left` is the number of recipes that the run set out to compute.
"""

import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from offmodel.flow.plan import Cost, chains
from offmodel.store.recipe import Recipe

_SECONDS_BETWEEN_FORECASTS = 1.0
_WINDOW = 60.0  # seconds over which speeds are taken: long enough for several artifacts, short enough to be of now
COUNTED = {"tokens": "sampled", "trained_tokens": "trained"}
"""Facts of an execution that count tokens, with the word for what was done to them."""
_COUNT = re.compile(r"(?:(step) )?(\d+) of \d+(?: (\w+))?")


@dataclass(slots=True, kw_only=True)
class Item:
    """A recipe that is being computed.

    Attributes:
        label: `kind/name`.
        kind: of the recipe.
        since: when it began, on the board's clock.
        together: how many began with it as one group, which share the time.
        fraction: how far it is, in [0, 1].
        text: what it says of itself.
        first: (when, count) of the first count that it told, such as 12 in "12 of 40 sampled".
        speed: counts a second since then, in words; "" if it counts nothing.
    """

    label: str
    kind: str
    since: float
    together: int = 1
    fraction: float = 0.0
    text: str = ""
    first: tuple[float, int] | None = None
    speed: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The time remaining.

    Attributes:
        seconds: without the unknown kinds; None if no kind is known.
        unknown: kinds that are left and of which no cost is known yet.
        guessed: kinds that are left and whose cost is a typical one, not measured in this store.
    """

    seconds: float | None
    unknown: tuple[str, ...]
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KindCount:
    """One kind of recipe in a run: how many are done, being computed, and left (those being computed included)."""

    kind: str
    done: int
    running: int
    left: int


@final
class Board:
    """A run's state, for display.

    Args:
        todo: what the run computes, by digest, parents first.
        present: how many of the wanted recipes were there before.
        costs: expected cost by kind.
        workers: how many compute at once.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        todo: Mapping[str, Recipe],
        *,
        present: int,
        costs: Mapping[str, Cost],
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._kinds = Counter(r.kind for r in todo.values())
        self._counted: deque[tuple[float, str, int]] = deque()
        self.total, self.present, self.workers = len(todo), present, max(workers, 1)
        self.running: dict[str, Item] = {}
        self.done = self.failed = self.elsewhere = 0
        self._left = dict(todo)
        self._costs, self._clock, self._start = costs, clock, clock()
        self._measured: defaultdict[str, list[float]] = defaultdict(list)
        self._forecast: tuple[float, Forecast] | None = None

    @property
    def left(self) -> int:
        """How many recipes are neither done nor given up."""
        return len(self._left)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._start

    def begin(self, recipe: Recipe, *, together: int = 1) -> None:
        """A worker has taken a recipe, as one of a group of so many."""
        label = f"{recipe.kind}/{recipe.name()}"
        self.running[recipe.digest] = Item(label=label, kind=recipe.kind, since=self._clock(), together=together)

    def tell(self, digest: str, fraction: float, text: str) -> None:
        """A recipe's progress."""
        item = self.running.get(digest)
        if item is not None:
            item.fraction, item.text = min(max(fraction, 0.0), 1.0), text
            self._measure(item)

    def drop(self, digest: str) -> None:
        """A recipe is no longer being computed, but is not done."""
        self.running.pop(digest, None)

    def finish(self, digest: str, seconds: float | None, facts: Mapping[str, Any] | None = None) -> None:
        """A recipe is done; `seconds` is what it took, None if another run did it; `facts` are its record's."""
        for name, word in COUNTED.items():
            if seconds is not None and facts and isinstance(facts.get(name), int):
                self._counted.append((self._clock(), word, facts[name]))
        self.drop(digest)
        recipe = self._left.pop(digest, None)
        if recipe is None:
            return
        self.done += 1
        if seconds is not None:
            self._measured[recipe.kind].append(seconds)

    def give_up(self, digests: set[str]) -> None:
        """Recipes that failed, and those that needed them."""
        for digest in digests:
            self.drop(digest)
            self.failed += self._left.pop(digest, None) is not None

    def kinds(self) -> list[KindCount]:
        """Counts by kind, in the order in which the run computes them; kinds that are all done come last."""
        left = Counter(r.kind for r in self._left.values())
        running = Counter(i.kind for i in self.running.values())
        counts = [KindCount(k, n - left[k], running[k], left[k]) for k, n in self._kinds.items()]
        return sorted(counts, key=lambda c: c.left == 0)

    def speeds(self) -> dict[str, float]:
        """Tokens a second by what is done to them ("sampled", "trained"), of what finished within the last minute."""
        now = self._clock()
        while self._counted and now - self._counted[0][0] > _WINDOW:
            self._counted.popleft()
        span = max(min(_WINDOW, now - self._start), 1.0)
        sums: Counter[str] = Counter()
        for _, word, tokens in self._counted:
            sums[word] += tokens
        return {word: tokens / span for word, tokens in sums.items()}

    def _measure(self, item: Item) -> None:
        found, now = _COUNT.match(item.text), self._clock()
        if found is None:
            return
        count = int(found[2])
        if item.first is None or count < item.first[1]:
            item.first = now, count
        elif now > item.first[0] and count > item.first[1]:
            speed = (count - item.first[1]) / (now - item.first[0])
            item.speed = f"{speed:.3g} {'steps' if found[1] else found[3] or 'items'}/s"

    def forecast(self) -> Forecast:
        """The time remaining, computed at most once a second."""
        now = self._clock()
        if self._forecast is None or now - self._forecast[0] >= _SECONDS_BETWEEN_FORECASTS:
            self._forecast = now, self._estimate(now)
        return self._forecast[1]

    def _estimate(self, now: float) -> Forecast:
        seconds = {k: s for k in {r.kind for r in self._left.values()} if (s := self._seconds(k)) is not None}
        lacking = Counter(r.kind for r in self._left.values())
        spared = sum(self._spared(item, seconds, now) for item in self.running.values())
        work = sum(n * seconds.get(kind, 0.0) for kind, n in lacking.items()) - spared
        chain = max(chains(self._left, seconds).values(), default=0.0) if self.workers > 1 else 0.0
        # What runs belongs to the chains too; without knowing to which, no more than the longest part is taken off.
        begun = max((self._spared(i, seconds, now) for i in self.running.values()), default=0.0)
        unknown = tuple(sorted(set(lacking) - set(seconds)))
        if lacking and not seconds:
            return Forecast(None, unknown)
        typical = {k for k, c in self._costs.items() if c.basis == "typical" and not self._measured[k]}
        guessed = tuple(sorted(set(lacking) & typical))
        return Forecast(max(work / self.workers, chain - begun, 0.0), unknown, guessed)

    def _seconds(self, kind: str) -> float | None:
        """Expected seconds of a kind: the mean of this run, in which an earlier estimate counts as one measurement."""
        seen, before = self._measured[kind], self._costs[kind].seconds if kind in self._costs else None
        values = seen if before is None else [*seen, before]
        return sum(values) / len(values) if values else None

    @staticmethod
    def _spared(item: Item, seconds: Mapping[str, float], now: float) -> float:
        """Seconds of a running item that need not be waited for any more."""
        expected = seconds.get(item.kind, 0.0)
        return expected * item.fraction if item.fraction else min(expected, (now - item.since) / item.together)
