"""The page's data: points, readings and sampled answers as one JSON text, from which the page's script shows a point.

Texts are cut so that the page stays small, and the page says so. Refuses to hold HTML: the script sets text, never
markup. Invariant: the JSON holds no `<`, so that no answer can end the element it stands in.
"""

import json
from collections.abc import Mapping
from typing import Any

from offmodel.analysis.answers import Answer, Profile, changed_words, marked_opening
from offmodel.analysis.content import Content, PairReading, Reading
from offmodel.analysis.points import PointRecord, pick_of
from offmodel.analysis.table import short
from offmodel.analysis.views import PointView, Views
from offmodel.core.scores import Score

LONGEST = (1600, 900, 450, 200)
"""Characters of an answer that are kept; the next is tried if the page would become too large."""
MOST_BYTES = 4_500_000


def page_data(views: Views, content: Content) -> tuple[str, int]:
    """The data as JSON for a script element, and how many characters of an answer it holds at most."""
    for longest in LONGEST:
        text = _as_json(_data(views, content, longest))
        if len(text) <= MOST_BYTES:
            return text, longest
    # Even the shortest answers are too many: the page keeps its numbers and leaves answers to the logs.
    bare = Content(study=content.study, points={}, pairs={}, measures=content.measures)
    return _as_json(_data(views, bare, 0)), 0


def _as_json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", " ")


def _data(views: Views, content: Content, longest: int) -> dict[str, Any]:
    return {
        "methods": list(views.methods),
        "measures": dict(content.measures),
        "pairs": {p: _pair(r, longest) for p, r in content.pairs.items() if p in views.pairs},
        "points": [_point(p, content, longest) for p in views.points],
        "means": [
            {
                "method": m.method,
                "setting": m.setting,
                "step": m.step,
                "b": short(m.b),
                "c": short(m.c),
                "picks": m.picks,
                "of": sum(len(views.points[i].records) for i in m.members),
                "points": list(m.members),
            }
            for m in views.means
        ],
    }


def _pair(reading: PairReading, longest: int) -> dict[str, Any]:
    keys = list(reading.prompts)
    return {
        "items": [[m, cut(reading.prompts[m, i], longest)] for m, i in keys],
        "student": _reading(reading.student, keys, longest),
        "organism": _reading(reading.organism, keys, longest),
    }


def _reading(reading: Reading, keys: list[tuple[str, str]], longest: int) -> dict[str, Any]:
    return {
        "answers": [_answer(reading.answers[k], [[0, cut(reading.answers[k].text, longest)]]) for k in keys],
        "profiles": {m: _profile(p) for m, p in reading.profiles.items()},
        "log": reading.log,
    }


def _point(point: PointView, content: Content, longest: int) -> dict[str, Any]:
    return {
        "pair": point.pair,
        "method": point.method,
        "setting": point.setting,
        "step": point.step,
        "b": _ends(point.b),
        "c": _ends(point.c),
        "at": [round(point.b.value, 3), round(point.c.value, 3)],
        "n": [point.b.n, point.c.n],
        "picks": point.picks,
        "rates": {k: short(v) for k, v in point.rates().items()},
        "seeds": [_seed(r, content, longest) for r in point.records],
    }


def _seed(record: PointRecord, content: Content, longest: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seed": record.seed,
        "tokens": {a: round(n) for a, n in record.tokens_by_author.items()},
        "untrusted": f"{record.untrusted_share:.0%}",
    }
    reading, pair = content.points.get(pick_of(record)), content.pairs.get(record.pair)
    if reading is None or pair is None:
        return found
    keys = list(pair.prompts)
    return found | {
        "recipe": dict(reading.recipe),
        "log": reading.log,
        "answers": [_against(reading, pair, k, longest) for k in keys],
        "profiles": {m: _compared(p, pair.organism.profiles.get(m)) for m, p in reading.profiles.items()},
    }


def _against(reading: Reading, pair: PairReading, key: tuple[str, str], longest: int) -> list[Any] | None:
    answer = reading.answers.get(key)
    if answer is None:
        return None
    return _answer(
        answer, [[int(d), t] for d, t in marked_opening(cut(answer.text, longest), pair.organism.answers[key].text)]
    )


def _answer(answer: Answer, pieces: list[list[Any]]) -> list[Any]:
    return [pieces, answer.score, answer.style, int(answer.cut), answer.tokens]


def _compared(profile: Profile, before: Profile | None) -> dict[str, Any]:
    come, gone = changed_words(before, profile) if before else ([], [])
    return _profile(profile) | {"come": come, "gone": gone}


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "n": profile.n,
        "score": round(profile.score, 3),
        "style": round(profile.style, 3),
        "coherent": round(profile.coherent, 3),
        "cut": round(profile.cut, 3),
        "tokens": profile.tokens,
        "openings": [[w, round(k / profile.n, 3)] for w, k in profile.openings],
    }


def _ends(score: Score) -> str:
    return f"{short(score.value)} [{short(score.low)}, {short(score.high)}]"


def cut(text: str, longest: int) -> str:
    """A text that is not longer, with how much was left out."""
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} characters more in the log)"


def openings_words(profiles: Mapping[str, Profile]) -> dict[str, str]:
    """The most frequent opening of each measure's answers, in words."""
    return {m: f"“{p.openings[0][0]} …” {p.openings[0][1] / p.n:.0%}" for m, p in profiles.items() if p.openings}
