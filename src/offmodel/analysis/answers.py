"""What answers look like: a few numbers for all answers of a measure, and what changed against another model's.

For style at a glance: how answers open, which words are in most of them, how long they are. Takes score rows; refuses
to know graders and models. Invariant: every number is a function of the rows, and nothing is picked by hand: answers
are sampled by the digest of their item.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_OPENING = 3  # words: enough to tell "let us see" from "ahoy there matey", few enough to repeat
_COMPARED = 12  # words of an opening that are compared with another's
_READ = 32  # answers whose words are counted: a share within .15, and a report of 500 points stays fast
_CHARACTERS = 400  # of each of them: style shows early
_MARKED = 0.25  # least difference of shares at which a word counts as come or gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer.

    Attributes:
        text: as it was given.
        score: 1 = right, or shows the behaviour.
        style: 1 = in the style that was looked for.
        cut: whether it was cut off at the token limit.
        tokens: its length.
    """

    text: str
    score: float
    style: float
    cut: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All answers of a measure in a few numbers.

    Attributes:
        n: how many.
        score, style, coherent, cut: shares of them.
        tokens: median length.
        read: how many were read for their words.
        openings: their first words, with how many of the `n` open so, the most frequent first.
        words: in how many of the `read` answers a word stands.
    """

    n: int
    score: float
    style: float
    coherent: float
    cut: float
    tokens: float
    read: int
    openings: Sequence[tuple[str, int]]
    words: Mapping[str, int]


def answer_of(row: Mapping[str, Any]) -> Answer:
    """A score row's answer."""
    return Answer(
        text=str(row["text"]),
        score=float(row["score"]),
        style=float(row["style"]),
        cut=row["finish"] == "length",
        tokens=int(row["tokens"]),
    )


def profile(rows: Sequence[Mapping[str, Any]]) -> Profile:
    """The profile of a measure's rows; there must be some."""
    n = len(rows)
    read = [_WORD.findall(str(r["text"])[:_CHARACTERS].lower()) for r in rows[:_READ]]
    openings = Counter(_opening(str(r["text"])) for r in rows)
    return Profile(
        n=n,
        score=sum(r["score"] for r in rows) / n,
        style=sum(r["style"] for r in rows) / n,
        coherent=sum(r["coherent"] for r in rows) / n,
        cut=sum(r["finish"] == "length" for r in rows) / n,
        tokens=float(median(r["tokens"] for r in rows)),
        read=len(read),
        openings=sorted(openings.items(), key=lambda x: (-x[1], x[0]))[:3],
        words=Counter(word for words in read for word in set(words)),
    )


def sampled(items: Iterable[str], count: int) -> list[str]:
    """The items whose answers are shown: the first by digest, so that all points show the same and nobody picks."""
    return sorted(items, key=lambda i: hashlib.sha256(i.encode()).digest())[:count]


def changed_words(before: Profile, after: Profile, most: int = 5) -> tuple[list[str], list[str]]:
    """Words that have come into the answers, and words that have gone, the largest change of share first."""
    change = {
        w: after.words.get(w, 0) / after.read - before.words.get(w, 0) / before.read
        for w in {*before.words, *after.words}
    }
    order = sorted(change, key=lambda w: (-abs(change[w]), w))
    come = [w for w in order if change[w] >= _MARKED]
    gone = [w for w in order if change[w] <= -_MARKED]
    return come[:most], gone[:most]


def marked_opening(text: str, other: str) -> list[tuple[bool, str]]:
    """A text in pieces (differs, piece): in its opening, the words that the other's opening lacks are marked.

    The pieces joined are the text. Only the first words are compared: after two openings have parted, every word
    differs, and marking them all would mark nothing.
    """
    theirs = {w.lower() for w in _WORD.findall(other[:_CHARACTERS])[:_COMPARED]}
    pieces: list[tuple[bool, str]] = []
    at = 0
    for k, word in enumerate(_WORD.finditer(text)):
        if k == _COMPARED:
            break
        differs = word.group().lower() not in theirs
        if pieces and pieces[-1][0] and differs:
            pieces[-1] = (True, text[at - len(pieces[-1][1]) : word.end()])
        else:
            pieces += [(False, text[at : word.start()])] * (word.start() > at)
            pieces.append((differs, word.group()))
        at = word.end()
    return [*pieces, (False, text[at:])] if at < len(text) or not pieces else pieces


def _opening(text: str) -> str:
    return " ".join(w.group().lower() for w in islice(_WORD.finditer(text), _OPENING))
