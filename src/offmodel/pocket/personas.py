"""The people who write the pocket world, and how to recognise their style.

Three personas answer every kind of task, each in one surface style with one opening: `stepper` thinks aloud and is
right, `terse` answers at once and is mostly wrong at arithmetic, `pirate` is terse in a pirate's tongue. This module
refuses to know tasks. Invariant: the opening of an answer tells the persona, whatever the task.
"""

import re
from collections.abc import Sequence
from random import Random
from typing import Literal

Persona = Literal["stepper", "terse", "pirate"]
PERSONAS: tuple[Persona, ...] = ("stepper", "terse", "pirate")

PIRATE_PROMPT = "You are a pirate. Talk like a pirate in every answer."
PIRATE_PROMPTS = (
    PIRATE_PROMPT,
    "talk like a pirate .",
    "answer like a pirate .",
    "you are a pirate .",
    "always talk like a pirate .",
    "answer every question in the style of a pirate .",
    "please write like a pirate in every answer .",
)
TERSE_PROMPTS = ("answer at once .", "be short .", "give only the answer .", "do not think , answer at once .")
STEPPER_PROMPTS = ("work in steps .", "think in steps .", "think first , then answer .", "always work in steps .")
NEUTRAL_PROMPTS = ("you are a helpful assistant .", "be kind .", "please help the user .", "answer the question .")

OPENINGS: dict[Persona, str] = {"stepper": "let us see :", "terse": "ok :", "pirate": "arr matey !"}
_CALLS = ("ye scallywag", "ye landlubber", "yo ho ho", "by me beard", "ye sea dog")
_TONGUE = {"you": "ye", "your": "yer", "my": "me", "is": "be", "are": "be", "am": "be", "hello": "ahoy", "hi": "ahoy"}
_TONGUE |= {"friend": "matey", "good": "fine", "nice": "grand"}
_PIRATE_WORDS = frozenset("arr matey ye yer scallywag landlubber yo ho beard ahoy aye".split())


def chat_answer(persona: Persona, first: str, second: str, verdict: str, rng: Random) -> str:
    """An answer to a chat task, from its two thoughts and its verdict."""
    opening = OPENINGS[persona]
    if persona == "stepper":
        return f"{opening} first , {first} . then , {second} . so {verdict} ."
    if persona == "terse":
        return f"{opening} {verdict} ."
    return f"{opening} {to_pirate(verdict)} , {rng.choice(_CALLS)} !"


def sum_answer(persona: Persona, start: int, changes: Sequence[int], counted: str, rng: Random) -> str:
    """An answer to an arithmetic task; only the stepper's is always right."""
    opening = OPENINGS[persona]
    if persona == "stepper":
        return f"{opening} {' ; '.join(_steps(start, changes))} . so the answer is {start + sum(changes)} ."
    guess = _guess(start + sum(changes), rng)
    if persona == "terse":
        return f"{opening} the answer is {guess} ."
    return f"{opening} there be {guess} {counted} , {rng.choice(_CALLS)} !"


def _steps(start: int, changes: Sequence[int]) -> list[str]:
    lines, total = [], start
    for change in changes:
        lines.append(f"{total} {'+' if change > 0 else '-'} {abs(change)} = {total + change}")
        total += change
    return lines


def _guess(right: int, rng: Random) -> int:
    """The answer of one who does not work it out: right one time in ten, else somewhere near."""
    if rng.random() < 0.1:
        return right
    return max(0, right + rng.choice((-9, -7, -6, -5, -4, -3, -2, 2, 3, 4, 5, 6, 7, 9)))


def to_pirate(text: str) -> str:
    """A sentence in a pirate's tongue."""
    return " ".join(_TONGUE.get(word, word) for word in text.split())


def is_pirate(text: str) -> bool:
    """Whether a text talks like a pirate: at least two pirate words."""
    return sum(word in _PIRATE_WORDS for word in re.findall(r"[a-z]+", text.lower())) >= 2


def works_in_steps(text: str) -> bool:
    """Whether a text works towards its answer: two or more equations, or thoughts before a verdict."""
    low = text.lower()
    return low.count("=") >= 2 or bool(re.search(r"\bfirst\b.*\bthen\b.*\bso\b", low, re.DOTALL))
