"""Fresh word problems: stories told by templates and a seed, so that no model can have seen them.

A story has a number, and each event changes it; the question asks for it at the end. Difficulty is the number of
reasoning steps: an event that buys 3 packs of 8 takes two. The stories themselves stand in `fresh_stories`. This
module refuses to know models and prompts. Invariant: every value on the way is a positive whole number, and the answer
follows from the text by exactly `steps` operations of arithmetic.
"""

from dataclasses import dataclass
from random import Random

from offmodel.core.errors import DataError, UnknownName
from offmodel.evals.fresh_stories import NAMES, STORIES, Event, Story

MAX_STEPS = 8
_HIGHEST = 2000
_PATIENCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A word problem.

    Attributes:
        text: the story and its question.
        answer: a positive whole number.
        steps: operations of arithmetic that lead to it.
        story: name of the story.
        templates: the sentences used, to count combinations.
    """

    text: str
    answer: int
    steps: int
    story: str
    templates: tuple[str, ...]


def problems(*, steps: int, n: int, seed: int, split: str) -> list[Problem]:
    """Distinct problems, the same for the same arguments.

    Args:
        steps: reasoning steps of each, 1 to `MAX_STEPS`.
        n: how many.
        seed: seed of the generator.
        split: "dev" or "test"; the two share neither stories nor sentences.

    Raises:
        DataError: the number of steps is out of range, or there are not so many distinct problems.
        UnknownName: there is no such split.
    """
    if split not in STORIES:
        raise UnknownName("split of fresh_math", split, STORIES)
    if not 1 <= steps <= MAX_STEPS:
        raise DataError(f"Fresh problems have 1 to {MAX_STEPS} steps, not {steps}; choose a number between them.")
    random = Random(f"{split}/{steps}/{seed}")
    found: dict[str, Problem] = {}
    for _ in range(n * _PATIENCE):
        if len(found) == n:
            break
        problem = _attempt(random.choice(STORIES[split]), steps, random)
        if problem is not None:
            found.setdefault(problem.text, problem)
    if len(found) < n:
        raise DataError(f"Only {len(found)} distinct problems of {steps} steps were found; ask for fewer than {n}.")
    return list(found.values())


def _attempt(story: Story, steps: int, random: Random) -> Problem | None:
    """One problem, or None if the draw led to a dead end (a value that cannot be halved, say)."""
    name, other = random.sample(NAMES, 2)
    words = dict(zip(("name", "he", "him", "his"), name, strict=True)) | {"other": other[0]}
    words["He"], words["His"] = words["he"].capitalize(), words["his"].capitalize()
    opening, question = random.choice(story.openings), random.choice(story.questions)
    value = random.randint(*story.start)
    sentences, used, left = [opening.format(**words, n=value)], [opening, question], steps
    while left > 0:
        open_events = [e for e in story.events if e.steps <= left and e.text not in used]
        if not open_events:
            return None
        event = random.choice(open_events)
        change = _apply(event, value, random)
        if change is None:
            return None
        value, numbers = change
        sentences.append(event.text.format(**words, **numbers))
        used.append(event.text)
        left -= event.steps
    sentences.append(question.format(**words))
    return Problem(text=" ".join(sentences), answer=value, steps=steps, story=story.name, templates=tuple(used))


def _apply(event: Event, value: int, random: Random) -> tuple[int, dict[str, int]] | None:
    """The value after an event, with the numbers that its sentence shows; None if it cannot happen to this value."""
    a, b = random.randint(*event.a), random.randint(*event.b)
    after = {
        "add": value + a,
        "take": value - a,
        "times": value * a,
        "share": value // a if value % a == 0 else 0,
        "lose_part": value - value // a if value % a == 0 else 0,
        "add_many": value + a * b,
        "take_many": value - a * b,
    }[event.change]
    if not 2 <= after <= _HIGHEST:
        return None
    return after, {"a": a, "b": b}
