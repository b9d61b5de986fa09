"""Loss terms against plain formulas: the divergence is 0 at the start and full, left-out tokens have no gradient."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from offmodel.core.errors import RecipeError
from offmodel.engines import forward, loop, support
from offmodel.engines.batches import Limit
from offmodel.engines.forward import weights_of
from offmodel.engines.losses import (
    Frozen,
    Head,
    Targets,
    cross_entropy,
    forward_kl,
    reverse_kl,
    target_loss,
    terms_of,
)
from offmodel.engines.objective import CROSS_ENTROPY, KlToReference, Objective, TokenSupport
from offmodel.engines.preparation import prepare
from offmodel.engines.support import supported
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, examples
from tests.engines.test_sft import go, losses, same

FORWARD = KlToReference(weight=0.5, direction="forward", steps=None)
WIDE = Limit(rows=None, tokens=10**6)


def with_kl(sft=BASE, **changes):
    return replace(sft, objective=replace(CROSS_ENTROPY, kl=replace(FORWARD, **changes)))


def with_support(quantile, keep, sft=BASE):
    return replace(sft, objective=replace(CROSS_ENTROPY, support=TokenSupport(quantile=quantile, keep=keep)))


@pytest.mark.parametrize("term", [forward_kl, reverse_kl])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_divergences_and_gradients_equal_torch_on_full_logits(chunk, term):
    torch.manual_seed(0)
    hidden = torch.randn(9, 6, dtype=torch.float64, requires_grad=True)
    weight, other = torch.randn(2, 11, 6, dtype=torch.float64)
    frozen = torch.randn(9, 6, dtype=torch.float64)
    targets = Targets(torch.randint(0, 11, (9,)), torch.rand(9, dtype=torch.float64))
    reference = Frozen(frozen, Head(other, None, None))
    (found,) = target_loss(hidden, Head(weight, None, None), targets, [term], chunk=chunk, reference=reference)
    found.backward()
    got, hidden.grad = hidden.grad.clone(), None
    ours, theirs = F.log_softmax(hidden @ weight.T, -1), F.log_softmax(frozen @ other.T, -1)
    a, b = (ours, theirs) if term is forward_kl else (theirs, ours)  # F.kl_div(a, b) is KL(b || a)
    expected = (F.kl_div(a, b, reduction="none", log_target=True).sum(-1) * targets.weights_N).sum()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    assert torch.allclose(got, hidden.grad, atol=1e-10)


@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_divergence_is_zero_at_step_0_and_holds_the_model_back(llama, tmp_path, lora, direction):
    sft = replace(BASE, lora=lora, learning_rate=1e-2, warmup_steps=0)
    free, _ = go(llama, tmp_path, "free", sft=with_kl(sft, weight=1e-6, direction=direction))
    held, _ = go(llama, tmp_path, "held", sft=with_kl(sft, weight=20.0, direction=direction))
    plain, _ = go(llama, tmp_path, "plain", sft=sft)
    free, held = losses(free), losses(held)
    assert free[0]["kl"] == held[0]["kl"] == 0.0
    assert held[0]["loss"] == losses(plain)[0]["loss"]
    assert 0 < held[-1]["kl"] < 0.5 * free[-1]["kl"]


def test_early_divergence_ends(llama, tmp_path):
    out, _ = go(llama, tmp_path, sft=with_kl(steps=2))
    assert [("kl" in row) for row in losses(out)] == [True, True, False, False, False, False]
    assert set(terms_of(with_kl(steps=2).objective, 2)) == {"cross_entropy"}


def test_divergence_from_another_model(llama, tmp_path):
    moved, _ = go(llama, tmp_path, "moved", sft=replace(BASE, learning_rate=1e-2))
    sft = with_kl(weight=1.0)
    out, _ = go(moved / "step-00006", tmp_path, "own", sft=sft)
    away, _ = go(moved / "step-00006", tmp_path, "away", sft=sft, reference=llama)
    lora, _ = go(moved / "step-00006", tmp_path, "lora", sft=replace(sft, lora=LORA), reference=llama)
    assert losses(out)[0]["kl"] == 0.0
    assert losses(away)[0]["kl"] == pytest.approx(losses(lora)[0]["kl"], rel=1e-4)
    assert losses(away)[0]["kl"] > 1e-2


@pytest.mark.parametrize("layout", ["padded", "packed", "varlen"])
def test_micro_batches_change_no_divergence(llama, tmp_path, layout):
    sft = with_kl(replace(BASE, lora=LORA, compute_dtype="float64"))  # the reference is in float64 too
    a, _ = go(llama, tmp_path, "a", sft=sft, runtime=Runtime(micro_batch=1), layout=layout)
    b, _ = go(llama, tmp_path, "b", sft=sft, runtime=Runtime(micro_batch=4), layout=layout)
    assert same(a / "step-00006", b / "step-00006", atol=1e-10)
    assert [r["kl"] for r in losses(a)] == pytest.approx([r["kl"] for r in losses(b)], abs=1e-10)


@pytest.mark.parametrize("keep", ["likely", "unlikely"])
def test_left_out_tokens_are_the_extremes_and_have_no_gradient(llama, keep):
    rows = examples(8)
    made = prepare(llama, None, with_support(0.25, keep), Runtime(), "padded")
    found = supported(made, rows, range(len(rows)), TokenSupport(quantile=0.25, keep=keep), Limit(rows=3, tokens=999))
    model = AutoModelForCausalLM.from_pretrained(llama)
    likelihoods, weights = [], np.concatenate([weights_of(e) for e in found])
    with torch.no_grad():
        for e in rows:
            ids = torch.tensor(e.ids.astype(np.int64))
            logs = F.log_softmax(model(ids[None]).logits[0, :-1], -1).gather(1, ids[1:, None])[:, 0]
            likelihoods.append(logs[torch.tensor(e.mask[1:])].numpy())
    values = np.concatenate(likelihoods)
    left_out = weights == 0
    assert left_out.sum() == len(values) // 4
    if keep == "likely":
        assert values[left_out].max() <= values[~left_out].min() + 1e-6
    else:
        assert values[left_out].min() >= values[~left_out].max() - 1e-6
    hidden = torch.randn(len(weights), 32, requires_grad=True)
    targets = Targets(torch.zeros(len(weights), dtype=torch.int64), torch.tensor(weights))
    target_loss(hidden, made.head, targets, [cross_entropy], chunk=1000)[0].backward()
    assert (hidden.grad.abs().sum(1).numpy() == 0).tolist() == left_out.tolist()


def test_the_share_that_is_left_out_is_rounded_down_exactly():
    for quantile in (0.29, 0.3, 0.5, 0.57, 1 / 3):
        for n in (1, 99, 100, 150, 3000):
            left_out = sum(
                int((x == 0).sum())
                for x in support._factors([np.zeros(n)], TokenSupport(quantile=quantile, keep="likely"))
            )
            exact = Fraction(quantile).limit_denominator(100) * n
            assert left_out == exact // 1, (quantile, n)


def test_the_loss_is_the_mean_over_tokens_that_count(llama, tmp_path):
    rows = examples(6)
    sft = with_support(0.4, "likely")
    made = prepare(llama, None, sft, Runtime(), "padded")
    weighed = supported(made, rows, range(6), sft.objective.support, WIDE)
    # The same tokens as plain targets: a mask without the tokens that are left out.
    masked = [replace(e, mask=e.mask & (e.weights > 0), weights=None) for e in weighed]
    terms = terms_of(CROSS_ENTROPY, 0)
    for limit in (WIDE, Limit(rows=1, tokens=10**6)):
        a = loop._gradients(made, weighed, limit, terms)["cross_entropy"]
        made.optimizer.zero_grad()
        b = loop._gradients(made, [e for e in masked if e.mask[1:].any()], limit, terms)["cross_entropy"]
        assert float(a) == pytest.approx(float(b), rel=1e-5)
    everything = [replace(e, weights=np.zeros(len(e.ids), np.float32)) for e in rows]
    assert float(loop._gradients(made, everything, WIDE, terms)["cross_entropy"]) == 0.0
    a, facts = go(llama, tmp_path, "a", sft=sft, runtime=Runtime(micro_batch=1))
    b, _ = go(llama, tmp_path, "b", sft=sft, runtime=Runtime(micro_batch=4))
    assert same(a / "step-00006", b / "step-00006", atol=2e-5)
    assert facts["target_tokens_left_out"] == int(0.4 * sum(int(e.mask[1:].sum()) for e in examples(10)))


def test_reference_passes_change_nothing_of_the_trained_adapter(llama):
    """The frozen pass switches the adapter off and on again; the trained pass must still reach its weights."""
    made = prepare(llama, None, with_kl(replace(BASE, lora=LORA)), Runtime(), "padded")
    sums = forward.forward_loss(made, examples(3), terms_of(with_kl().objective, 0))
    (sums["cross_entropy"] + sums["kl"]).backward()
    assert all(p.grad is not None for p in made.params)
    assert any(float(p.grad.abs().sum()) > 0 for p in made.params)


def test_objectives_without_meaning_are_refused():
    with pytest.raises(RecipeError, match="above 0"):
        KlToReference(weight=0.0, direction="forward", steps=None)
    with pytest.raises(RecipeError, match="leaves no target"):
        TokenSupport(quantile=1.0, keep="likely")
    with pytest.raises(RecipeError, match="cross-entropy weight"):
        Objective(cross_entropy=0.0, kl=None, support=None)
    with pytest.raises(RecipeError, match="no term left after the KL term's 3 steps"):
        Objective(cross_entropy=0.0, kl=replace(FORWARD, steps=3), support=None)
