"""Layers exchanged on a CPU: values and gradients are those of the layers as they were."""

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, LoraModel
from torch import Tensor, nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaModel, LlamaRMSNorm

from offmodel.engines import adapters, attention, lean, preparation
from offmodel.engines.forward import Trainee, forward_loss
from offmodel.engines.losses import cross_entropy
from offmodel.engines.preparation import prepare
from offmodel.engines.rendering import Example
from offmodel.engines.short_attention import short_attention, side_by_side
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA
from tests.engines.test_objective import with_kl

CE = {"cross_entropy": cross_entropy}


def prepared(model, lora, dtype: str = "float32", **changes) -> Trainee:
    made = prepare(model, None, replace(BASE, lora=lora, compute_dtype=dtype, **changes), Runtime(), "varlen")
    for n, p in made.model.named_parameters():
        if "lora_B" in n:
            nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(len(n)))
    return made


def loss_and_gradients(made: Trainee, *lengths: int) -> dict[str, Tensor]:
    rows = [Example(np.arange(5, 5 + n, dtype=np.int32), np.arange(n) >= n // 2) for n in lengths]
    loss = forward_loss(made, rows, CE)["cross_entropy"]
    loss.backward()
    return {"loss": loss.detach()} | {n: p.grad for n, p in made.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["llama", "gemma", "moe"])
@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("lengths", [(2, 3), (3, 40, 2, 17)])
def test_a_lightened_model_has_the_loss_and_the_gradients_that_it_had(request, monkeypatch, name, lora, lengths):
    new = loss_and_gradients(prepared(request.getfixturevalue(name), lora), *lengths)
    monkeypatch.setattr(preparation.lean, "lighten", lambda *_: None)
    plain = prepared(request.getfixturevalue(name), lora)
    old = loss_and_gradients(plain, *lengths)
    assert plain.decoder not in lean._TAILS
    assert old.keys() == new.keys()
    for n, value in old.items():
        torch.testing.assert_close(new[n], value, rtol=1e-3, atol=1e-5 * float(value.abs().max()) + 1e-7)


def test_what_is_exchanged(llama, gemma, moe):
    def exchanged(made: Trainee) -> set[str]:
        return {type(m).__name__ for m in made.model.modules() if "forward" in vars(m)}

    assert exchanged(prepared(llama, LORA)) == {"LlamaRMSNorm", "Linear", "LlamaMLP"}
    assert exchanged(prepared(llama, None)) == {"LlamaRMSNorm", "LlamaMLP"}
    # Gemma's norms add 1 to their weights; a mixture's block routes tokens.
    assert exchanged(prepared(gemma, None)) == {"Gemma3MLP", "Gemma3RMSNorm"}
    assert exchanged(prepared(moe, None)) == {"Qwen3MoeRMSNorm"}
    assert not exchanged(prepared(llama, LORA, "bfloat16"))
    assert not exchanged(prepare(llama, None, with_kl(), Runtime(), "auto"))
    assert not exchanged(prepare(llama, None, BASE, Runtime(), "padded"))
    made = prepared(gemma, None)
    assert sum("forward" in vars(m) for m in made.model.modules() if isinstance(m, Gemma3RMSNorm)) == 1  # the last


def test_a_norm_that_computes_in_float32_stays_as_it_is_in_float64():
    norm = LlamaRMSNorm(8)
    assert lean._norm_agrees(norm, 1e-6)
    assert not lean._norm_agrees(norm.double(), 1e-6)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("bias", [True, False])
def test_an_update_within_a_product_or_within_a_small_weight(small, scale, bias):
    torch.manual_seed(0)
    weight, shift = torch.randn(20, 12, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    leaves = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in ((1, 30, 12), (4, 12), (20, 4))]
    x, a, b = leaves
    found: Any = lean._Updated.apply(x, weight, shift if bias else None, a, b, scale, small)
    plain = F.linear(x, weight, shift if bias else None) + scale * F.linear(F.linear(x, a), b)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad(y.sin().sum(), leaves) for y in (found, plain))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_an_adapter_that_is_switched_off_or_merged_is_not_added(llama):
    made = prepared(llama, LORA)
    made.base.set_attn_implementation("sdpa")
    ids = {"input_ids": torch.arange(6)[None]}
    with torch.no_grad():
        tuned = made.model(**ids).logits
        with made.model.disable_adapter():
            base = made.model(**ids).logits
        made.model.merge_adapter()
        merged = made.model(**ids).logits
    assert float((tuned - base).abs().max()) > 1e-2
    torch.testing.assert_close(merged, tuned, rtol=0, atol=1e-5)


def test_what_is_saved_keeps_its_names(llama, tmp_path):
    made = prepared(llama, LORA)
    adapters.save_adapter(made.model, tmp_path / "a")
    again = prepare(llama, tmp_path / "a", replace(BASE, lora=LORA), Runtime(), "padded")
    for (n, p), (m, q) in zip(made.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert n == m
        assert torch.equal(p, q)


@pytest.mark.parametrize("window", [None, 1, 4])
@pytest.mark.parametrize("lengths", [(5,), (7, 1, 70, 6, 2, 29), (3, 3)])
def test_short_sequences_attend_to_themselves_and_to_what_came_before(lengths, window):
    torch.manual_seed(0)
    ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    leaves = [torch.randn(sum(lengths), 2, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    found = short_attention(*leaves, side_by_side(ends), 0.7, window)
    parts = []
    for q, k, v in zip(*(x.split(lengths) for x in leaves), strict=True):
        at = torch.arange(len(q))
        seen = (at[:, None] >= at) & (at[:, None] - at < (window or 99))
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=0.7)[0].transpose(0, 1))
    expected = torch.cat(parts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad(y.sin().sum(), leaves) for y in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_what_is_no_number_stays_in_its_sequence():
    ends = torch.tensor([0, 3, 9, 14], dtype=torch.int32)
    leaves = [torch.randn(14, 2, 4).requires_grad_() for _ in range(3)]
    with torch.no_grad():
        for x in leaves:
            x[3:9] = float("nan")
    out = short_attention(*leaves, side_by_side(ends), 0.5, None)
    grads = torch.autograd.grad(out.sum(), leaves)
    for value in (out, *grads):
        assert value[3:9].isnan().any()
        assert not value[:3].isnan().any()
        assert not value[9:].isnan().any()


def test_one_plan_serves_all_layers_of_a_pass():
    ends = torch.tensor([0, 3, 9], dtype=torch.int32)
    plan = side_by_side(ends)
    assert side_by_side(ends) is plan
    assert plan.rows(2) is plan.rows(2)
    assert side_by_side(ends.clone()) is not plan


def test_a_verdict_is_of_the_class_and_not_of_the_size():
    """In float32 the rounding of a wide layer would be taken for another computation."""
    for size, rank, alpha in ((896, 16, 32), (1024, 128, 256), (64, 4, 8)):
        model = nn.Sequential(nn.Linear(size, size, bias=False))
        wrapped = LoraModel(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"]), "default")
        assert lean._update_agrees(wrapped.model[0])


def test_a_model_that_was_lightened_is_gone_when_nobody_wants_it(llama):
    for lora in (None, LORA):
        made = prepared(llama, lora)
        loss_and_gradients(made, 3, 9)
        last, first = made.decoder.layers[-1].mlp, made.decoder.layers[0]
        kept = [weakref.ref(x) for x in (made.decoder, made.decoder.norm, last, first.self_attn.q_proj)]
        gc.collect()
        gc.disable()
        try:
            del made, last, first
            assert [x() for x in kept] == [None] * len(kept)
        finally:
            gc.enable()


def test_an_end_that_does_not_hold_is_taken_out(llama, monkeypatch):
    """A model may use its last norm in other places too."""
    plain = LlamaModel.forward

    def twice(self, input_ids=None, **options):
        return plain(self, **options | {"inputs_embeds": self.norm(self.embed_tokens(input_ids))})

    monkeypatch.setattr(LlamaModel, "forward", twice)
    made = prepared(llama, None)
    assert made.layout == "varlen"
    assert made.decoder not in lean._TAILS
    assert "forward" not in vars(made.decoder.layers[-1].mlp)
    assert "forward" in vars(made.decoder.norm)  # as the other norms
    assert float(loss_and_gradients(made, 3, 9)["loss"]) > 0


def test_values_of_another_size_than_queries_take_torchs_attention():
    ends = torch.tensor([0, 3, 9], dtype=torch.int32)
    q, k, v = (torch.randn(9, 3, n, dtype=torch.float64) for n in (24, 24, 16))
    found = attention._side_by_side(q, k, v, ends, None, None)
    for part in ((0, 3), (3, 9)):
        a, b, c = (x[slice(*part)].transpose(0, 1)[None] for x in (q, k, v))
        expected = F.scaled_dot_product_attention(a, b, c, is_causal=True)[0].transpose(0, 1)
        torch.testing.assert_close(found[slice(*part)], expected, rtol=0, atol=1e-12)
