"""Our use of vLLM: with a stand-in, and with vLLM itself where there is a GPU."""

import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from offmodel.core.errors import ModelError
from offmodel.engines.sampling import submissions, vllm
from tests.engines.conftest import BASE, LORA, save
from tests.engines.test_sft import go
from tests.engines.vllm_stand_in import PROMPTS, Adapters, Engine, _mark, answers_of, ask, ask_many, tokens


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


def test_adapters_have_numbers_of_their_own(stand_in: type[Engine], models: list[Path], adapters: Adapters) -> None:
    folders = [adapters(name) for name in "abc"]
    for model, adapter in [(0, 0), (0, 1), (0, 0), (1, 0), (1, 2), (0, 1)]:
        assert tokens(ask(models[model], folders[adapter])) == answers_of(models[model], folders[adapter])
    # An engine that serves adapters is not written over: its layers have other names.
    assert [Path(e.path).name for e in stand_in.started] == ["model-0", "model-1", "model-0"]
    assert {(e.options["max_lora_rank"], e.options["max_loras"]) for e in stand_in.started} == {(16, 1)}
    numbers = [number for e in stand_in.started for number in e.adapters]
    assert len(set(numbers)) == len(numbers) == 5


def test_an_engine_that_dies_is_started_again_for_what_is_unfinished(
    stand_in: type[Engine], models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "_SUBMITTED", 2)
    stand_in.dies_at = {2}
    notices: list[str] = []
    found = ask(models[0], notices=notices)
    assert [g.ids[2] for g in found] == [r.ids[0] for r in PROMPTS]
    assert (len(stand_in.started), len(stand_in.submissions), notices) == (2, 4, [])


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


def test_where_others_disturb_the_measuring_of_memory_the_cache_gets_a_fixed_size(
    stand_in: type[Engine], models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.refuses = (("gpu_memory_utilization", vllm._MEMORY_SHARE),)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (8 << 30, 80 << 30))
    notices: list[str] = []
    ask(models[0], notices=notices)
    options = stand_in.started[0].options
    assert (options["kv_cache_memory_bytes"], notices) == (2 << 30, [])
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert "enforce_eager" not in options


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
    fresh, notices, said = [], list[str](), dict[int, str]()
    for model in models:
        vllm.forget()
        fresh.append([g.ids for g in ask(model, notices=notices)])
    assert notices == []
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
