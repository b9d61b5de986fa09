"""A pass padded to a fixed shape adds what the plain pass adds; only capturing itself needs a GPU."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from offmodel.core.errors import NonFiniteLoss
from offmodel.engines import adapters, attention, cohort, stage, static_pass
from offmodel.engines.bank import Bank
from offmodel.engines.batches import Limit
from offmodel.engines.cohort_pass import Entry, summed_losses
from offmodel.engines.forward import Reference
from offmodel.engines.graphs import Graphs
from offmodel.engines.preparation import prepare_frozen
from offmodel.store.recipe import Runtime
from tests.engines.conftest import examples
from tests.engines.test_cohort import MEMBERS, PLAIN, alone, equal, member, with_config
from tests.engines.test_sft import go

ON = Runtime(graphs="on")
SCALES = [2.0, 0.5, 1.0, 3.0]
FACTORS = [{"cross_entropy": f} for f in (1.0, 0.5, 2.0, 1.0)]


def made(model, dtype, *, rows=4, rank=8, layout="packed"):
    body = prepare_frozen(model, dtype, Runtime(), layout)
    bank = Bank(body.base, adapters.linear_targets(body.base), capacity=rows, rank=rank, dtype=body.master)
    generator = torch.Generator().manual_seed(3)
    bank.flat_CP.copy_(torch.randn(bank.flat_CP.shape, generator=generator, dtype=torch.float64) * 0.1)
    bank.use(rows)
    return body, bank


def entries_of(counts):
    """Sequences of each row, in no order."""
    found = [Entry(row, e, 7.0 + row) for row, n in enumerate(counts) for e in examples(n, seed=row)]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def both(body, bank, counts, *, tokens, longest=64):
    """(losses, gradients) of plain and of padded passes."""
    found = []
    entries = entries_of(counts)
    for static in (None, Graphs(body, bank, longest)):
        bank.grad_CP.zero_()
        limit = Limit(rows=None, tokens=tokens)
        used = static.summed if static else None
        values = summed_losses(body, bank, entries, SCALES[: len(counts)], FACTORS[: len(counts)], limit, used)
        losses = torch.stack([values[k]["cross_entropy"][k] for k in range(len(counts))])
        found.append((losses, bank.grad_CP.clone()))
    return found


@pytest.mark.parametrize("counts", [(4, 4, 4, 4), (1, 0, 7, 2), (0, 0, 3, 0)])
@pytest.mark.parametrize(("tokens", "chunk"), [(10**6, 10**6), (60, 5)])
def test_padded_passes_add_what_plain_passes_add(llama, monkeypatch, counts, tokens, chunk):
    monkeypatch.setattr(static_pass, "chunk_of", lambda body: chunk)
    body, bank = made(llama, "float64")
    plain, padded = both(body, bank, counts, tokens=tokens)
    for a, b in zip(plain, padded, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
        assert a.abs().max() > 1e-3
    assert not padded[1][[k for k, n in enumerate(counts) if n == 0]].any()
    # Sequences of padding are cut where none longer was announced.
    short = both(body, bank, counts, tokens=tokens, longest=24)[1]
    assert torch.allclose(plain[1], short[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("chunk", [10**6, 5])
def test_divergences_are_added_as_in_plain_passes(llama, monkeypatch, direction, chunk):
    """Members of three kinds in one step: cross-entropy alone, with a divergence, and a divergence alone."""
    monkeypatch.setattr(static_pass, "chunk_of", lambda body: chunk)
    body, bank = made(llama, "float64")
    body = replace(body, reference=Reference(decoder=body.decoder, head=body.head, switch=bank.off))
    factors = [{"cross_entropy": 1.0}, {"cross_entropy": 0.5, direction: 2.0}, {direction: 0.7}, {"cross_entropy": 2.0}]
    entries, found = entries_of((3, 4, 2, 1)), []
    for static in (None, Graphs(body, bank, 64)):
        bank.grad_CP.zero_()
        used = static.summed if static else None
        values = summed_losses(body, bank, entries, SCALES, factors, Limit(rows=None, tokens=60), used)
        found.append((values, bank.grad_CP.clone()))
    (plain, before), (padded, after) = found
    assert torch.allclose(before, after, rtol=0, atol=1e-12)
    assert before.abs().max() > 1e-3
    for k in range(4):
        assert set(plain[k]) == set(padded[k]) == {n if n == "cross_entropy" else "kl" for n in factors[k]}
        for name, values in plain[k].items():
            assert float(values[k]) == pytest.approx(float(padded[k][name][k]), abs=1e-12)


def test_a_divergence_from_an_untouched_base_is_nothing(llama):
    body, bank = made(llama, "float64", rows=1)
    bank.flat_CP.zero_()
    body = replace(body, reference=Reference(decoder=body.decoder, head=body.head, switch=bank.off))
    factors = [{"forward_kl": 1.0}]
    values = summed_losses(
        body, bank, entries_of((4,)), [1.0], factors, Limit(rows=None, tokens=60), Graphs(body, bank, 64).summed
    )
    assert float(values[0]["kl"][0]) == 0.0
    assert not bank.grad_CP.any()


def test_one_adapter_alone_takes_the_short_way(llama):
    body, bank = made(llama, "float64", rows=1)
    plain, padded = both(body, bank, (9,), tokens=10**6)
    assert torch.allclose(plain[1], padded[1], rtol=0, atol=1e-12)
    assert torch.allclose(plain[0], padded[0], rtol=0, atol=1e-12)


def test_grouped_products_give_the_same(llama, monkeypatch):
    if not stage.grouped_works("cpu", torch.float32):
        pytest.skip("this torch has no grouped product here")
    body, bank = made(llama, "float32")
    plain, padded = both(body, bank, (3, 0, 5, 2), tokens=10**6)
    plain_way = stage.Stage.__init__
    monkeypatch.setattr(
        stage.Stage,
        "__init__",
        lambda self, bank, members, dtype, way: plain_way(self, bank, members, dtype, "grouped"),
    )
    grouped = both(body, bank, (3, 0, 5, 2), tokens=10**6)[1]
    for one in (padded, grouped):
        assert torch.allclose(plain[0], one[0], rtol=1e-5)
        assert torch.allclose(plain[1], one[1], rtol=0, atol=1e-5 * float(plain[1].abs().max()))


def test_bfloat16_is_as_near_as_plain_passes(llama):
    body, bank = made(llama, "bfloat16")
    exact_body, exact_bank = made(llama, "float64")
    plain, padded = both(body, bank, (3, 1, 5, 2), tokens=10**6)
    exact = both(exact_body, exact_bank, (3, 1, 5, 2), tokens=10**6)[0]
    off = [float((x[1].double() - exact[1]).norm() / exact[1].norm()) for x in (plain, padded)]
    assert off[1] < 1.3 * off[0] < 0.1


def attend_one_by_one(module, query, key, value, attention_mask, *, cu_seq_lens_q, max_length_q, scaling, **_):
    """Variable-length attention for a CPU, as the kernel reads its arguments: ends alone say what belongs together."""
    assert attention_mask is None
    groups = query.shape[1] // key.shape[1]
    parts = []
    for a, b in itertools.pairwise(cu_seq_lens_q.tolist()):
        assert 0 <= b - a <= max_length_q
        q, k, v = query[:, :, a:b], key[:, :, a:b], value[:, :, a:b]
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling))
    assert cu_seq_lens_q[-1] == query.shape[2]
    return torch.cat([p for p in parts if p.shape[2]], dim=2).transpose(1, 2), None


@pytest.fixture
def varlen(monkeypatch):
    monkeypatch.setattr(attention, "_attend", attend_one_by_one)


def test_sequences_that_are_told_by_their_ends(llama, varlen):
    body, bank = made(llama, "float64", layout="varlen")
    packed = both(*made(llama, "float64"), (4, 0, 3, 2), tokens=60)[0]
    for found in both(body, bank, (4, 0, 3, 2), tokens=60, longest=24):
        assert torch.allclose(packed[0], found[0], rtol=0, atol=1e-12)
        assert torch.allclose(packed[1], found[1], rtol=0, atol=1e-12)


def together(model, members, layout="packed"):
    return dict(cohort.train_cohort(model=model, members=members, runtime=ON, layout=layout))


def test_members_equal_their_lone_trainings(llama, tmp_path):
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(MEMBERS)]
    facts = together(llama, members)
    assert "plain" in facts[0]["graphs"]
    for i, s in enumerate(MEMBERS):
        assert equal(members[i].out, alone(llama, tmp_path, s, i, layout="packed")[0], 1e-10), i


def test_one_training_is_a_cohort_of_one(llama, tmp_path):
    rows = examples(10)
    plain, before = go(llama, tmp_path, "plain", sft=PLAIN, rows=rows, layout="packed")
    captured, facts = go(llama, tmp_path, "on", sft=PLAIN, rows=rows, layout="packed", runtime=ON)
    assert equal(captured, plain, 1e-10)
    assert set(facts) - set(before) == {"graphs"}
    assert not set(before) - set(facts)
    wild = replace(PLAIN, learning_rate=1e200, clip_norm=1e200, warmup_steps=0)
    with pytest.raises(NonFiniteLoss):
        go(llama, tmp_path, "wild", sft=wild, rows=rows, layout="packed", runtime=ON)


def test_an_adapter_of_several_scales_is_continued_in_plain_passes(llama, tmp_path):
    first, _ = go(llama, tmp_path, "first", sft=replace(PLAIN, learning_rate=1e-2))
    start = with_config(first / "step-00006", tmp_path / "start", alpha_pattern={"q_proj": 32})
    same = [
        go(llama, tmp_path, name, sft=PLAIN, adapter=start, layout="packed", runtime=runtime)[0]
        for name, runtime in (("plain", None), ("on", ON))
    ]
    assert equal(*same, 1e-10)


def test_a_member_that_diverges_does_not_reach_the_others(llama, tmp_path, varlen):
    wild = replace(PLAIN, learning_rate=1e200, clip_norm=1e200, warmup_steps=0)
    for order in ((PLAIN, wild, PLAIN), (wild, PLAIN, wild)):
        names = [f"{i}-{len(order)}-{order[0] is wild}" for i in range(3)]
        members = [
            member(tmp_path, n, s, rows=examples(10, seed=i)) for i, (n, s) in enumerate(zip(names, order, strict=True))
        ]
        found = together(llama, members, "varlen")
        for i, s in enumerate(order):
            if s is wild:
                assert isinstance(found[i], NonFiniteLoss)
            else:
                lone, _ = go(llama, tmp_path, f"a{names[i]}", sft=PLAIN, rows=examples(10, seed=i))
                assert equal(members[i].out, lone, 1e-10)
