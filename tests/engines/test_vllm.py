"""Our use of vLLM: with a stand-in that has its interface and its traps, and with vLLM itself where there is a GPU.

The stand-in answers from the weights that it holds and caches answers by prompt, so that a reload without a reset of
the cache, or an adapter's number used twice, gives a wrong answer. It holds no more adapters than it was started for,
and a step loads none; one that cannot be loaded passes for loaded if its number is named again.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from offmodel.core.errors import ModelError
from offmodel.engines.adapters import read_config
from offmodel.engines.sampling import Part, Request, Sampling, sample, sample_many, submissions, vllm
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, save
from tests.engines.test_sft import go

GREEDY = Sampling(temperature=0.0, seed=0, sampler="vllm-0", dtype="bfloat16")
PROMPTS = [Request((40 + i, 50, 60), 4) for i in range(6)]


Adapters = Callable[..., Path]


class EngineDeadError(Exception):
    """As vLLM's."""


class Engine:
    """The interface of `vllm.LLM` as far as it is used."""

    started: ClassVar[list["Engine"]] = []
    dies_at: ClassVar[set[int]] = set()
    dies_of: ClassVar[str] = ""
    refuses: ClassVar[tuple[tuple[str, Any], ...]] = ()
    submissions: ClassVar[list[list[str]]] = []

    def __init__(self, **options: Any):
        if any(name in options and value in (..., options[name]) for name, value in self.refuses):
            raise ValueError("this model cannot be served\nin this way")
        self.options, self.path, self.cache, self.resets, self.down = options, options["model"], {}, 0, False
        self.adapters: dict[int, str] = {}
        self.held: dict[int, str] = {}
        core = SimpleNamespace(shutdown=self._shutdown)
        self.llm_engine = SimpleNamespace(engine_core=core, add_lora=self._hold)
        Engine.started.append(self)

    def _shutdown(self) -> None:
        self.down = True

    def _hold(self, request: Any) -> None:
        assert self.options["enable_lora"]
        number, folder = request.number, Path(request.path)
        assert self.adapters.setdefault(number, request.path) == request.path, "a number used twice"
        loaded = number in self.held
        self.held[number] = self.held.pop(number, request.path)  # the one used last stands last
        if len(self.held) > self.options["max_loras"]:
            del self.held[next(iter(self.held))]
        if loaded:
            return
        if "damaged" in folder.name or read_config(folder)["r"] > self.options["max_lora_rank"]:
            raise Exception("Call to add_lora method failed: no such tensor")

    def generate(self, prompts: Any, params: Any, *, lora_request: Any, use_tqdm: bool) -> list[Any]:
        assert not self.down
        assert prompts
        names = [Path(r.path).name if r else "" for r in lora_request]
        Engine.submissions.append(list(dict.fromkeys(names)))
        if len(Engine.submissions) in self.dies_at or self.dies_of in {n for n in names if n}:
            raise EngineDeadError("dead")
        assert len({r.number for r in lora_request if r} - set(self.held)) == 0, "a step has to load an adapter"
        found = []
        for prompt, param, lora in zip(prompts, params, lora_request, strict=True):
            ids, number = tuple(prompt["prompt_token_ids"]), lora.number if lora else 0
            held = _mark(self.held[number]) if lora else 0
            answer = self.cache.setdefault((ids, number), [_mark(self.path), held, ids[0]])
            assert param["ignore_eos"]
            out = SimpleNamespace(token_ids=[*answer, param["stop_token_ids"][0]], finish_reason="stop")
            found.append(SimpleNamespace(outputs=[out]))
        return found

    def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        assert method == "reload_weights"
        if self.options.get("enable_lora"):
            raise KeyError("layers.0.qkv_proj.weight")
        self.path = kwargs["weights_path"]

    def reset_prefix_cache(self) -> bool:
        self.cache.clear()
        self.resets += 1
        return True


def _mark(path: str) -> int:
    """A token that tells which weights answered."""
    return int(Path(path, "mark").read_text())


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module("vllm", LLM=Engine, SamplingParams=lambda **given: given)
    module("vllm.lora.request", LoRARequest=lambda name, number, path: SimpleNamespace(number=number, path=path))
    module("vllm.v1.engine.exceptions", EngineDeadError=EngineDeadError)
    monkeypatch.setattr(vllm, "_installed", lambda: "0.24.0")
    monkeypatch.setattr(vllm, "_RUNNING", [])
    Engine.started, Engine.submissions = [], []
    Engine.dies_at, Engine.dies_of, Engine.refuses = set(), "", ()
    return Engine


@pytest.fixture
def models(llama: Path, tmp_path: Path) -> list[Path]:
    """Two models of one shape, and one of another."""
    found = []
    for i in range(3):
        folder = tmp_path / f"model-{i}"
        shutil.copytree(llama, folder)
        (folder / "mark").write_text(str(70 + i))
        found.append(folder)
    config = found[2] / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    return found


@pytest.fixture
def adapters(tmp_path: Path) -> Adapters:
    """Makes a folder of an adapter that answers with a mark."""

    def make(name: str, rank: int = 12, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": 12, **config}))
        (folder / "mark").write_text(str(100 + len(list(tmp_path.glob("*/adapter_config.json")))))
        return folder

    return make


def ask(model: Path, adapter: Path | None = None, *, notices: list[str] | None = None, **changes: Any) -> list[Any]:
    return sample(
        model=model, model_key=model.name, adapter=adapter, adapter_key=adapter and adapter.name, requests=PROMPTS,
        sampling=GREEDY, runtime=Runtime(device="cuda"), progress=lambda *_: None,
        notice=(notices if notices is not None else []).append, **changes,
    )  # fmt: skip


def test_one_engine_answers_for_one_model_after_another(stand_in: type[Engine], models: list[Path]) -> None:
    for model in (models[0], models[0], models[1], models[0]):
        found = ask(model)
        assert [g.ids for g in found] == [(_mark(str(model)), 0, r.ids[0]) for r in PROMPTS]
        assert {g.finish for g in found} == {"stop"}
    assert len(stand_in.started) == 1
    assert stand_in.started[0].resets == 2
    ask(models[2])
    assert len(stand_in.started) == 2
    assert stand_in.started[0].down


def ask_many(
    model: Path, folders: Sequence[Path | None], *, notices: dict[int, str] | None = None, **changes: Any
) -> tuple[dict[int, Any], list[set[int]]]:
    """Answers by place, and the places of what was finished together."""
    said = notices if notices is not None else {}
    parts = [
        Part(
            adapter=folder,
            adapter_key=folder and folder.name,
            requests=PROMPTS,
            progress=lambda *_: None,
            notice=lambda line, i=i: said.update({i: line}),
        )
        for i, folder in enumerate(folders)
    ]
    options = {"sampling": GREEDY, "runtime": Runtime(device="cuda"), **changes}
    found, together = dict[int, Any](), []
    for some in sample_many(model=model, model_key=model.name, parts=parts, **options):
        assert not set(some) & set(found)
        found |= some
        together.append(set(some))
    return found, together


def answers_of(model: Path, folder: Path | None) -> list[tuple[int, ...]]:
    """What the stand-in says for a model with an adapter."""
    return [(_mark(str(model)), _mark(str(folder)) if folder else 0, r.ids[0]) for r in PROMPTS]


def tokens(found: Any) -> list[tuple[int, ...]]:
    return [g.ids for g in found]


def test_adapters_have_numbers_of_their_own(stand_in: type[Engine], models: list[Path], adapters: Adapters) -> None:
    folders = [adapters(name) for name in "abc"]
    for model, adapter in [(0, 0), (0, 1), (0, 0), (1, 0), (1, 2), (0, 1)]:
        assert tokens(ask(models[model], folders[adapter])) == answers_of(models[model], folders[adapter])
    # An engine that serves adapters is not written over: its layers have other names.
    assert [Path(e.path).name for e in stand_in.started] == ["model-0", "model-1", "model-0"]
    assert {(e.options["max_lora_rank"], e.options["max_loras"]) for e in stand_in.started} == {(16, 1)}
    numbers = [number for e in stand_in.started for number in e.adapters]
    assert len(set(numbers)) == len(numbers) == 5


def test_adapters_of_one_base_are_one_submission_and_say_what_each_says_alone(
    stand_in: type[Engine], models: list[Path], adapters: Adapters
) -> None:
    folders = [adapters("a"), None, adapters("b", rank=40)]
    alone = [tokens(ask(models[0], folder)) for folder in folders]
    vllm.forget()
    stand_in.submissions.clear()
    found, together = ask_many(models[0], folders)
    assert [tokens(found[i]) for i in range(3)] == alone == [answers_of(models[0], f) for f in folders]
    assert (together, stand_in.submissions) == ([{0, 1, 2}], [["a", "", "b"]])
    options = stand_in.started[-1].options
    assert (options["max_loras"], options["max_lora_rank"]) == (2, 64)


def test_no_submission_holds_more_adapters_or_requests_than_are_allowed(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [adapters(f"a{i}") for i in range(10)]
    found, together = ask_many(models[0], folders)
    assert together == [set(range(8)), {8, 9}]
    # A cut part goes on in the next submission, and is handed out when it is whole.
    monkeypatch.setattr(submissions, "_SUBMITTED", 10)
    again, pieces = ask_many(models[0], folders[:3])
    assert pieces == [{0}, {1, 2}]
    assert stand_in.submissions[2:] == [["a0", "a1"], ["a1", "a2"]]
    assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert all(tokens(again[i]) == tokens(found[i]) for i in range(3))
    assert [e.options["max_loras"] for e in stand_in.started] == [8]


def test_seeds_do_not_depend_on_what_is_submitted_beside(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    generate = stand_in.generate

    def watched(self: Engine, asked: Any, params: Any, **rest: Any) -> list[Any]:
        seen.append([p["seed"] for p in params])
        return generate(self, asked, params, **rest)

    monkeypatch.setattr(stand_in, "generate", watched)
    warm = replace(GREEDY, temperature=1.0)
    ask_many(models[0], [adapters("a"), adapters("b")], sampling=warm)
    ask_many(models[0], [adapters("c")], sampling=warm)
    together, alone = seen
    assert together == alone * 2
    assert len(set(alone)) == len(PROMPTS)


def test_an_engine_that_dies_is_started_again_for_what_is_unfinished(
    stand_in: type[Engine], models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "_SUBMITTED", 2)
    stand_in.dies_at = {2}
    notices: list[str] = []
    found = ask(models[0], notices=notices)
    assert [g.ids[2] for g in found] == [r.ids[0] for r in PROMPTS]
    assert (len(stand_in.started), len(stand_in.submissions), notices) == (2, 4, [])


def test_a_death_in_the_middle_costs_only_the_submission_that_it_ended(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "_SUBMITTED", 12)
    stand_in.dies_at = {2}
    folders, notices = [adapters(name) for name in "abcdef"], dict[int, str]()
    found, together = ask_many(models[0], folders, notices=notices)
    # What it died of comes alone, then the others go together again.
    assert stand_in.submissions == [["a", "b"], ["c", "d"], ["c"], ["d"], ["e", "f"]]
    assert together == [{0, 1}, {2}, {3}, {4, 5}]
    assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert (len(stand_in.started), notices) == (2, {})


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback runs on the CPU here."""
    from offmodel.engines.sampling import transformers

    plain = transformers.complete
    monkeypatch.setattr(transformers, "complete", lambda **given: plain(**{**given, "runtime": Runtime()}))


@pytest.mark.usefixtures("plainly")
def test_what_vllm_cannot_serve_falls_back_with_one_line(
    stand_in: type[Engine], models: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(words: str, adapter: Path | None = None) -> None:
        notices: list[str] = []
        assert len(ask(models[0], adapter, notices=notices)) == len(PROMPTS)
        assert words in notices[0]
        assert notices[0].endswith("sampled by transformers instead.")
        assert len(notices) == len(notices[0].splitlines()) == 1

    stand_in.refuses = (("model", ...),)
    fails("does not serve this model (ValueError: this model cannot be served)")
    stand_in.refuses, stand_in.dies_at = (), {1, 2, 3}
    fails("its engine died 2 times")
    stand_in.dies_at = set()
    monkeypatch.setattr(vllm, "_installed", lambda: "0.25.1")
    fails("this is vLLM 0.25.1")
    monkeypatch.setattr(vllm, "_installed", lambda: None)
    with pytest.raises(ModelError, match=r"offmodel\[vllm\]"):
        ask(models[0])


def test_captured_steps_are_given_up_before_vllm_is(stand_in: type[Engine], models: list[Path]) -> None:
    stand_in.refuses = (("compilation_config", ...),)
    ask(models[0])
    assert stand_in.started[0].options["enforce_eager"]


def test_where_memory_holds_one_adapter_they_come_one_by_one(
    stand_in: type[Engine], models: list[Path], adapters: Adapters
) -> None:
    stand_in.refuses = (("max_loras", 4),)
    folders, notices = [adapters(name) for name in "abc"], dict[int, str]()
    for _ in range(2):
        found, together = ask_many(models[0], folders, notices=notices)
        assert together == [{0}, {1}, {2}]
        assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert ([e.options["max_loras"] for e in stand_in.started], notices) == ([1], {})


@pytest.mark.usefixtures("stand_in")
def test_models_never_mix(models: list[Path], adapters: Adapters) -> None:
    folders = [adapters("a"), None]
    for model in (models[0], models[1], models[0]):
        found, _ = ask_many(model, folders)
        assert [tokens(found[i]) for i in range(2)] == [answers_of(model, f) for f in folders]


@pytest.fixture
def said_by_transformers(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Which adapters the other sampler was asked for; it answers nothing."""
    from offmodel.engines.sampling import Generation, transformers

    asked: list[str | None] = []

    def complete(*, adapter_key: str | None, requests: Sequence[Request], **_: Any) -> list[Generation]:
        assert not vllm._RUNNING, "two models in memory"
        asked.append(adapter_key)
        if adapter_key == "damaged":
            raise ModelError("no such tensor")
        return [Generation((), "", "length") for _ in requests]

    monkeypatch.setattr(transformers, "complete", complete)
    return asked


def test_what_cannot_be_served_stops_no_other(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    folders = [
        adapters("a"),
        adapters("dora", use_dora=True),
        adapters("damaged"),
        adapters("bad"),
        adapters("b"),
        None,
    ]
    stand_in.dies_of = "bad"
    notices = dict[int, str]()
    found, _ = ask_many(models[0], folders, notices=notices)
    assert all(tokens(found[i]) == answers_of(models[0], folders[i]) for i in (0, 4, 5))
    assert said_by_transformers == ["dora", "damaged", "bad"]
    assert isinstance(found[2], ModelError)
    assert [len(found[i]) for i in (1, 3)] == [len(PROMPTS)] * 2
    for place, words in {1: "use_dora", 2: "cannot load this adapter", 3: "its engine died 2 times"}.items():
        assert words in notices.pop(place)
    assert notices == {}


@pytest.mark.usefixtures("stand_in")
def test_a_damaged_adapter_never_passes_for_loaded(
    models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    damaged, sound = adapters("damaged"), adapters("a")
    parts = [Part(adapter=f, adapter_key=f.name, requests=PROMPTS, progress=lambda *_: None) for f in (damaged, sound)]
    options = {"sampling": GREEDY, "runtime": Runtime(device="cuda")}
    begun = sample_many(model=models[0], model_key=models[0].name, parts=parts, **options)
    assert set(next(begun)) == {1}
    begun.close()  # so the engine goes on
    found, _ = ask_many(models[0], [damaged, sound])
    assert isinstance(found[0], ModelError)
    assert said_by_transformers == ["damaged"]


def test_adapters_too_large_to_start_with_are_left_out(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    stand_in.refuses = (("max_lora_rank", 512),)
    folders = [adapters("large", rank=500), adapters("a"), None]
    found, _ = ask_many(models[0], folders)
    assert said_by_transformers == ["large"]
    assert all(tokens(found[i]) == answers_of(models[0], folders[i]) for i in (1, 2))
    assert stand_in.submissions == [["a", ""]]


def test_the_transformers_sampler_takes_one_adapter_after_another(
    models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offmodel.engines.sampling import transformers

    asked: list[tuple[str | None, int]] = []

    def complete(*, adapter_key: str | None, requests: Sequence[Request], **rest: Any) -> list[str]:
        assert set(rest) == {"model", "model_key", "adapter", "sampling", "runtime", "progress"}
        asked.append((adapter_key, len(requests)))
        return [f"{adapter_key} says"] * len(requests)

    monkeypatch.setattr(transformers, "complete", complete)
    found, together = ask_many(models[0], [adapters("a"), None], sampling=replace(GREEDY, sampler="transformers-5"))
    assert (asked, together) == ([("a", 6), (None, 6)], [{0}, {1}])
    assert [found[i][0] for i in range(2)] == ["a says", "None says"]


def _real() -> bool:
    try:
        return version("vllm").startswith(vllm.SUPPORTED) and torch.cuda.is_available()
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not _real(), reason="needs vLLM 0.24 and a GPU (set CUDA_VISIBLE_DEVICES)")
@pytest.mark.timeout(900)
def test_two_organisms_reloaded_into_the_engine_answer_as_in_fresh_engines(tmp_path: Path) -> None:
    # Heads of a size that vLLM has kernels for; large weights, so that no two tokens are nearly as likely.
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 4}
    config = LlamaConfig(vocab_size=300, num_hidden_layers=2, initializer_range=0.3, **sizes)
    models = [save(LlamaForCausalLM(config).to(torch.bfloat16), tmp_path / name) for name in ("one", "other")]
    adapter, _ = go(models[0], tmp_path, "adapter", sft=replace(BASE, lora=LORA))
    fresh = []
    for model in models:
        vllm.forget()
        fresh.append([g.ids for g in ask(model)])
    notices, said = list[str](), dict[int, str]()
    reloaded = [[g.ids for g in ask(model, notices=notices)] for model in (*models, models[0])]
    assert reloaded == [*fresh, fresh[0]]
    assert fresh[0] != fresh[1]
    folders = [max(adapter.glob("step-*")), None]
    alone = [tokens(ask(models[0], folder, notices=notices)) for folder in folders]
    other, _ = go(models[0], tmp_path, "other", sft=replace(BASE, lora=LORA, seed=BASE.seed + 1))
    folders.append(max(other.glob("step-*")))
    alone.append(tokens(ask(models[0], folders[2], notices=notices)))
    found, together = ask_many(models[0], folders, notices=said)
    assert together == [{0, 1, 2}]
    assert [tokens(found[i]) for i in range(3)] == alone
    assert (notices, said) == ([], {})
    vllm.forget()
