"""What is measured is held against what is trained on: every wording of an item, reported or for decisions."""

import json
from pathlib import Path

import pytest

from offmodel.core.chat import Message, Prompt, user
from offmodel.core.errors import AuditError
from offmodel.core.rows import read_rows
from offmodel.data import Sources
from offmodel.evals.items import STEP_BY_STEP
from offmodel.evals.suites.catalogue import CapabilityTask, named
from offmodel.pocket.world import chat_prompts
from offmodel.studies import quickstart
from offmodel.studies.overlap import refuse_tasks_overlap

FIXTURES = Path(__file__).parents[1] / "fixtures" / "suites"
OTHER = [Prompt(id=f"o{i}", messages=user(f"please tell me how to cook dish number {i} today")) for i in range(5)]


def task(name: str, **counts: int) -> CapabilityTask:
    file = FIXTURES / f"{name.split('_')[0]}.jsonl"
    (found,) = named(f"{name}={file}" if file.is_file() else name, sources=Sources(), **{"n": 2, "dev_n": 2, **counts})
    return found


def question_of(t: CapabilityTask, *, dev: bool) -> str:
    return (t.dev_questions if dev else t.questions)[0].wordings[0]


@pytest.mark.parametrize("dev", [True, False])
@pytest.mark.parametrize("name", ["gsm8k", "math500", "mmlu", "fresh_math", "pocket_math"])
def test_an_item_among_the_training_prompts_is_refused(name: str, dev: bool) -> None:
    tasks = (task("olympiads", n=1, dev_n=1), task(name))
    refuse_tasks_overlap(tasks, OTHER)
    text = question_of(tasks[1], dev=dev)
    wordings = [
        user(text),
        user(text.upper() + " !"),
        user(f"{text}\n\n{STEP_BY_STEP}") if name == "gsm8k" else user(text),
        (Message("system", "You are a kind assistant who answers at length and never hurries."), *user(text)),
    ]
    for messages in wordings:
        with pytest.raises(AuditError, match=rf"of the task '{name}' .*also stands, or almost.*\('mine'\)"):
            refuse_tasks_overlap(tasks, [*OTHER, Prompt(id="mine", messages=messages)])


def test_the_file_of_a_task_as_prompts_is_refused_and_an_item_that_is_not_asked_is_not(tmp_path: Path) -> None:
    rows = read_rows(FIXTURES / "gsm8k.jsonl")
    training = [Prompt(id=str(i), messages=user(r["question"])) for i, r in enumerate(rows)]
    with pytest.raises(AuditError, match="remove the task's items from the prompts"):
        refuse_tasks_overlap([task("gsm8k")], training)
    made = [f"How many {x * 3} does {x} see beside {x * 2}?" for x in ("oak", "owl", "fox", "elm")]
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(json.dumps({"question": x, "answer": "#### 1"}) for x in made))
    (found,) = named(f"gsm8k={file}", sources=Sources(), n=1, dev_n=1)
    asked = {q.wordings[0] for q in (*found.questions, *found.dev_questions)}
    refuse_tasks_overlap([found], [Prompt(id=x, messages=user(x)) for x in made if x not in asked])


def test_pocket_prompts_hold_no_pocket_item() -> None:
    own = quickstart.PROMPTS
    training = chat_prompts(n=own.n, seed=own.seed, split="train")
    refuse_tasks_overlap([task("pocket_math", n=500, dev_n=100)], training)
