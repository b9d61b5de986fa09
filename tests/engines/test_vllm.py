"""Our use of vLLM: with a stand-in that has its interface and its traps, and with vLLM itself where there is a GPU.

The stand-in answers from the weights that it holds and caches answers by prompt, so that a reload without a reset of
the cache, or an adapter's number used twice, gives a wrong answer.
"""

import shutil
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from offmodel.core.errors import ModelError
from offmodel.engines.sampling import Request, Sampling, sample, vllm
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, save
from tests.engines.test_sft import go

GREEDY = Sampling(temperature=0.0, seed=0, sampler="vllm-0", dtype="bfloat16")
PROMPTS = [Request((40 + i, 50, 60), 4) for i in range(6)]


class EngineDeadError(Exception):
    """As vLLM's."""


class Engine:
    """The interface of `vllm.LLM` as far as it is used."""

    started: ClassVar[list["Engine"]] = []
    dies_at: ClassVar[set[int]] = set()
    refuses: ClassVar[tuple[str, ...]] = ()
    submissions: ClassVar[int] = 0

    def __init__(self, **options: Any):
        if any(name in options for name in self.refuses):
            raise ValueError("this model cannot be served\nin this way")
        self.options, self.path, self.cache, self.resets, self.down = options, options["model"], {}, 0, False
        self.adapters: dict[int, str] = {}
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._shutdown))
        Engine.started.append(self)

    def _shutdown(self) -> None:
        self.down = True

    def generate(self, prompts: Any, params: Any, *, lora_request: Any, use_tqdm: bool) -> list[Any]:
        assert not self.down
        Engine.submissions += 1
        if Engine.submissions in self.dies_at:
            raise EngineDeadError("dead")
        number = 0
        if lora_request is not None:
            assert self.options["enable_lora"]
            number = lora_request.number
            assert self.adapters.setdefault(number, lora_request.path) == lora_request.path, "a number used twice"
        found = []
        for prompt, param in zip(prompts, params, strict=True):
            ids = tuple(prompt["prompt_token_ids"])
            answer = self.cache.setdefault((ids, number), [_mark(self.path), number, ids[0]])
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
    Engine.started, Engine.dies_at, Engine.refuses, Engine.submissions = [], set(), (), 0
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


def test_adapters_have_numbers_of_their_own(stand_in: type[Engine], models: list[Path], tmp_path: Path) -> None:
    adapters = [tmp_path / name for name in "abc"]
    for folder in adapters:
        folder.mkdir()
        (folder / "adapter_config.json").write_text('{"r": 12, "lora_alpha": 12}')
    numbers = []
    for model, adapter in [(0, 0), (0, 1), (0, 0), (1, 0), (1, 2), (0, 1)]:
        numbers.append(ask(models[model], adapters[adapter])[0].ids[1])
    assert numbers[0] == numbers[2]
    assert len({numbers[i] for i in (0, 1, 3, 4, 5)}) == 5
    # An engine that serves adapters is not written over: its layers have other names.
    assert [Path(e.path).name for e in stand_in.started] == ["model-0", "model-1", "model-0"]
    assert {e.options["max_lora_rank"] for e in stand_in.started} == {16}


def test_an_engine_that_dies_is_started_again_for_what_is_unfinished(
    stand_in: type[Engine], models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "_SUBMITTED", 2)
    stand_in.dies_at = {2}
    notices: list[str] = []
    found = ask(models[0], notices=notices)
    assert [g.ids[2] for g in found] == [r.ids[0] for r in PROMPTS]
    assert (len(stand_in.started), stand_in.submissions, notices) == (2, 4, [])


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

    stand_in.refuses = ("model",)
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
    stand_in.refuses = ("compilation_config",)
    ask(models[0])
    assert stand_in.started[0].options["enforce_eager"]


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
    notices: list[str] = []
    reloaded = [[g.ids for g in ask(model, notices=notices)] for model in (*models, models[0])]
    assert reloaded == [*fresh, fresh[0]]
    assert fresh[0] != fresh[1]
    assert len(ask(models[0], max(adapter.glob("step-*")), notices=notices)) == len(PROMPTS)
    assert notices == []
    vllm.forget()
