"""The routers' auxiliary loss equals transformers' own, whatever the passes; without a trace unless asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

from offmodel.core.errors import ModelError, RecipeError
from offmodel.engines import loop
from offmodel.engines.balance import check_mixture, load_of
from offmodel.engines.batches import Limit
from offmodel.engines.cohort import Member, train_cohort
from offmodel.engines.losses import terms_of
from offmodel.engines.objective import CROSS_ENTROPY, LoadBalancing
from offmodel.engines.preparation import check_routers, prepare
from offmodel.engines.sharded import assignment
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, examples, silent
from tests.engines.test_sft import go, losses, plain_losses, same

BALANCED = replace(CROSS_ENTROPY, load_balancing=LoadBalancing(weight=0.5))
SFT = replace(BASE, objective=BALANCED)
WIDE = Limit(rows=None, tokens=10**6)


def by_transformers(model, rows):
    """The auxiliary loss of a padded batch, with an attention mask, and the labels' mean loss."""
    width = max(len(e.ids) for e in rows)
    ids, real = torch.zeros(2, len(rows), width, dtype=torch.long)
    for i, e in enumerate(rows):
        ids[i, : len(e.ids)] = torch.tensor(e.ids.astype(np.int64))
        real[i, : len(e.ids)] = 1
    out = model(input_ids=ids, attention_mask=real, output_router_logits=True)
    config = model.config
    again = load_balancing_loss_func(out.router_logits, config.num_experts, config.num_experts_per_tok, real)
    assert torch.equal(out.aux_loss, again)
    return again


@pytest.mark.parametrize("layout", ["padded", "packed", "varlen"])
@pytest.mark.parametrize("limit", [WIDE, Limit(rows=1, tokens=10**6), Limit(rows=None, tokens=40)])
def test_value_and_gradient_equal_transformers_of_the_whole_batch(moe, layout, limit):
    rows = examples(7)
    model = AutoModelForCausalLM.from_pretrained(moe, dtype=torch.float32)
    expected = by_transformers(model, rows)
    (plain_losses(model, rows) + 0.5 * expected).backward()
    made = prepare(moe, None, SFT, Runtime(), layout)
    found = loop._gradients(made, rows, limit, terms_of(BALANCED, 0), BALANCED)
    assert float(found["load_balancing"]) / 0.5 == pytest.approx(float(expected.detach()), rel=1e-5)
    theirs = {n: p.grad for n, p in model.named_parameters()}
    for name, p in made.model.named_parameters():
        assert torch.allclose(p.grad, theirs[name], atol=2e-5), name
    assert any(float(g.abs().max()) > 1e-4 for n, g in theirs.items() if n.endswith("gate.weight"))


def test_a_training_that_asks_for_it_records_it_and_balances(moe, tmp_path):
    sft = replace(SFT, learning_rate=3e-3, steps=12, checkpoints=(12,), batch_size=10)
    sft = replace(sft, objective=replace(BALANCED, load_balancing=LoadBalancing(weight=10.0)))
    out, facts = go(moe, tmp_path, "asked", sft=sft, runtime=Runtime(micro_batch=1))
    wide, _ = go(moe, tmp_path, "wide", sft=sft, runtime=Runtime(micro_batch=4))
    plain, without = go(moe, tmp_path, "plain", sft=replace(sft, objective=CROSS_ENTROPY))
    rows = losses(out)
    assert facts["router_auxiliary_loss"] == {"load_balancing": 10.0}
    assert without["router_auxiliary_loss"] is False
    assert "load_balancing" not in losses(plain)[0]
    assert rows[0]["loss"] == pytest.approx(losses(plain)[0]["loss"] + 10 * rows[0]["load_balancing"], rel=1e-5)
    # Even use of all experts gives the number that a token chooses, 2 here.
    assert rows[-1]["load_balancing"] - 2 < 0.5 * (rows[0]["load_balancing"] - 2)
    assert [r["load_balancing"] for r in rows] == pytest.approx([r["load_balancing"] for r in losses(wide)], rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_has_its_gradient_too(moe, tmp_path, dtype):
    sft = replace(SFT, lora=LORA, learning_rate=1e-2, compute_dtype=dtype)
    out, _ = go(moe, tmp_path, "asked", sft=sft)
    plain, _ = go(moe, tmp_path, "plain", sft=replace(sft, objective=CROSS_ENTROPY))
    assert not same(out / "step-00006", plain / "step-00006", atol=1e-5)


def test_autocast_leaves_its_sums_in_float32():
    logits = torch.randn(3, 1000, 8, generator=torch.Generator().manual_seed(0)).unbind()
    real = torch.arange(1000) % 3 > 0
    plain = load_of(logits, real, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = load_of(logits, real, 2)
    assert torch.equal(found.likely_E, plain.likely_E)
    assert torch.equal(found.chosen_E, plain.chosen_E)
    assert float(plain.chosen_E.sum()) == 2 * 3 * int(real.sum())


def test_a_dense_model_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with pytest.raises(RecipeError, match=r"\(llama\) is no mixture of experts; leave load_balancing out"):
        go(tmp_path, tmp_path, sft=SFT)
    check_mixture(tmp_path, BASE)
    with pytest.raises(RecipeError, match="above 0"):
        LoadBalancing(weight=0.0)


def test_a_model_that_tells_nothing_of_its_routers_is_refused(llama):
    made = prepare(llama, None, BASE, Runtime(), "padded")
    with pytest.raises(ModelError, match="cannot be balanced"):
        check_routers(made, made.base)


def test_a_cohort_does_not_take_it(moe, tmp_path):
    member = Member(
        adapter=None, examples=examples(4), sft=replace(SFT, lora=LORA), out=tmp_path / "out", scratch=tmp_path,
        progress=silent,
    )  # fmt: skip
    with pytest.raises(RecipeError, match="train these members alone"):
        list(train_cohort(model=moe, members=[member], runtime=Runtime()))


def test_settings_survive_the_way_to_other_processes():
    assert assignment._sft(json.loads(json.dumps(assignment.asdict(SFT)))) == SFT
    assert assignment._sft(json.loads(json.dumps(assignment.asdict(BASE)))) == BASE
