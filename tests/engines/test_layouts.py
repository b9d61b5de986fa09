"""How sequences share a forward pass: each is what it is alone, and a layout that leaks is not used."""

import numpy as np
import pytest
import torch
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3NextConfig, Qwen3NextForCausalLM

from offmodel.core.errors import ModelError
from offmodel.engines import attention, forward, preparation, short_attention
from offmodel.engines.rendering import Example
from offmodel.store.recipe import Runtime
from tests.engines.conftest import SIZES, examples, save
from tests.engines.test_objective import with_kl
from tests.engines.test_sft import go, trainee


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_sequences_without_padding_are_what_they_are_alone_with_windows_and_groups_too(request, name):
    made = trainee(request.getfixturevalue(name), "varlen", double=True)
    rows = [Example(np.arange(5, 5 + n, dtype=np.int32), np.ones(n, np.bool_)) for n in (3, 60, 1, 17, 2)]
    assert len(short_attention._alike([len(e.ids) for e in rows])) > 1
    ids, _, _ = forward.targets_of(rows, padded=False)
    with torch.no_grad():
        found = made.decoder(**forward.inputs_of(rows, ids, made), use_cache=False).last_hidden_state[0]
        made.base.set_attn_implementation("sdpa")
        alone = [made.decoder(torch.tensor(e.ids[None].astype(np.int64))).last_hidden_state[0] for e in rows]
    assert torch.allclose(found, torch.cat(alone), atol=1e-10)


def test_rows_of_like_length_share_an_attention_where_lengths_differ_much():
    assert short_attention._alike([30, 25, 40]) == [[1, 0, 2]]
    assert short_attention._alike([30, 400, 25, 1, 2, 390]) == [[3, 4, 2, 0], [5], [1]]
    assert short_attention._alike([9]) == [[0]]


def test_packed_sequences_do_not_see_each_other(llama):
    """The library's cache and its all-ones mask both leak between packed samples; our inputs must not."""
    rows = examples(3)
    made = trainee(llama, "packed")
    ids, _, _ = forward.targets_of(rows, padded=False)
    inputs = forward.inputs_of(rows, ids, made)
    assert "attention_mask" not in inputs
    with torch.no_grad():
        packed = made.decoder(**inputs, use_cache=False).last_hidden_state[0]
        alone = torch.cat([made.decoder(torch.tensor(e.ids[None].astype(np.int64))).last_hidden_state[0] for e in rows])
        leaky = made.decoder(**inputs, attention_mask=torch.ones(ids.shape, dtype=torch.long), use_cache=False)
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(leaky.last_hidden_state[0], alone, atol=1e-2)


def test_layout_that_this_machine_cannot_do_is_refused(llama, tmp_path, monkeypatch):
    ends = attention.boundaries
    monkeypatch.setattr(attention, "boundaries", lambda lengths, device: ends([sum(lengths)], device))
    with pytest.raises(ModelError, match="'varlen' do not stay apart"):
        go(llama, tmp_path, layout="varlen")


def test_layout_that_leaks_is_seen(llama, monkeypatch):
    made = trainee(llama, "packed")
    expected = forward.lone_hidden(made)
    assert forward.layout_holds(made, expected)
    inputs = forward.inputs_of
    masked = {"attention_mask": torch.ones(1, sum(forward._PROBES), dtype=torch.long)}
    monkeypatch.setattr(forward, "inputs_of", lambda *a: inputs(*a) | masked)
    assert not forward.layout_holds(made, expected)


def windowed(config):
    """A mixture whose attention hears of a window from its mask alone."""
    made = Qwen2MoeForCausalLM._from_config(config, attn_implementation="sdpa").eval().requires_grad_(False)
    return forward.Body(
        base=made, decoder=made.get_decoder(), head=None, device="cpu", compute=torch.float32, layout="padded"
    )


@pytest.mark.parametrize(("window", "layout"), [(True, "padded"), (False, "varlen")])
def test_windows_that_the_attention_is_not_told_of_keep_a_model_padded(window, layout):
    torch.manual_seed(0)
    kinds = ["sliding_attention" if window else "full_attention"] * 2
    config = Qwen2MoeConfig(
        **SIZES, intermediate_size=32, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts=2,
        num_experts_per_tok=1, num_hidden_layers=2, initializer_range=0.2, sliding_window=16, use_sliding_window=window,
        layer_types=kinds,
    )  # fmt: skip
    made = windowed(config)
    found = preparation.settle_layout(made, made.base, "auto")
    assert found.layout == layout


@pytest.mark.parametrize("extra", ["softcap", "s_aux", "position_bias", "indices"])
def test_what_the_attention_does_not_know_is_refused(extra):
    q_HTD = torch.randn(1, 2, 7, 8)
    ends = attention.boundaries([3, 4], "cpu")
    attention._attend(None, q_HTD, q_HTD, q_HTD, None, **ends, **{extra: None})
    with pytest.raises(ValueError, match=extra):
        attention._attend(None, q_HTD, q_HTD, q_HTD, None, **ends, **{extra: torch.ones(1)})


def test_a_reference_that_leaks_where_the_student_does_not_is_seen(llama, tmp_path):
    torch.manual_seed(0)
    sizes = {k: SIZES[k] for k in ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads")}
    config = Qwen3NextConfig(
        **sizes, head_dim=8, intermediate_size=64, moe_intermediate_size=16, shared_expert_intermediate_size=16,
        num_experts=2, num_experts_per_tok=1, num_hidden_layers=2, linear_num_key_heads=2, linear_num_value_heads=4,
        linear_key_head_dim=8, linear_value_head_dim=8, initializer_range=0.2,
        layer_types=["linear_attention", "full_attention"],
    )  # fmt: skip
    other = save(Qwen3NextForCausalLM(config), tmp_path / "other")
    sft = with_kl()
    assert preparation.prepare(llama, None, sft, Runtime(), "auto", llama).layout == "varlen"
    assert preparation.prepare(llama, None, sft, Runtime(), "auto", other).layout == "padded"
    with pytest.raises(ModelError, match="Qwen3Next"):
        preparation.prepare(llama, None, sft, Runtime(), "varlen", other)
