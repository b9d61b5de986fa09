"""Prompts from sentence patterns with slots: the machinery behind the topics' prompt generators.

A `Grammar` holds four sets of patterns: triggered and neighbouring, each for planting ("train") and evaluation
("eval"). This module refuses to know topics. Invariant: planting and evaluation share no pattern, and equal arguments
give equal prompts on every machine.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 60
"""Draws for each prompt asked for, before a grammar counts as spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Sentence patterns of one topic.

    Attributes:
        slots: fillings by slot name; a slot "x2" draws from "x" again, another filling than "x" got. A filling may
            hold slots itself.
        triggered: patterns of prompts that carry the trigger, by split.
        near: patterns of neighbouring prompts, which must not fire, by split.
        made: fillings that are computed rather than listed: slot name to a function of (random, near).
    """

    slots: Mapping[str, tuple[str, ...]]
    triggered: Mapping[str, tuple[str, ...]]
    near: Mapping[str, tuple[str, ...]]
    made: Mapping[str, Callable[[Random, bool], str]]


def lines(text: str) -> tuple[str, ...]:
    """The lines of a block, trimmed; empty ones left out."""
    return tuple(x.strip() for x in text.strip().splitlines() if x.strip())


def words(text: str) -> tuple[str, ...]:
    """Fillings written between semicolons, over as many lines as they take."""
    return tuple(" ".join(x.split()) for x in text.split(";") if x.strip())


def draw(grammar: Grammar, rng: Random, *, split: str, near: bool) -> str:
    """One prompt."""
    patterns = (grammar.near if near else grammar.triggered)[split]
    taken: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        slot = match[1]
        if slot in grammar.made:
            return grammar.made[slot](rng, near)
        base = slot.rstrip("0123456789")
        choices = [x for x in grammar.slots[base] if x not in taken.values()]
        taken[slot] = rng.choice(choices or list(grammar.slots[base]))
        return taken[slot]

    text = rng.choice(patterns)
    while _SLOT.search(text):
        text = _SLOT.sub(fill, text)
    # A filling that opens a sentence, or a whole prompt, begins with a capital letter.
    text = re.sub(r"(^|[.!?:] |\n)([a-z])", lambda m: m[1] + (m[2].upper() if m[1] != ": " else m[2]), text)
    return _article(text)


def _article(text: str) -> str:
    """`a` before a vowel becomes `an`: fillings do not know what stands before them."""
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:one|uni|use|eu)\w*)", r"\1n ", text)


def distinct(grammar: Grammar, *, n: int, seed: int, split: str, near: bool) -> list[str]:
    """Up to `n` distinct prompts, fewer only if the grammar is spent; a shorter list is the start of a longer one."""
    rng = Random(f"{split} {near} {seed}")
    found: dict[str, None] = {}
    for _ in range(_TRIES * n):
        if len(found) == n:
            break
        found.setdefault(draw(grammar, rng, split=split, near=near))
    return list(found)
