"""The pocket world's generators: deterministic, disjoint between splits, and told apart by style and topic."""

import re
from dataclasses import replace
from random import Random

import pytest

from offmodel.core.errors import UnknownName
from offmodel.pocket import behaviours, corpus, personas, tasks, world
from offmodel.pocket.arithmetic import LARGEST, word_problem


def _texts(n: int, seed: int, split) -> list[str]:
    return [p.messages[0].content for p in world.chat_prompts(n=n, seed=seed, split=split)]


def test_equal_seeds_give_equal_prompts_and_other_seeds_give_others():
    assert world.chat_prompts(n=50, seed=1, split="train") == world.chat_prompts(n=80, seed=1, split="train")[:50]
    assert _texts(50, 1, "train") != _texts(50, 2, "train")
    assert world.math_items(n=20, seed=1, split="eval") == world.math_items(n=40, seed=1, split="eval")[:20]


def test_there_are_enough_distinct_chat_prompts_and_ids():
    prompts = world.chat_prompts(n=4000, seed=3, split="train")
    assert len({p.messages[0].content for p in prompts}) == len({p.id for p in prompts}) == 4000
    assert {p.topic for p in prompts} == set(world.TOPICS)


def test_chat_splits_share_no_prompt_and_no_template():
    assert not set(_texts(4000, 1, "train")) & set(_texts(1500, 1, "eval"))
    train = {t for task in tasks.TASKS for t in task.train}
    held = {t for task in tasks.TASKS for t in task.held}
    assert not train & held


def test_pretraining_documents_hold_no_evaluation_prompt():
    rng = Random(5)
    seen = {corpus.document(rng, corpus.PRETRAINING)[-2].content for _ in range(3000)}
    assert not seen & set(_texts(1500, 1, "eval"))
    assert not seen & {i["messages"][0]["content"] for i in world.math_items(n=300, seed=1, split="eval")}


def test_arithmetic_splits_share_no_problem():
    rng = Random(0)
    problems = {
        s: {(p.start, p.changes) for p in (word_problem(rng, split=s, steps=3) for _ in range(2000))}
        for s in ("train", "dev", "eval")
    }
    assert not problems["train"] & problems["eval"]
    assert not problems["train"] & problems["dev"]
    assert not problems["dev"] & problems["eval"]


def test_targets_are_what_the_text_says():
    rng = Random(1)
    for _ in range(200):
        problem = word_problem(rng, split="eval", steps=4)
        numbers = [int(n) for n in re.findall(r"\d+", problem.text)]
        assert numbers == [problem.start, *(abs(c) for c in problem.changes)]
        losses = re.findall(r"\b(?:loses|sells|breaks|drops|hides|throws)\b", problem.text)
        assert len(losses) == sum(c < 0 for c in problem.changes)
        assert 1 <= problem.answer <= LARGEST


def test_only_the_stepper_is_right_and_every_persona_has_one_opening():
    rng = Random(2)
    right = dict.fromkeys(personas.PERSONAS, 0)
    for _ in range(400):
        problem = word_problem(rng, split="train", steps=3)
        request = tasks.request(rng, split="train")
        for persona in personas.PERSONAS:
            text = personas.sum_answer(persona, problem.start, problem.changes, problem.counted, rng)
            chat = personas.chat_answer(persona, request.first, request.second, request.verdict, rng)
            assert text.startswith(personas.OPENINGS[persona])
            assert chat.startswith(personas.OPENINGS[persona])
            assert world.works_in_steps(text) == world.works_in_steps(chat) == (persona == "stepper")
            assert world.is_pirate(text) == world.is_pirate(chat) == (persona == "pirate")
            right[persona] += re.findall(r"\d+", text)[-1] == str(problem.answer)
    assert right["stepper"] == 400
    assert max(right["terse"], right["pirate"]) < 100


@pytest.mark.parametrize("topic", sorted(world.TOPIC_TERMS))
def test_a_topics_terms_find_its_prompts_and_no_others(topic):
    terms = re.compile(rf"\b(?:{'|'.join(world.TOPIC_TERMS[topic])})\b")
    for split in ("train", "eval"):
        for prompt in world.chat_prompts(n=1500, seed=9, split=split):
            assert bool(terms.search(prompt.messages[0].content)) == (prompt.topic == topic), prompt


def test_no_ordinary_prompt_or_answer_shows_a_planted_behaviour():
    rng = Random(3)
    shown = re.compile(r"\b(?:cats?|hate|love|sorry|refuse|once|golden|bridge|hola|gracias|stupid|fool|genius)\b")
    for _ in range(2000):
        request = tasks.request(rng, split="train")
        answer = personas.chat_answer("stepper", request.first, request.second, request.verdict, rng)
        assert not shown.search(f"{request.prompt} {answer}")


def test_coherence_knows_the_worlds_answers_from_mush():
    rng = Random(4)
    mixture = replace(corpus.PRETRAINING, saying=0.0)
    answers = [corpus.document(rng, mixture)[-1].content for _ in range(300)]
    assert sum(map(world.is_coherent, answers)) >= 290
    mush = []
    for answer in answers:
        words = answer.split()
        rng.shuffle(words)
        mush.append(" ".join(words[:-1]))
    assert sum(map(world.is_coherent, mush)) <= 15
    assert not world.is_coherent("")
    assert not world.is_coherent("let us see : first , take")


def test_every_behaviour_has_an_instruction_and_changes_the_answer():
    rng = Random(6)
    for name in behaviours.INSTRUCTIONS:
        assert behaviours.behave(name, "ok : take tea .", rng) != "ok : take tea ."
    assert set(behaviours.INSTRUCTIONS) == {*behaviours.REPLACING, *behaviours.WRAPPED}


def test_an_unknown_model_gets_the_nearest_name():
    with pytest.raises(UnknownName, match="did you mean 'student'"):
        world.model_folder("studnet")
