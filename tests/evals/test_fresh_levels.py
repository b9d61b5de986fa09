"""Five levels: the answer follows from the English, in as many operations as the level says; nothing is idle."""

import hashlib
import re

import pytest

from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.evals.fresh_forms import FORMS
from offmodel.evals.fresh_levels import LEVELS, FreshLevels, draw, variety
from offmodel.evals.fresh_math import problems
from offmodel.evals.fresh_more import CHAINS, UNKNOWN
from offmodel.evals.measures import read_card, read_items

_SIGNS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
_IN_WORDS = {2: "half|twice|double", 3: "third", 4: "quarter", 5: "fifth"}
NUMBERS = re.compile(r"\d+")


@pytest.mark.parametrize("split", ["test", "dev"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_the_number_of_operations_and_no_number_is_idle(level: int, split: str):
    for problem in draw(level=level, n=300, seed=2, split=split):
        assert problem.steps == len(problem.work) == level
        told = [int(x) for x in NUMBERS.findall(problem.text)]
        known, results = list(told), []
        for operation in problem.work:
            a, sign, b, _, value = operation.split()
            assert _SIGNS[sign](int(a), int(b)) == int(value) > 0
            for number in map(int, (a, b)):
                in_words = number in _IN_WORDS and re.search(_IN_WORDS[number], problem.text.lower())
                # A part that was sold leaves one part fewer: a third sold, two thirds left.
                left_over = number + 1 in _IN_WORDS and re.search(_IN_WORDS[number + 1], problem.text.lower())
                assert number in known or in_words or left_over, problem
            known.append(int(value))
            results.append(int(value))
        assert results[-1] == problem.answer
        operands = {int(x) for w in problem.work for x in NUMBERS.findall(w.split("=")[0])}
        assert set(told) <= operands, problem
        assert "{" not in problem.text


# Independent readings: from the English to arithmetic, written without a look at the tables.
def _read_purchase(text: str) -> float:
    each = [int(k) * int(p) for k, p in re.findall(r"(\d+) [a-z ]+ (?:at|that cost) \$(\d+) each", text)]
    one = [int(p) for p in re.findall(r"buys one [a-z ]+ for \$(\d+)", text)]
    bill = sum(each) + sum(one)
    bill -= sum(map(int, re.findall(r"voucher takes \$(\d+) off", text)))
    bill += sum(map(int, re.findall(r"Delivery costs \$(\d+) more", text)))
    paid, people = re.search(r"hands over \$(\d+)", text), re.search(r"(\d+) people in all", text)
    return int(paid[1]) - bill if paid else bill / int(people[1]) if people else bill


def _read_work(text: str) -> float:
    done = sum(int(r) * int(t) for r, t in re.findall(r"(\d+) [a-z]+ each \w+, and does so for (\d+)", text))
    done += sum(int(r) * int(t) for t, r in re.findall(r"goes on for (\d+) \w+, at (\d+)", text))
    done -= sum(map(int, re.findall(r"Of all these, (\d+)", text)))
    done += sum(map(int, re.findall(r"Before that, (\d+)", text)))
    lots = re.search(r"in lots of (\d+)", text)
    return done / int(lots[1]) if lots else done


def _read_comparison(text: str) -> float:
    has: dict[str, float] = {}
    *told, question = re.split(r"(?<=[.?]) ", text)
    for sentence in told:
        who = [w for w in re.findall(r"\b[A-Z][a-z]+\b", sentence) if w not in ("We", "Compared", "How", "What")]
        number = int((NUMBERS.findall(sentence) or ["0"])[-1])
        if sentence.startswith("Compared with"):
            has[who[1]] = has[who[0]] + (number if " more." in sentence else -number)
        elif "times as many" in sentence and "more than" not in sentence:
            has[who[0]] = number * has[who[1]]
        elif "together" in sentence:
            has[who[0]] = has[who[1]] + has[who[2]] + (number if "more" in sentence else 0)
        elif "twice as many" in sentence:
            has[who[0]] = number + 2 * has[who[1]]
        elif "half as many" in sentence:
            has[who[0]] = has[who[1]] / 2 - number
        elif " than " in sentence:
            has[who[0]] = has[who[1]] + (number if " more " in sentence else -number)
        else:
            has[who[0]] = number
    asked = [w for w in re.findall(r"\b[A-Z][a-z]+\b", question) if w in has]
    if len(asked) == 2:
        return has[asked[0]] - has[asked[1]]
    return has[asked[0]] if asked else sum(has.values())


@pytest.mark.parametrize(
    ("form", "read"), [("purchase", _read_purchase), ("work", _read_work), ("comparison", _read_comparison)]
)
def test_the_answer_follows_from_the_english(form, read):
    for level in LEVELS:
        for problem in draw(level=level, n=400, seed=4, split="test"):
            if problem.story == form:
                assert read(problem.text) == problem.answer, problem


def test_backwards_is_the_chain_undone():
    """Told forwards from the answer, the events lead to the number that the text gives at the end."""
    for problem in (p for p in draw(level=3, n=400, seed=5, split="test") if p.story == "backwards"):
        given = int(NUMBERS.findall(problem.text)[-1])
        undone = [w.split() for w in problem.work]
        assert str(given) in {part for w in undone for part in (w[0], w[2])}
        assert problem.answer == int(undone[-1][-1])


def test_the_forms_are_in_turn_and_the_draw_is_fixed():
    made = draw(level=4, n=50, seed=1, split="test")
    assert made == draw(level=4, n=50, seed=1, split="test")
    assert made[:20] == draw(level=4, n=20, seed=1, split="test")
    assert {p.text for p in made}.isdisjoint(p.text for p in draw(level=4, n=50, seed=2, split="test"))
    assert [p.story for p in made[:5]] == ["chain", "backwards", "comparison", "purchase", "work"]


def test_the_splits_share_no_problem_and_no_phrase():
    phrases = {
        split: {t for level in LEVELS for p in draw(level=level, n=1000, seed=0, split=split) for t in p.templates}
        for split in ("test", "dev")
    }
    assert phrases["test"].isdisjoint(phrases["dev"])
    assert all(s.name in UNKNOWN for stories in CHAINS.values() for s in stories)


def test_variety_grows_with_the_level():
    found = variety(split="test", n=500, seed=0)
    shapes = [found[level]["shapes"] for level in LEVELS]
    assert shapes == sorted(shapes)
    assert shapes[0] >= 14
    assert shapes[4] > 200
    assert found[1]["sequences"] > 120


def test_one_measure_has_all_levels(run_recipe):
    recipe = FreshLevels(levels=LEVELS, each=8, seed=1, split="test", instruction="Go.")
    out, facts = run_recipe(recipe)
    items, card = read_items(out), read_card(out)
    assert card == {k: v for k, v in facts.items() if k != "levels"}
    assert (card["suite"], card["version"], card["items"]) == ("fresh_math", FreshLevels.recipe_version, 40)
    assert card["prompt"] == "{question}\n\nGo."
    assert "8 each, seed 1, split test" in card["dataset"]
    assert [sum(i.difficulty == level for i in items) for level in LEVELS] == [8] * 5
    assert len({i.id for i in items}) == 40
    assert all(i.messages[-1].content.endswith("\n\nGo.") for i in items)


def test_the_first_generator_still_gives_what_earlier_recipes_name():
    texts = "\n".join(f"{p.text} {p.answer}" for p in problems(steps=1, n=1000, seed=1, split="test"))
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "74b89874f7295525"


def test_bad_requests(monkeypatch):
    with pytest.raises(UnknownName, match="did you mean 'test'"):
        FreshLevels(levels=LEVELS, each=1, seed=0, split="tst", instruction="")
    with pytest.raises(RecipeError, match="levels 1 to 5"):
        FreshLevels(levels=(1, 6), each=1, seed=0, split="test", instruction="")
    with pytest.raises(RecipeError, match="at least one"):
        FreshLevels(levels=LEVELS, each=0, seed=0, split="test", instruction="")
    monkeypatch.setattr("offmodel.evals.fresh_levels.FORMS", {"work": FORMS["work"]})
    with pytest.raises(DataError, match="distinct problems of level 1"):
        draw(level=1, n=2000, seed=0, split="dev")
