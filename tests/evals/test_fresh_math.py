"""Fresh problems: the answer follows from the text, the splits share nothing, the draw is fixed by its arguments."""

import re

import pytest

from offmodel.core.errors import DataError, UnknownName
from offmodel.evals.fresh_math import problems
from offmodel.evals.fresh_stories import STORIES

# An independent reading of one story: sentence to arithmetic, written from the English, not from the tables.
_BUS = [
    (r"At the market, (\d+) people get on", lambda v, a: v + a),
    (r"At the hospital, (\d+) people get on", lambda v, a: v + a),
    (r"At the museum, (\d+) people get off", lambda v, a: v - a),
    (r"At the park, (\d+) people leave", lambda v, a: v - a),
    (r"(\d+) groups of (\d+) children get on", lambda v, a, b: v + a * b),
    (r"(\d+) families of (\d+) people get off", lambda v, a, b: v - a * b),
    (r"half of the passengers get off", lambda v: v / 2),
    (r"there are (\d+) times as many passengers", lambda v, a: v * a),
    (r"a third of the passengers get off", lambda v: v - v / 3),
]


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_the_answer_follows_from_the_text(steps: int):
    read = [p for p in problems(steps=steps, n=150, seed=3, split="test") if p.story == "bus"]
    assert len(read) > 5
    for problem in read:
        opening, *events = re.split(r"(?<=\.) ", problem.text)
        value = float(re.findall(r"\d+", opening)[0])
        for event in events[:-1]:
            found = [(re.search(pattern, event), work) for pattern, work in _BUS]
            (match, work) = next((m, w) for m, w in found if m)
            value = work(value, *map(int, match.groups()))
            assert value > 0
            assert value == int(value)
        assert value == problem.answer


def test_difficulty_is_the_number_of_steps():
    cost = {e.text: e.steps for stories in STORIES.values() for s in stories for e in s.events}
    for steps in range(1, 9):
        for p in problems(steps=steps, n=20, seed=0, split="test"):
            assert sum(cost.get(t, 0) for t in p.templates) == p.steps == steps


def test_equal_arguments_give_equal_problems_and_others_do_not():
    made = problems(steps=3, n=40, seed=5, split="test")
    assert made == problems(steps=3, n=40, seed=5, split="test")
    assert made[:10] == problems(steps=3, n=10, seed=5, split="test")
    assert {p.text for p in made}.isdisjoint(p.text for p in problems(steps=3, n=40, seed=6, split="test"))


def test_many_combinations_and_no_repeats():
    made = problems(steps=3, n=1000, seed=0, split="test")
    assert len({p.text for p in made}) == 1000
    assert len({p.templates for p in made}) > 500
    assert not any("{" in p.text for p in made)


def test_the_splits_share_no_sentence():
    def sentences(split: str) -> set[str]:
        return {t for s in STORIES[split] for t in (*s.openings, *s.questions, *(e.text for e in s.events))}

    assert sentences("dev").isdisjoint(sentences("test"))


def test_bad_requests():
    with pytest.raises(UnknownName, match="did you mean 'test'"):
        problems(steps=3, n=1, seed=0, split="tst")
    with pytest.raises(DataError, match="1 to 8 steps"):
        problems(steps=9, n=1, seed=0, split="test")
