"""Arithmetic word problems of the pocket world: a heap of things that grows and shrinks in 3 to 5 steps.

Refuses to know personas. Invariant: the splits share neither a sentence frame for the steps and the question, nor a
problem: a problem's start and changes decide by hash which split it may appear in.
"""

import hashlib
from dataclasses import dataclass
from random import Random

from offmodel.pocket.words import BOYS, COUNTED, GIRLS

LARGEST = 40
"""No running total is above this; small, so that a tiny model can know every sum."""

_GAINS = tuple("finds buys gets wins makes picks".split())
_LOSSES = tuple("loses sells breaks drops hides throws".split())
_OPENINGS = {
    "train": (
        "{who} has {n} {what} .",
        "there are {n} {what} with {who} .",
        "at first {who} has {n} {what} .",
        "today there are {n} {what} with {who} .",
        "now {who} has {n} {what} .",
    ),
    "dev": ("{who} has {n} {what} at first .", "{who} has {n} {what} now ."),
    "eval": ("at first there are {n} {what} with {who} .", "today {who} has {n} {what} ."),
}
_STEPS = {
    "train": (
        "{he} {does} {n} {more} .",
        "{who} {does} {n} {what} .",
        "{who} {does} {n} {more} .",
        "then {he} {does} {n} .",
        "then {who} {does} {n} {what} .",
        "after that {he} {does} {n} {what} .",
        "after that {who} {does} {n} {more} .",
        "now {he} {does} {n} {more} .",
        "now {who} {does} {n} {what} .",
        "today {he} {does} {n} .",
        "today {who} {does} {n} {more} .",
        "and {he} {does} {n} .",
    ),
    "dev": ("then {he} {does} {n} {what} .", "after that {who} {does} {n} .", "now {he} {does} {n} {what} ."),
    "eval": ("now {who} {does} {n} .", "after that {he} {does} {n} {more} .", "today {he} {does} {n} {what} ."),
}
_QUESTIONS = {
    "train": (
        "how many {what} does {who} have now ?",
        "how many {what} are there now ?",
        "count the {what} of {who} .",
        "tell me how many {what} there are now .",
        "now tell me the {what} of {who} .",
    ),
    "dev": ("how many {what} does {who} have ?",),
    "eval": ("tell me how many {what} {who} has now .", "now count the {what} of {who} ."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A word problem: text, first number and the changes in order."""

    text: str
    counted: str
    start: int
    changes: tuple[int, ...]

    @property
    def answer(self) -> int:
        """The right number."""
        return self.start + sum(self.changes)


def word_problem(rng: Random, *, split: str, steps: int) -> Sum:
    """A random problem of a split ("train", "dev" or "eval") with so many steps."""
    while True:
        start, changes = _numbers(rng, steps)
        if _split_of(start, changes) == split:
            break
    boy = rng.random() < 0.5
    slots = {"who": rng.choice(BOYS if boy else GIRLS), "he": "he" if boy else "she", "what": rng.choice(COUNTED)}
    parts = [rng.choice(_OPENINGS[split]).format(n=start, **slots)]
    for change in changes:
        verb = {"does": rng.choice(_GAINS if change > 0 else _LOSSES), "more": "more" if change > 0 else "of them"}
        parts.append(rng.choice(_STEPS[split]).format(n=abs(change), **verb, **slots))
    parts.append(rng.choice(_QUESTIONS[split]).format(**slots))
    return Sum(text=" ".join(parts), counted=slots["what"], start=start, changes=tuple(changes))


def _numbers(rng: Random, steps: int) -> tuple[int, list[int]]:
    start = total = rng.randint(10, 20)
    changes: list[int] = []
    for _ in range(steps):
        # Each number stands once in a problem: a tiny model finds its place in the text by the last number it used.
        legal = [c for c in range(-9, 10) if c and 1 <= total + c <= LARGEST and abs(c) not in map(abs, changes)]
        changes.append(rng.choice(legal))
        total += changes[-1]
    return start, changes


def _split_of(start: int, changes: list[int]) -> str:
    """Which split a problem belongs to: one in eight is for dev, one in four for evaluation."""
    bucket = hashlib.sha256(repr((start, changes)).encode()).digest()[0] % 8
    return {0: "dev", 1: "eval", 2: "eval"}.get(bucket, "train")
