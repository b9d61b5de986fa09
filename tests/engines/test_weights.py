"""Arithmetic on model folders against plain tensors, and the ends bit for bit."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from offmodel.core.errors import ModelError, RecipeError
from offmodel.engines import adapters, weights
from tests.engines.conftest import BASE, LORA
from tests.engines.test_sft import go, same


@pytest.fixture(scope="module")
def trained(llama, tmp_path_factory):
    """A full-weight and an adapter training of the tiny model."""
    tmp = tmp_path_factory.mktemp("weights")
    fast = replace(BASE, learning_rate=1e-2, checkpoints=(6,))
    full, _ = go(llama, tmp, "full", sft=fast)
    lora, _ = go(llama, tmp, "lora", sft=replace(fast, lora=LORA))
    return full / "step-00006", lora / "step-00006"


def test_interpolation_has_its_ends_bit_for_bit(llama, trained, tmp_path):
    full, _ = trained
    for alpha in (0.0, 0.25, 1.0):
        weights.interpolate(start=llama, end=full, alpha=alpha, out=tmp_path / f"{alpha}", dtype=None)
    assert same(tmp_path / "0.0", llama)
    assert same(tmp_path / "1.0", full)
    a, b, c = (load_file(f / "model.safetensors") for f in (llama, full, tmp_path / "0.25"))
    assert all(torch.allclose(0.75 * a[k] + 0.25 * b[k], c[k], atol=1e-6) for k in c)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "0.25")
    assert torch.isfinite(model(torch.arange(5)[None]).logits).all()
    assert AutoTokenizer.from_pretrained(tmp_path / "0.25").chat_template


def test_what_one_model_learnt_is_added_to_another(llama, trained, tmp_path):
    full, _ = trained
    weights.combine([(llama, 1.0), (full, 0.5), (llama, -0.5)], out=tmp_path / "x", dtype="bfloat16")
    weights.interpolate(start=llama, end=full, alpha=0.5, out=tmp_path / "y", dtype="bfloat16")
    assert same(tmp_path / "x", tmp_path / "y", atol=1e-2)
    assert json.loads((tmp_path / "x" / "config.json").read_text())["dtype"] == "bfloat16"


def test_shards_are_read_and_written(llama, trained, tmp_path, monkeypatch):
    full, _ = trained
    monkeypatch.setattr(weights, "_SHARD_BYTES", 20_000)
    weights.interpolate(start=llama, end=full, alpha=1.0, out=tmp_path / "shards", dtype=None)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    weights.interpolate(start=tmp_path / "shards", end=llama, alpha=0.0, out=tmp_path / "again", dtype=None)
    for folder in ("shards", "again"):
        state = AutoModelForCausalLM.from_pretrained(tmp_path / folder).state_dict()
        expected = AutoModelForCausalLM.from_pretrained(full).state_dict()
        assert all(torch.equal(state[k], expected[k]) for k in expected)


def test_other_architectures_are_refused(llama, moe, tmp_path):
    with pytest.raises(ModelError, match="not of one architecture"):
        weights.interpolate(start=llama, end=moe, alpha=0.5, out=tmp_path / "x", dtype=None)
    with pytest.raises(RecipeError, match="factor"):
        weights.combine([(llama, 0.0)], out=tmp_path / "x", dtype=None)
    with pytest.raises(ModelError, match="no safetensors"):
        weights.add_noise(model=tmp_path, sigma=0.1, seed=0, out=tmp_path / "x", dtype=None)


def logits(model):
    with torch.no_grad():
        return model(torch.arange(9)[None]).logits


def test_a_scaled_adapter_is_its_scaled_update(llama, trained, tmp_path):
    _, lora = trained
    for alpha in (0.0, 0.5, 1.0):
        weights.scale_adapter(adapter=lora, alpha=alpha, out=tmp_path / f"a{alpha}")
        weights.merge_scaled(model=llama, adapter=lora, alpha=alpha, out=tmp_path / f"m{alpha}")
        base = AutoModelForCausalLM.from_pretrained(llama)
        with adapters._quiet():
            scaled = PeftModel.from_pretrained(base, tmp_path / f"a{alpha}")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / f"m{alpha}")
        assert torch.allclose(logits(scaled), logits(merged), atol=1e-5)
    assert same(tmp_path / "a1.0", lora)
    assert same(tmp_path / "m0.0", llama)
    adapters.merge_to_folder(model=llama, adapter=lora, out=tmp_path / "peft")
    assert same(tmp_path / "m1.0", tmp_path / "peft", atol=1e-6)


def test_an_adapter_on_experts_is_merged_too(moe, tmp_path):
    sft = replace(BASE, steps=2, checkpoints=(2,), learning_rate=1e-2, lora=replace(LORA, targets="all-linear+experts"))
    out, _ = go(moe, tmp_path, sft=sft)
    weights.merge_scaled(model=moe, adapter=out / "step-00002", alpha=0.0, out=tmp_path / "zero")
    weights.merge_scaled(model=moe, adapter=out / "step-00002", alpha=1.0, out=tmp_path / "one")
    before, zero, one = (
        logits(AutoModelForCausalLM.from_pretrained(f)) for f in (moe, tmp_path / "zero", tmp_path / "one")
    )
    assert torch.allclose(before, zero, atol=1e-5)
    assert not torch.allclose(before, one, atol=1e-4)


def test_noise_is_seeded_and_relative_to_each_matrix(llama, tmp_path):
    for name, sigma, seed in (("a", 0.1, 1), ("b", 0.1, 1), ("c", 0.1, 2), ("zero", 0.0, 1)):
        weights.add_noise(model=llama, sigma=sigma, seed=seed, out=tmp_path / name, dtype=None)
    assert same(tmp_path / "a", tmp_path / "b")
    assert same(tmp_path / "zero", llama)
    assert not same(tmp_path / "a", tmp_path / "c")
    clean, noised = load_file(llama / "model.safetensors"), load_file(tmp_path / "a" / "model.safetensors")
    for name, weight in clean.items():
        ratio = float((noised[name] - weight).norm() / weight.norm())
        assert ratio == (pytest.approx(0.1, rel=0.15) if weight.ndim == 2 else 0.0)


def test_random_weights_are_mixed_in(llama, tmp_path):
    weights.shrink_and_perturb(model=llama, alpha=0.0, beta=0.1, seed=1, out=tmp_path / "zero", dtype=None)
    weights.shrink_and_perturb(model=llama, alpha=0.6, beta=0.1, seed=1, out=tmp_path / "some", dtype=None)
    assert same(tmp_path / "zero", llama)
    clean, mixed = load_file(llama / "model.safetensors"), load_file(tmp_path / "some" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    rest = mixed[name] - 0.4 * clean[name]
    assert float(rest.std()) == pytest.approx(0.6 * 0.1 * (2 / (64 + 32)) ** 0.5, rel=0.1)
    with pytest.raises(RecipeError, match=r"\[0, 1\]"):
        weights.shrink_and_perturb(model=llama, alpha=1.5, beta=0.1, seed=1, out=tmp_path / "x", dtype=None)
