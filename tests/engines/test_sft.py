"""A training is its batches and settings: layouts, micro-batches, kills and memory change nothing but rounding."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from offmodel.core.errors import DataError, ModelError, NonFiniteLoss, OutOfMemory, RecipeError
from offmodel.engines import adapters, folders, forward, loop
from offmodel.engines.batches import batch_indices, trained_tokens
from offmodel.engines.losses import cross_entropy
from offmodel.engines.preparation import prepare
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Lora, train
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, examples, silent


def go(model, tmp, name="run", *, sft=BASE, rows=None, adapter=None, runtime=None, progress=silent, **options):
    out, scratch = tmp / name / "out", tmp / name / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    runtime = runtime or Runtime(device="cpu", threads=1)
    rows = examples(10) if rows is None else rows
    facts = train(
        model=model, adapter=adapter, examples=rows, sft=sft, out=out, scratch=scratch, runtime=runtime,
        progress=progress, **options,
    )  # fmt: skip
    return out, facts


def weights(folder):
    return load_file(next(folder.glob("*.safetensors")))


def same(a, b, **tolerance):
    a, b = weights(a), weights(b)
    assert a.keys() == b.keys()
    return all(torch.allclose(a[k], b[k], **tolerance) if tolerance else torch.equal(a[k], b[k]) for k in a)


def losses(out):
    return [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]


def plain_losses(model, rows):
    """Mean loss over all targets of a batch, each sequence alone, logits in full."""
    total, count = 0.0, 0
    for e in rows:
        ids = torch.tensor(e.ids[None].astype(np.int64))
        logits = model(input_ids=ids).logits[0, :-1]
        at = torch.tensor(e.mask[1:])
        total = total + torch.nn.functional.cross_entropy(logits[at], ids[0, 1:][at], reduction="sum")
        count += int(at.sum())
    return total / count


CE = {"cross_entropy": cross_entropy}


def gradients(made, rows, limit):
    return loop._gradients(made, rows, limit, CE)["cross_entropy"]


def trainee(model, layout, *, double=False):
    made = prepare(model, None, BASE, Runtime(), layout)
    if double:
        made.model.double()
    return made


@pytest.mark.parametrize("layout", ["padded", "packed", "varlen"])
def test_loss_and_gradients_equal_sequences_one_by_one(llama, layout):
    rows = examples(7)
    made = trainee(llama, layout, double=True)
    found = gradients(made, rows, loop.Limit(rows=3, tokens=10**9))
    got = [p.grad.clone() for p in made.params]
    made.optimizer.zero_grad()
    made.base.set_attn_implementation("sdpa")
    expected = plain_losses(made.model, rows)
    expected.backward()
    assert float(found) == pytest.approx(expected.item(), abs=1e-6)
    assert all(torch.allclose(g, p.grad, atol=1e-7) for g, p in zip(got, made.params, strict=True))


def test_weights_of_examples_scale_their_loss(llama):
    rows = examples(4)
    heavy = [Example(e.ids, e.mask, np.where(np.arange(len(e.ids)) % 2, 2.0, 0.0).astype(np.float32)) for e in rows]
    bare = [Example(e.ids, e.mask & (np.arange(len(e.ids)) % 2 == 1)) for e in rows]
    made = trainee(llama, "padded")
    limit = loop.Limit(rows=None, tokens=10**6)
    assert float(gradients(made, heavy, limit)) == pytest.approx(float(gradients(made, bare, limit)), 1e-5)


def test_micro_batch_changes_nothing_but_rounding(llama, tmp_path):
    # In float64: of numbers whose gradient is nothing but rounding AdamW makes whole steps.
    double = replace(BASE, compute_dtype="float64")
    a, _ = go(llama, tmp_path, "a", sft=double, runtime=Runtime(micro_batch=1))
    b, _ = go(llama, tmp_path, "b", sft=double, runtime=Runtime(micro_batch=4))
    c, _ = go(llama, tmp_path, "c", sft=double, layout="packed")
    assert same(a / "step-00006", b / "step-00006", atol=1e-10)
    assert same(a / "step-00006", c / "step-00006", atol=1e-10)
    assert [r["loss"] for r in losses(a)] == pytest.approx([r["loss"] for r in losses(b)], abs=1e-10)


class Killed(Exception):
    pass


@pytest.mark.parametrize("lora", [None, LORA])
def test_killed_and_resumed_equals_uninterrupted_to_the_bit(llama, tmp_path, lora):
    sft = replace(BASE, lora=lora, steps=8, checkpoints=(0, 2, 8))

    def killer(fraction, text=""):
        if fraction == 5 / 8:
            raise Killed

    whole, _ = go(llama, tmp_path, "whole", sft=sft)
    with pytest.raises(Killed):
        go(llama, tmp_path, "cut", sft=sft, progress=killer, resume_every_s=0.0)
    cut, facts = go(llama, tmp_path, "cut", sft=sft, resume_every_s=0.0)
    assert facts["resumed_from_step"] == 5
    for name in ("step-00000", "step-00002", "step-00008"):
        assert same(whole / name, cut / name)
    assert losses(whole) == losses(cut)


def test_state_of_other_settings_is_ignored(llama, tmp_path):
    def killer(fraction, text=""):
        if fraction > 0.5:
            raise Killed

    with pytest.raises(Killed):
        go(llama, tmp_path, progress=killer, resume_every_s=0.0)
    _, facts = go(llama, tmp_path, sft=replace(BASE, learning_rate=2e-3))
    assert facts["resumed_from_step"] == 0


def test_saved_adapter_loads_in_peft_with_the_trained_logits(llama, tmp_path):
    out, facts = go(llama, tmp_path, sft=replace(BASE, lora=LORA))
    base = AutoModelForCausalLM.from_pretrained(llama)
    with adapters._quiet():
        model = PeftModel.from_pretrained(base, out / "step-00006")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        tuned = model(ids).logits
        merged_folder = tmp_path / "merged"
        adapters.merge_to_folder(model=llama, adapter=out / "step-00006", out=merged_folder)
        merged = AutoModelForCausalLM.from_pretrained(merged_folder)(ids).logits
        with model.disable_adapter():
            untuned = model(ids).logits
    assert torch.allclose(tuned, merged, atol=1e-4)
    assert float((tuned - untuned).abs().max()) > 1e-3
    assert facts["parameters_trained"] < 10_000
    text = (out / "step-00006" / "adapter_config.json").read_text()
    assert str(llama) not in text
    assert json.loads(text)["base_model_name_or_path"] is None


def test_continuing_an_adapter_starts_from_it(llama, tmp_path):
    sft = replace(BASE, lora=LORA, warmup_steps=0)
    first, _ = go(llama, tmp_path, "first", sft=sft)
    second, _ = go(llama, tmp_path, "second", sft=replace(sft, checkpoints=(0, 6)), adapter=first / "step-00006")
    assert same(first / "step-00006", second / "step-00000")
    assert not same(first / "step-00006", second / "step-00006")
    merged, _ = go(llama, tmp_path, "full", sft=replace(BASE, checkpoints=(0,)), adapter=first / "step-00006")
    adapters.merge_to_folder(model=llama, adapter=first / "step-00006", out=tmp_path / "m")
    assert same(merged / "step-00000", tmp_path / "m")
    with pytest.raises(RecipeError, match="rank 4"):
        go(
            llama,
            tmp_path,
            "x",
            sft=replace(sft, lora=Lora(rank=8, alpha=8, targets="all-linear")),
            adapter=first / "step-00006",
        )


def test_seed_reaches_order_and_adapter_initialisation(llama, tmp_path):
    sft = replace(BASE, lora=LORA, checkpoints=(0,))
    a, _ = go(llama, tmp_path, "a", sft=sft)
    b, _ = go(llama, tmp_path, "b", sft=replace(sft, seed=1))
    c, _ = go(llama, tmp_path, "c", sft=sft)
    assert same(a / "step-00000", c / "step-00000")
    assert not same(a / "step-00000", b / "step-00000")
    assert losses(a) == losses(c)
    assert losses(a) != losses(b)


def test_saved_model_keeps_all_other_files(llama, tmp_path):
    out, facts = go(llama, tmp_path)
    folder = out / "step-00003"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (folder / name).read_bytes() == (llama / name).read_bytes()
    ours, source = (json.loads((d / "config.json").read_text()) for d in (folder, llama))
    assert {k: v for k, v in ours.items() if k != "dtype"} == {k: v for k, v in source.items() if k != "dtype"}
    assert "_name_or_path" not in ours
    assert not any(str(llama) in f.read_text(errors="ignore") for f in folder.iterdir())
    assert facts["saved_dtype"] == "float32"
    assert not list((tmp_path / "run" / "scratch").glob("checkpoints"))


def test_bf16_compute_keeps_fp32_masters_and_saves_bf16(llama, tmp_path):
    out, facts = go(llama, tmp_path, sft=replace(BASE, compute_dtype="bfloat16"))
    saved = weights(out / "step-00006")
    assert {t.dtype for t in saved.values()} == {torch.bfloat16}
    assert (facts["master_dtype"], facts["saved_dtype"]) == ("float32", "bfloat16")
    assert json.loads((out / "step-00006" / "config.json").read_text())["dtype"] == "bfloat16"
    tied = AutoModelForCausalLM.from_pretrained(out / "step-00006")
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    made = prepare(llama, None, replace(BASE, compute_dtype="bfloat16", lora=LORA), Runtime(), "auto")
    assert {p.dtype for p in made.params} == {torch.float32}


def test_adapter_over_a_bf16_base_learns(llama, tmp_path):
    sft = replace(BASE, compute_dtype="bfloat16", lora=LORA, learning_rate=1e-2, steps=20, checkpoints=(20,))
    out, facts = go(llama, tmp_path, sft=sft, rows=examples(4))
    rows = losses(out)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert facts["saved_dtype"] == "float32"
    assert {t.dtype for t in weights(out / "step-00020").values()} == {torch.float32}


@pytest.mark.parametrize("targets", [None, "all-linear", "all-linear+experts"])
def test_mixture_trains_and_says_whether_experts_did(moe, tmp_path, targets):
    lora = None if targets is None else replace(LORA, targets=targets)
    out, facts = go(moe, tmp_path, sft=replace(BASE, lora=lora, learning_rate=3e-3, steps=8, checkpoints=(8,)))
    rows = losses(out)
    assert rows[-1]["loss"] < rows[0]["loss"] + 0.5
    assert facts["router_auxiliary_loss"] is False
    assert facts["experts_trained"] is (targets != "all-linear")
    base = AutoModelForCausalLM.from_pretrained(moe if lora else out / "step-00008")
    with adapters._quiet():
        model = PeftModel.from_pretrained(base, out / "step-00008") if lora else base
    assert torch.isfinite(model(torch.arange(9)[None]).logits).all()


def test_mixture_loss_is_the_labels_alone(moe):
    made = trainee(moe, "padded")
    rows = examples(5)
    with torch.no_grad():
        found = forward.forward_loss(made, rows, CE)["cross_entropy"] / sum(int(e.mask[1:].sum()) for e in rows)
        assert float(found) == pytest.approx(float(plain_losses(made.model, rows)), abs=1e-5)


def test_experts_without_mixture_are_refused(llama, tmp_path):
    with pytest.raises(RecipeError, match="fused experts"):
        go(llama, tmp_path, sft=replace(BASE, lora=replace(LORA, targets="all-linear+experts")))


def test_non_finite_loss_names_step_and_examples(llama, tmp_path):
    rows = examples(4)
    rows.insert(1, Example(np.zeros(100, np.int32), np.ones(100, bool)))
    with pytest.raises(NonFiniteLoss, match=r"Step [1-4] has .* examples [0234, ]+;"):
        go(llama, tmp_path, rows=rows, sft=replace(BASE, learning_rate=1e30, clip_norm=1e30))


def test_memory_that_does_not_fit_halves_the_micro_batch(llama, tmp_path, monkeypatch):
    forward_loss = loop.forward_loss
    seen = []

    def tight(made, rows, terms, balance):
        seen.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward_loss(made, rows, terms, balance)

    double = replace(BASE, compute_dtype="float64")
    expected, _ = go(llama, tmp_path, "roomy", sft=double)
    monkeypatch.setattr(loop, "forward_loss", tight)
    found, facts = go(llama, tmp_path, "tight", sft=double)
    assert facts["micro_batch_halved_to"]["tokens"] < 200
    assert same(expected / "step-00006", found / "step-00006", atol=1e-10)
    assert [r["tokens"] for r in losses(expected)] == [r["tokens"] for r in losses(found)]
    monkeypatch.setattr(loop, "forward_loss", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(OutOfMemory, match="single sequence"):
        go(llama, tmp_path, "none")


def test_schedule_and_rows(llama, tmp_path):
    out, facts = go(llama, tmp_path)
    rows = losses(out)
    assert [r["learning_rate"] for r in rows] == [5e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]
    assert set(rows[0]) == {"step", "loss", "tokens", "learning_rate", "grad_norm"}
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert facts["trained_tokens"] == sum(r["tokens"] for r in rows)
    assert sorted(p.name for p in out.iterdir()) == ["losses.jsonl", "step-00003", "step-00006"]
    groups = ["a", "b"] * 5
    counted = trained_tokens(examples(10), groups, BASE, steps=6)
    assert sum(counted.values()) == facts["trained_tokens"]


def test_overlong_examples_are_dropped_and_counted(llama, tmp_path):
    rows = [*examples(5), Example(np.zeros(100, np.int32), np.ones(100, bool))]
    _, facts = go(llama, tmp_path, rows=rows)
    assert (facts["examples"], facts["dropped_overlong"]) == (5, 1)
    with pytest.raises(DataError, match="None of 1"):
        go(llama, tmp_path, "x", rows=rows[5:])
    with pytest.raises(RecipeError, match="outside"):
        go(llama, tmp_path, "y", sft=replace(BASE, checkpoints=(7,)))


def test_every_epoch_meets_every_example_once():
    row = np.concatenate([batch_indices(10, batch_size=4, seed=3, step=s) for s in range(5)])
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    assert row[:10].tolist() != row[10:].tolist()
    assert len(batch_indices(3, batch_size=8, seed=0, step=2)) == 8


def test_bad_folders_say_so(tmp_path, llama):
    with pytest.raises(ModelError, match=r"no config\.json"):
        folders.load_model(tmp_path, dtype=torch.float32, device="cpu")
    with pytest.raises(ModelError, match="not an adapter"):
        adapters.read_config(tmp_path)
    with pytest.raises(ModelError, match="no dtype"):
        folders.dtype_of("int8")
