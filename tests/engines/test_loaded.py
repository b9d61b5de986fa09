"""The model in memory: adapters go in and out, another model is written over it, and nothing half done answers."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from offmodel.core.errors import ModelError
from offmodel.engines import adapters, folders
from offmodel.engines.sampling import loaded
from offmodel.engines.sampling import transformers as engine
from offmodel.engines.sft import Lora
from tests.engines.test_sampling import GREEDY, go, requests


@pytest.fixture(autouse=True)
def _fresh():
    loaded.forget()
    yield
    loaded.forget()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapter_gives_pefts_logits_and_leaves_no_trace(llama, tmp_path, dtype):
    torch_dtype = folders.dtype_of(dtype)
    base = folders.load_model(llama, dtype=torch_dtype, device="cpu")
    tuned = adapters.inject(base, Lora(rank=4, alpha=8, targets="all-linear"), seed=0)
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    adapters.save_adapter(tuned, tmp_path / "a")
    with adapters._quiet():
        reference = PeftModel.from_pretrained(
            folders.load_model(llama, dtype=torch_dtype, device="cpu"), tmp_path / "a"
        )
    ids = list(range(5, 25))
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].float()
        plain = AutoModelForCausalLM.from_pretrained(llama, dtype=torch_dtype)(torch.tensor([ids])).logits[0].float()
    with_it = loaded.obtain(llama, "m", tmp_path / "a", "a", dtype, "cpu")
    with torch.inference_mode():
        found = engine.model_logits(with_it, ids)
        without = engine.model_logits(loaded.obtain(llama, "m", None, None, dtype, "cpu"), ids)
    tolerance = 1e-4 if dtype == "float32" else 0.05 * float(expected.abs().max())
    assert torch.allclose(found, expected, atol=tolerance)
    assert torch.allclose(without, plain, atol=tolerance)
    assert float((found - without).abs().max()) > 10 * tolerance


def test_an_adapter_of_the_same_shapes_is_written_over_the_last_one(llama, tmp_path):
    folder = folders.load_model(llama, dtype=torch.bfloat16, device="cpu")
    tuned = adapters.inject(folder, Lora(rank=4, alpha=8, targets="all-linear"), seed=0)
    for number in (1, 2):
        torch.manual_seed(number)
        for name, p in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.5)
        adapters.save_adapter(tuned, tmp_path / str(number))
    warm = replace(GREEDY, dtype="bfloat16")

    def answers(name: str) -> list:
        return go(llama, requests(), warm, adapter=tmp_path / name, adapter_key=name)

    first = answers("1")
    held = loaded.obtain(llama, "m", tmp_path / "1", "1", "bfloat16", "cpu").inside
    second = answers("2")
    assert loaded.obtain(llama, "m", tmp_path / "2", "2", "bfloat16", "cpu").inside is held
    loaded.forget()
    assert answers("2") == second != first
    assert go(llama, requests(), warm) == go(llama, requests(), warm, key="again")


def adapter_in(folder, llama):
    """An adapter that changes what the model says."""
    base = folders.load_model(llama, dtype=torch.float32, device="cpu")
    tuned = adapters.inject(base, Lora(rank=4, alpha=8, targets="all-linear"), seed=0)
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    adapters.save_adapter(tuned, folder)


def other_weights(llama, folder, *, seed: int):
    """A model of the same shape with other weights."""
    model = folders.load_model(llama, dtype=torch.float32, device="cpu")
    torch.manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    folders.save_model(model, source=llama, out=folder, dtype=torch.float32)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_model_of_the_shape_is_written_over_the_one_in_memory(llama, tmp_path, dtype, monkeypatch):
    other, how = other_weights(llama, tmp_path / "other", seed=4), replace(GREEDY, dtype=dtype)
    adapter_in(tmp_path / "a", llama)

    def answers(model, key, **adapter):
        return go(model, requests(), how, key=key, **adapter)

    fresh = {}
    for model, key in ((llama, "m"), (other, "o")):
        loaded.forget()
        fresh[key] = answers(model, key)
        fresh[f"{key}+a"] = answers(model, key, adapter=tmp_path / "a", adapter_key="a")
    loads = []
    monkeypatch.setattr(loaded, "_load", lambda *a, real=loaded._load: loads.append(a) or real(*a))
    loaded.forget()
    for model, key in ((llama, "m"), (other, "o"), (llama, "m")):
        assert answers(model, key, adapter=tmp_path / "a", adapter_key="a") == fresh[f"{key}+a"]
        assert answers(model, key) == fresh[key]
    assert len(loads) == 1
    assert len({str(v) for v in fresh.values()}) == 4


def test_a_model_of_another_shape_is_loaded_anew(llama, gemma, tmp_path):
    narrow = shutil.copytree(llama, tmp_path / "narrow")
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    expected = go(narrow, requests(), key="n")
    assert go(llama, requests(), key="m") != expected
    assert go(narrow, requests(), key="n") == expected
    go(gemma, requests(), key="g")


def test_a_silent_update_changes_no_bit(llama, tmp_path):
    adapter_in(tmp_path / "a", llama)
    ids = list(range(5, 25))
    with torch.inference_mode():
        plain = engine.model_logits(loaded.obtain(llama, "m", None, None, "bfloat16", "cpu"), ids)
        held = loaded.obtain(llama, "m", tmp_path / "a", "a", "bfloat16", "cpu")
        assert not torch.equal(engine.model_logits(held, ids), plain)
        assert held.inside.silence()
        assert torch.equal(engine.model_logits(held, ids), plain)


def test_a_model_half_written_over_answers_for_neither(llama, tmp_path, monkeypatch):
    other = other_weights(llama, tmp_path / "other", seed=4)
    expected = {"m": go(llama, requests(), key="m"), "o": go(other, requests(), key="o")}
    loaded.forget()
    go(llama, requests(), key="m")
    plain, left = loaded._files_of, [3]

    class Breaks:
        def __init__(self, file):
            self.get_slice, self._file = file.get_slice, file

        def get_tensor(self, name):
            left[0] -= 1
            if left[0] == 0:
                raise OSError("a disk went away")
            return self._file.get_tensor(name)

    monkeypatch.setattr(loaded, "_files_of", lambda *a: {n: Breaks(f) for n, f in plain(*a).items()})
    with pytest.raises(OSError, match="disk"):
        go(other, requests(), key="o")
    for model, key in ((llama, "m"), (other, "o")):
        assert go(model, requests(), key=key) == expected[key]


def test_files_beside_the_models_are_not_read(llama, tmp_path):
    other = other_weights(llama, tmp_path / "other", seed=4)
    expected = go(other, requests(), key="o")
    shutil.copyfile(llama / "model.safetensors", other / "original.safetensors")
    loaded.forget()
    go(llama, requests(), key="m")
    assert go(other, requests(), key="o") == expected


def test_an_adapter_that_cannot_be_applied_leaves_no_trace(llama, tmp_path):
    adapter_in(tmp_path / "a", llama)
    state = load_file(tmp_path / "a" / "adapter_model.safetensors")
    last = sorted(state)[-1].rpartition(".lora_")[0].rpartition(".")[0]
    state |= {f"{last}.lora_{part}.weight": torch.ones(4, 4) for part in "AB"}
    save_file(state, tmp_path / "a" / "adapter_model.safetensors")
    how = replace(GREEDY, dtype="bfloat16")
    expected = go(llama, requests(), how)
    for _ in range(2):
        with pytest.raises(ModelError, match="no linear layer"):
            go(llama, requests(), how, adapter=tmp_path / "a", adapter_key="a")
        assert go(llama, requests(), how) == expected
