"""Multiple choice (MMLU): rows as items, and graders that read the letter of a choice.

Two ways of answering: a last line "ANSWER: B", and the letter between tags, "<answer>B</answer>". This module refuses
to know files and models. Invariant: a letter counts only where the answer commits to it, and only if the item has it;
a letter that merely stands somewhere in the reasoning is never read.
"""

import re
from typing import Any

from offmodel.core.errors import DataError
from offmodel.evals.graders import Grade, last_boxed, register_grader
from offmodel.evals.measures import Item
from offmodel.evals.suites.mathematics import asked, text_of

LETTERS = "ABCDEFGHIJ"
_OF = " of "
"""In a target, between the right letter and all that the item has: "B of ABCD"; a letter alone is one of ten."""
LETTER, TAGGED = (f"offmodel.evals.suites.choice:{name}" for name in ("letter", "letter_in_tags"))
"""Graders, named with this module so that every process finds them."""

_MARKS = r"""(?:[\s*_`"'$(\[{]|\\(?:boxed|text|textbf|mathrm)\{)*"""
_NO_WORD = r"(?![\w'\u2019])"
# "ANSWER: B", "**Answer:** (b)"; a small letter counts only where nothing but marks follow it: "answer: a dog" is none.
_NAMED = re.compile(
    rf"(?i:\banswer)[\s*_`]*[:=]{_MARKS}(?:(?i:option|choice)\s+)?{_MARKS}(?:([A-J]){_NO_WORD}|([a-j])(?=[^\w\n]*(?:\n|\Z)))"
)
# "The answer is **B**", "the correct answer is option (B)".
_SAID = re.compile(rf"(?i:\banswer\s+is)\s*:?{_MARKS}(?:(?i:option|choice)\s+)?{_MARKS}([A-J]){_NO_WORD}")
# The whole first or last line is the choice: "B", "(B)", "B.", "B) Paris".
_LINE = re.compile(r"""[\s*_`"'$(\[{]*([A-J])(?:[\s*_`"'$)\]}.:]*|[).:]\**\s+\S.*)""")
_TAG = re.compile(r"<answer>\s*[(\[]?\s*([A-J])\s*(?:[)\].:][^<]*)?(?:</answer>|\Z)", re.IGNORECASE)
_BOXED = re.compile(r"\s*(?:\\text\{|\\mathrm\{|\\textbf\{)?\s*\(?\s*([A-J])\s*\)?[\s.}]*")


def mmlu_row(number: int, row: dict[str, Any], prompt: str) -> Item:
    """A row of MMLU: "question", "choices", "answer" (index of the right one), "subject" (the topic).

    The target is the right letter and those that the item has: "B of ABCD".
    """
    choices, right = row["choices"], row["answer"]
    if not isinstance(choices, list) or not isinstance(right, int) or not 0 <= right < len(choices) <= len(LETTERS):
        raise DataError(f"Line {number} of MMLU has no 'choices' with the index of the 'answer'; mend the line.")
    listed = "\n".join(f"{letter}) {str(c).strip()}" for letter, c in zip(LETTERS, choices, strict=False))
    return Item(
        id=str(row.get("id", f"row-{number}")),
        messages=asked(prompt, f"{text_of(row, 'question', number)}\n\n{listed}"),
        target=f"{LETTERS[right]}{_OF}{LETTERS[: len(choices)]}",
        topic=str(row.get("subject") or ""),
    )


def committed_letter(text: str, letters: str = LETTERS) -> str:
    r"""The letter that an answer commits to, "" if there is none.

    Only the item's own letters are read: of four choices, "Answer: I think so" names none.

    The last "ANSWER: X" (or "the answer is X"), else the last `\boxed{X}`, else a last or first line that is nothing
    but a choice.
    """
    named = [(m.start(), (m[1] or m[2]).upper()) for m in _NAMED.finditer(text)]
    named += [(m.start(), m[1]) for m in _SAID.finditer(text)]
    named = [(start, letter) for start, letter in named if letter in letters]
    if named:
        return max(named)[1]
    boxed = _BOXED.fullmatch(last_boxed(text) or "")
    if boxed and boxed[1] in letters:
        return boxed[1]
    lines = [line.strip() for line in text.strip().split("\n") if line.strip()]
    for line in (lines[-1], lines[0]) if lines else ():
        if line in tuple(letters.lower()):
            return line.upper()
        alone = _LINE.fullmatch(line)
        if alone and alone[1] in letters:
            return alone[1]
    return ""


def _letter(text: str, target: str) -> Grade:
    right, letters = _right_of(target)
    found = committed_letter(text, letters)
    return Grade(float(found == right), found)


def _tagged(text: str, target: str) -> Grade:
    """The format is part of the task: outside the tags no letter is read."""
    right, letters = _right_of(target)
    named = [x.upper() for x in _TAG.findall(text) if x.upper() in letters]
    found = named[-1] if named else ""
    return Grade(float(found == right), found)


def _right_of(target: str) -> tuple[str, str]:
    """The right letter of a target, and the letters that may be read."""
    right, _, letters = target.partition(_OF)
    return right, letters or LETTERS


register_grader("letter", _letter)
register_grader("letter_in_tags", _tagged)
