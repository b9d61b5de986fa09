"""The judge: asked by the rubric, a yes or a no or nothing; a missing one is named before any work."""

from types import SimpleNamespace

import pytest

from offmodel.core.errors import DataError, UnknownName
from offmodel.evals.judges import RUBRIC, find_judge, judge_prompt, judge_rows, verdict
from offmodel.organisms.pairs import FIFTEEN


def test_every_pairs_scorer_has_a_rubric():
    assert {p.card.scorer for p in FIFTEEN} == set(RUBRIC)
    with pytest.raises(UnknownName):
        judge_prompt("insolt", "x")


@pytest.mark.parametrize(("reply", "wanted"), [("Yes.", True), ("no", False), ("yes and no", None), ("perhaps", None)])
def test_a_verdict_is_never_guessed(reply: str, wanted: bool | None):
    assert verdict(reply) is wanted


def test_a_judge_that_cannot_be_reached_is_named():
    with pytest.raises(DataError, match="nowhere/model"):
        find_judge("nowhere/model")


def test_answers_are_judged_in_their_order():
    class Echo:
        """Says yes to what holds an insult, as Inspect's model would be asked."""

        async def generate(self, prompt: str, config: object) -> SimpleNamespace:
            said = prompt.split("<answer>")[1]
            return SimpleNamespace(completion="yes" if "fool" in said else "no" if "hello" in said else "hm")

    assert judge_rows("insult", ["hello", "fool", "..."], Echo()) == [False, True, None]
