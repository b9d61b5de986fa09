"""What is measured before and after a treatment must not be what the treatment was trained on.

Texts are held against the prompts for training as word pairs, so that one that was changed a little is found too. This
module refuses to know models and treatments. Invariant: nothing is left out silently; what overlaps is an error that
names one of both sides.
"""

import re
from collections.abc import Sequence
from itertools import product

from offmodel.core.chat import Prompt
from offmodel.core.errors import AuditError
from offmodel.data import near_duplicate_groups
from offmodel.evals.suites.catalogue import CapabilityTask


def refuse_overlap(watched: Sequence[Prompt], training: Sequence[Prompt]) -> None:
    """Refuse watched prompts that stand among the prompts for training, or almost.

    A treatment that was trained on them would look as if it had removed what it only learnt by heart.

    Raises:
        AuditError: some do; names one.
    """
    found = _shared([_said(p) for p in watched], [_said(p) for p in training])
    if found is not None:
        prompt = watched[found[0]]
        raise AuditError(
            f"The watched prompt '{prompt.id}' ({_said(prompt)[:60]!r}) also stands, or almost, among the training "
            f"prompts ('{training[found[1]].id}'); remove it from one of the files."
        )


def refuse_tasks_overlap(tasks: Sequence[CapabilityTask], training: Sequence[Prompt]) -> None:
    """Refuse tasks of which an item, reported or for decisions, stands among the prompts for training, or almost.

    A treatment that was trained on them would look as if it had kept, or gained, what it only learnt by heart.

    Raises:
        AuditError: some do; names one.
    """
    asked = [(t, q, text) for t in tasks for q in (*t.dev_questions, *t.questions) for text in q.wordings]
    # The last turn alone as well: a system prompt before it does not make another question of it.
    said = [(p, text) for p in training for text in dict.fromkeys((_said(p), p.messages[-1].content))]
    found = _shared([text for _, _, text in asked], [text for _, text in said])
    if found is not None:
        task, question, text = asked[found[0]]
        raise AuditError(
            f"The item '{question.id}' of the task '{task.name}' ({text[:60]!r}) also stands, or almost, among the "
            f"training prompts ('{said[found[1]][0].id}'); remove the task's items from the prompts, or name another "
            "task."
        )


def _shared(measured: Sequence[str], training: Sequence[str]) -> tuple[int, int] | None:
    """Indices of two near duplicates, one of each side; None if there are none."""
    texts = [*measured, *training]
    for group in near_duplicate_groups(texts):
        sides = [[i for i in group if (i < len(measured)) is side] for side in (True, False)]
        if all(sides):
            # Others of the group may be near to one of these two only.
            seen, trained = max(product(*sides), key=lambda pair: _likeness(texts[pair[0]], texts[pair[1]]))
            return seen, trained - len(measured)
    return None


def _likeness(one: str, other: str) -> float:
    """Share of the words of two texts that stand in both."""
    first, second = (set(re.findall(r"\w+", x.casefold())) for x in (one, other))
    return len(first & second) / max(len(first | second), 1)


def _said(prompt: Prompt) -> str:
    return " ".join(m.content for m in prompt.messages)
