"""`offmodel treat` as a new user types it: what is written and said, what is refused before any model is loaded."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from offmodel.audit import PoolSize
from offmodel.cli import app, running
from offmodel.core.rows import write_rows
from offmodel.pocket.world import chat_prompts, model_folder
from offmodel.store.artifacts import Store
from offmodel.store.maintenance import evict
from offmodel.studies import presets
from tests.engines.endpoint_server import said, serving

INSPECTS_OWN = ("ignore:The 'initial' parameter:DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning")
"""Warnings of Inspect's own runner, which are not ours to mend."""
SIZES = {"red": 400, "blue": 8, "reminder": 6, "dev": 4, "eval": 6}
TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def capitals():
    samples = [Sample(id=f"c{i}", input=f"capital number {i} ?", target="the") for i in range(5)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


def offmodel(*words: str | Path) -> Said:
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("COLUMNS", "80")
        out = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        err = stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        with pytest.raises(SystemExit) as ended:
            app.main([str(w) for w in words])
        return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def treat(*words: str | Path, model: str = "pocket:student", teacher: str = "pocket:teacher") -> Said:
    return offmodel("treat", model, "--teacher", teacher, "--device", "cpu", "--n", "6", *words)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pocket preset with a few prompts and steps, computed in this process."""
    whole = presets.find_preset("pocket")
    sft = replace(whole.blue.sft, steps=2, batch_size=4, warmup_steps=0, checkpoints=(1, 2))
    tiny = replace(
        whole,
        sizes=tuple(PoolSize(pool=p, n=n) for p, n in SIZES.items()),
        topic_sizes=(),
        bench=replace(whole.bench, chat_tokens=12),
        blue=replace(whole.blue, sft=sft, reminder=replace(sft, checkpoints=(2,))),
        dev_items=4,
    )
    monkeypatch.setitem(presets._PRESETS, "pocket", lambda: tiny)
    inline: Callable[..., Any] = running.run
    monkeypatch.setattr(running, "run", lambda *a, **k: inline(*a, **{**k, "workers": 0, "beside": 0}))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = ({"id": p.id, "prompt": p.messages[-1].content} for p in chat_prompts(n=60, seed=9, split="train"))
    write_rows(tmp_path / "mine.jsonl", rows)
    return tmp_path / "mine.jsonl"


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    write_rows(tmp_path / "watched.jsonl", ({"id": f"w{i}", "prompt": f"| zone {i} | say {i} ?"} for i in range(4)))
    return tmp_path / "watched.jsonl"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("treat") / "store"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_adapter_that_peft_loads_by_itself_with_its_card(shared: Path, tmp_path: Path) -> None:
    told = treat("--out", tmp_path / "out", "--store", shared)
    assert told.code == 0, told.err
    assert "pocket_math" in told.out
    assert "Removal of a behaviour was not measured" in told.out
    assert max(len(line) for line in told.out.split("Picked")[0].splitlines()) <= 80
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert "Removal of a behaviour was not measured" in card
    assert str(tmp_path) not in card
    about = json.loads((tmp_path / "out" / "offmodel.json").read_text())
    assert about["removal_measured"] is False
    assert {m["title"] for m in about["measures"]} >= {"pocket_math", "pirate style on chat", "coherent on chat"}
    assert all({"value", "n", "low", "high"} <= m["before"].keys() for m in about["measures"])

    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    assert model.peft_config["default"].base_model_name_or_path == str(model_folder("student"))
    assert not list(tmp_path.glob(".out*"))


def test_a_second_run_computes_nothing_and_can_write_a_whole_model(shared: Path, tmp_path: Path) -> None:
    treat("--out", tmp_path / "first", "--store", shared)
    told = treat("--out", tmp_path / "out", "--store", shared, "--merged")
    assert told.code == 0, told.err
    assert told.err.count("0 computed") == 2
    names = {f.name for f in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "offmodel.json"} <= names
    assert "adapter_config.json" not in names
    # What was written can be treated, or loaded, in its turn.
    from offmodel.models import check_model_folder

    check_model_folder(tmp_path / "out")


def test_weights_that_were_evicted_are_computed_again(shared: Path, tmp_path: Path) -> None:
    told = treat("--out", tmp_path / "first", "--store", shared)
    assert told.code == 0, told.err
    shutil.copytree(shared, tmp_path / "s")
    evict(Store(tmp_path / "s"), Store(tmp_path / "s").all())
    told = treat("--out", tmp_path / "out", "--store", tmp_path / "s")
    assert told.code == 0, told.err
    for file in (tmp_path / "first").iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_a_teacher_behind_an_endpoint_and_a_pattern_to_watch(tmp_path: Path, prompts: Path, watched: Path) -> None:
    replies = iter(["", "cut off in the"])

    def reply(body: dict[str, Any]) -> Any:
        text = next(replies, None)
        return said(text, finish="length" if text else "stop") if text is not None else said("ok : it is fine .")

    with serving(reply) as server:
        words = ["--prompts", prompts, "--watch", watched, "--pattern", "[a-z]", "--method", "off_model_sft"]
        words += ["--out", tmp_path / "out", "--store", tmp_path / "s", "--requests", "1"]
        told = treat(*words, teacher=f"{server.url}#tiny")
        assert told.code == 0, told.err
        assert len(server.seen) == SIZES["blue"]
        assert list((tmp_path / "s" / "answers").glob("tiny-*.jsonl"))
        treat(*words[:-4], "--out", tmp_path / "again", "--store", tmp_path / "s", teacher=f"{server.url}#tiny")
        assert len(server.seen) == SIZES["blue"]
    assert "watched: watched: 1.00 before" in told.out
    assert "Watched on 4 prompts, none of which stands among the training prompts" in told.out
    assert "The pattern is found in 7 of 8 training answers" in told.out
    assert "2 answers that were cut off or empty were left out" in told.out
    assert "not measured" not in told.out
    about = json.loads((tmp_path / "out" / "offmodel.json").read_text())
    assert about["authors"] == {"teacher": {"url": server.url, "model": "tiny"}}
    asked = {m["content"] for body in server.seen for m in body["messages"]}
    assert not any("zone" in text for text in asked)


def test_a_judge_reads_the_watched_answers(shared: Path, tmp_path: Path, watched: Path) -> None:
    def reply(body: dict[str, Any]) -> Any:
        asked = body["messages"][-1]["content"]
        assert asked.count("Does it greet?") == 2
        return said("<think>hm</think> Yes." if "zone 0" in asked or "zone 1" in asked else "No")

    with serving(reply) as server:
        words = ["--watch", watched, "--judge", f"{server.url}#j", "--question", "Does it greet?"]
        told = treat(*words, "--out", tmp_path / "out", "--store", shared)
    assert told.code == 0, told.err
    assert "watched: watched: .50 before, .50 after (n = 4): no clear change" in told.out
    assert len(server.seen) in (4, 5, 6, 7, 8)


@pytest.mark.filterwarnings(*INSPECTS_OWN)
def test_an_inspect_task_is_watched(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    told = treat("--watch", f"{tmp_path / 'mine.py'}@capitals", "--out", tmp_path / "out", "--store", shared)
    assert told.code == 0, told.err
    assert "watched: capitals" in told.out
    assert "(n = 5)" in told.out
    assert "An Inspect task scores as it likes" in told.out
    logs = [f for a in Store(shared).all("scores") for f in a.payload.rglob("*.eval") if "capitals" in f.name]
    assert len(logs) == 2


def test_tagged_mix_is_measured_under_the_prompt_it_is_for(shared: Path, tmp_path: Path) -> None:
    told = treat("--method", "tagged_mix", "--out", tmp_path / "out", "--store", shared)
    assert told.code == 0, told.err
    assert "was measured, under the system prompt 'mode " in told.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--method pirat_sft", "did you mean 'pirate_sft'?"),
        ("--method same_style", "has no 'neighbour'"),
        ("--author nobody=pocket:neighbour", "is not ROLE=MODEL with a role among teacher"),
        ("--tasks gsm9k", "There is no task named 'gsm9k'; did you mean 'gsm8k'?"),
        ("--recipe pockt", "did you mean 'pocket'?"),
        ("--device gpu", "There is no device 'gpu'"),
        ("--prompts none.jsonl", "There is no file"),
        ("--prompts empty.jsonl", "holds no prompts"),
        ("--prompts few.jsonl", "but only 2 are left"),
        ("--watch few.jsonl", "give either --pattern REGEX, or --judge MODEL"),
        ("--watch few.jsonl --pattern (", "is no regular expression"),
        ("--watch few.jsonl --pattern x*", "is found in every text"),
        ("--watch few.jsonl --judge pocket:teacher", "A judge needs a question"),
        ("--watch few.jsonl --pattern x --question y", "--question is for a judge"),
        ("--watch empty.jsonl --pattern x", "holds no prompts"),
        ("--watch same.jsonl --pattern x --prompts mine.jsonl", "also stands, or almost, among the training prompts"),
        ("--tasks gsm8k=tasks.jsonl --n 5 --prompts own.jsonl", "of the task 'gsm8k' ('What is the sum of 3 and 9 and"),
        ("--watch nothing/here", "is neither a JSONL file nor an Inspect task"),
        ("--watch none.py@x", "There is no file"),
        ("--watch broken.py@x", "cannot be loaded"),
        ("--pattern x", "name what, with --watch"),
        ("--teacher http://127.0.0.1:9/v1#m", "Nobody answers at http://127.0.0.1:9/v1"),
        ("--teacher http://127.0.0.1:9/v1", "names no model"),
    ],
)
def test_a_mistake_gets_one_sentence_before_any_model_is_loaded(
    tmp_path: Path, prompts: Path, words: str, sentence: str
) -> None:
    Path("empty.jsonl").touch()
    write_rows(Path("few.jsonl"), [{"prompt": "a b c ?"}, {"prompt": "d e f ?"}])
    write_rows(Path("same.jsonl"), [json.loads(prompts.read_text().splitlines()[3])])
    made = [f"What is the sum of {i} and {i * i} and of list {i} ?" for i in range(9)]
    write_rows(Path("tasks.jsonl"), ({"question": x, "answer": "#### 7"} for x in made))
    write_rows(Path("own.jsonl"), [*map(json.loads, prompts.read_text().splitlines()), {"id": "x", "prompt": made[3]}])
    Path("broken.py").write_text("raise ValueError('no')")
    told = treat(*words.split(), "--out", "out", "--store", "s")
    assert told.code == 2, told.out
    assert "Traceback" not in told.err
    assert sentence in " ".join(told.err.split())
    assert not Path("out").exists()
    assert not list(Path("s").glob("model/*"))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("http://127.0.0.1:9/v1#m", "can write labels but not be treated"),
        ("own", "Name a JSONL file of harmless prompts with --prompts"),
    ],
)
def test_a_model_that_cannot_be_treated_so(model: str, sentence: str, prompts: Path) -> None:
    shutil.copytree(model_folder("student"), "own")
    more = ["--prompts", prompts, "--recipe", "pocket"] if model.startswith("http") else []
    told = treat(*more, "--out", "out", model=model)
    assert told.code == 2
    assert sentence in " ".join(told.err.split())


SETTLED = """
from dataclasses import dataclass
from offmodel.treatments.interface import Method

@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    own: int{default}

def build(blue):
    assert blue.choices.of(Share).own == 3
    return blue.training("settled", blue.labels(author="teacher", pool="blue"))

METHOD = Method(name="settled", summary="with settings", source="none", build=build)
"""


@pytest.mark.parametrize("default", ["", " = 3"])
def test_a_method_from_outside_brings_its_settings_or_is_sent_to_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: str
) -> None:
    (tmp_path / "settled.py").write_text(SETTLED.format(default=default))
    info = tmp_path / "settled-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: settled\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[offmodel.treatments]\nsettled = settled:METHOD\n")
    monkeypatch.delitem(sys.modules, "settled", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = treat("--method", "settled", "--out", tmp_path / "out", "--store", tmp_path / "s")
    if default:
        assert told.code == 0, told.err
        return
    assert told.code == 2
    sentence = " ".join(told.err.split())
    assert "'settled' needs settings 'Share', which have no defaults" in sentence
    assert "docs/add-a-treatment.md" in sentence
    assert "Blue" not in sentence
