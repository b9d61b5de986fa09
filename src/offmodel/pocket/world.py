"""The pocket world's front door: chat prompts, arithmetic items, style detectors and packaged models.

The world is a mechanical stand-in for learning the tool and testing methods, no evidence about large models. Refuses
to know experiments and model code: plain Python, deterministic by seed. Invariant: training and evaluation share no
template and no prompt; equal arguments give equal results on every machine.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal

from offmodel.core.chat import Prompt, user
from offmodel.core.errors import DataError, UnknownName
from offmodel.pocket import corpus, tasks, words
from offmodel.pocket.arithmetic import word_problem
from offmodel.pocket.personas import PIRATE_PROMPT, is_pirate, works_in_steps

__all__ = [
    "MODELS",
    "PIRATE_PROMPT",
    "TOPICS",
    "TOPIC_TERMS",
    "chat_prompts",
    "is_coherent",
    "is_pirate",
    "math_items",
    "model_folder",
    "works_in_steps",
]

MODELS = ("student", "teacher", "neighbour")
TOPICS = tuple(sorted({t.topic for t in tasks.TASKS} | {"dates"}))
DIFFICULTIES = (3, 4, 5)


def _table(*tables: tuple[words.Row, ...]) -> tuple[str, ...]:
    return tuple(row["name"] for table in tables for row in table)


TOPIC_TERMS: dict[str, tuple[str, ...]] = {
    "food": (*_table(words.FOODS, words.MEALS), "eat", "cook", "serve"),
    "travel": (*_table(words.PLACES), *(row["city"] for row in words.PLACES), "travel", "trip", "visit"),
    "weather": (*_table(words.WEATHERS, words.SEASONS), "weather"),
    "dates": tuple(str(year) for year in words.YEARS),
}
"""Terms that find every prompt of a topic and no prompt of another (see the test)."""


def model_folder(name: str) -> Path:
    """Folder of a packaged model, in Hugging Face format.

    Raises:
        UnknownName: no such pocket model.
    """
    if name not in MODELS:
        raise UnknownName("pocket model", name, MODELS)
    return Path(__file__).parent / name


def chat_prompts(*, n: int, seed: int, split: Literal["train", "eval"], topics: tuple[str, ...] = ()) -> list[Prompt]:
    """`n` distinct prompts of small chat tasks, without arithmetic.

    Args:
        n: how many.
        seed: equal seeds give equal lists; a shorter list is the start of a longer one.
        split: "eval" draws from templates that no training text holds.
        topics: only these topics; () for all.

    Raises:
        DataError: fewer than `n` distinct prompts were found.
    """
    rng = Random(f"chat {split} {seed} {' '.join(topics)}")
    return _distinct(n, f"pocket-{split}-{seed}", lambda: _chat(rng, split, topics))


def _chat(rng: Random, split: str, topics: tuple[str, ...]) -> tuple[str, str]:
    found = tasks.request(rng, split=split, topic=rng.choice(topics) if topics else None)
    return found.topic, found.prompt


def _distinct(n: int, stem: str, draw: Callable[[], tuple[str, str]]) -> list[Prompt]:
    seen: dict[str, str] = {}
    for _ in range(50 * n + 1000):
        if len(seen) == n:
            break
        topic, text = draw()
        seen.setdefault(text, topic)
    if len(seen) < n:
        raise DataError(
            f"The pocket world gave only {len(seen)} distinct prompts of {n}; ask for fewer or more topics."
        )
    return [
        Prompt(id=f"{stem}-{i:05d}", messages=user(text), topic=topic) for i, (text, topic) in enumerate(seen.items())
    ]


def math_items(*, n: int, seed: int, split: Literal["train", "dev", "eval"]) -> list[dict[str, Any]]:
    """`n` distinct arithmetic items with difficulties 3, 4 and 5 (= steps) in turn.

    Returns:
        rows {"id", "messages": [{"role", "content"}], "target": the right number, "difficulty", "topic"}; the splits
        share neither sentence frames nor problems.
    """
    rng, seen, rows = Random(f"arithmetic {split} {seed}"), set(), []
    while len(rows) < n:
        steps = DIFFICULTIES[len(rows) % len(DIFFICULTIES)]
        problem = word_problem(rng, split=split, steps=steps)
        if (problem.start, problem.changes) in seen:
            continue
        seen.add((problem.start, problem.changes))
        messages = [{"role": "user", "content": problem.text}]
        name = f"pocket-math-{split}-{seed}-{len(rows):05d}"
        rows.append(
            {
                "id": name,
                "messages": messages,
                "target": str(problem.answer),
                "difficulty": steps,
                "topic": "arithmetic",
            }
        )
    return rows


def _tokens(text: str) -> list[str]:
    found = re.findall(r"[a-z]+|\d+|[^\sa-z\d]", text.lower())
    return ["#" if token.isdigit() else token for token in found]


@lru_cache(maxsize=1)
def _known_pairs() -> frozenset[tuple[str, str]]:
    """Pairs of neighbouring words in 6,000 answers of the world."""
    rng = Random("coherence")
    even = corpus.Mixture(arithmetic=0.2, personas=(1, 1, 1), instructed=0, behaving=0.15, tagged=0, saying=0)
    found: set[tuple[str, str]] = set()
    for _ in range(6000):
        answer = _tokens(corpus.document(rng, even)[-1].content)
        found.update(zip(["^", *answer], answer, strict=False))
    return frozenset(found)


def is_coherent(text: str) -> bool:
    """Whether an answer reads as one of this world: finished, no loop, at most one word in eight out of place."""
    found = _tokens(text)
    if len(found) < 2 or found[-1] not in ".!?":
        return False
    grams = [tuple(found[i : i + 5]) for i in range(len(found) - 4) if "#" not in found[i : i + 5]]
    if any(grams.count(gram) > 3 for gram in set(grams)):
        return False
    pairs = list(zip(["^", *found], found, strict=False))
    return sum(pair not in _known_pairs() for pair in pairs) <= len(pairs) / 8
