"""A member of a cohort ends as if it had been trained alone; who leaves, waits, fails or is killed changes nothing."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from offmodel.core.errors import DataError, NonFiniteLoss, RecipeError
from offmodel.engines import adapters, cohort, cohort_pass, loop
from offmodel.engines.cohort import Member, train_cohort
from offmodel.engines.objective import CROSS_ENTROPY, KlToReference, TokenSupport
from offmodel.engines.rendering import Example
from offmodel.engines.segments import agrees
from offmodel.engines.sft import Lora
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, examples, silent
from tests.engines.test_sft import Killed, go, losses, weights

PLAIN = replace(BASE, lora=LORA, compute_dtype="float64")
EARLY = replace(CROSS_ENTROPY, kl=KlToReference(weight=2.0, direction="reverse", steps=2))
MEMBERS = (
    PLAIN,
    replace(PLAIN, steps=3, checkpoints=(0, 3), learning_rate=5e-3, seed=4, warmup_steps=0),
    replace(PLAIN, lora=Lora(rank=2, alpha=8, targets="all-linear"), batch_size=2, seed=1, weight_decay=0.1),
    replace(PLAIN, objective=EARLY, learning_rate=1e-2, clip_norm=0.1, beta2=0.95),
    replace(PLAIN, objective=replace(CROSS_ENTROPY, support=TokenSupport(quantile=0.3, keep="likely"))),
)


def member(tmp: Path, name: str, sft, *, rows=None, adapter=None, progress=silent) -> Member:
    (tmp / name / "scratch").mkdir(parents=True, exist_ok=True)
    rows = examples(10) if rows is None else rows
    return Member(
        adapter=adapter, examples=rows, sft=sft, out=tmp / name / "out", scratch=tmp / name / "scratch",
        progress=progress,
    )  # fmt: skip


def together(model, members, **options):
    return dict(train_cohort(model=model, members=members, runtime=Runtime(), **options))


def equal(a: Path, b: Path, atol: float) -> bool:
    """Folders of two trainings: the same files, the same config bytes, weights within a tolerance."""
    assert sorted(p.relative_to(a) for p in a.rglob("*")) == sorted(p.relative_to(b) for p in b.rglob("*"))
    for config in a.glob("*/adapter_config.json"):
        assert config.read_bytes() == (b / config.relative_to(a)).read_bytes()
    for folder in a.glob("step-*"):
        x, y = weights(folder), weights(b / folder.name)
        assert x.keys() == y.keys()
        if not all(torch.allclose(x[k], y[k], rtol=0, atol=atol) and x[k].dtype == y[k].dtype for k in x):
            return False
    first, second = losses(a), losses(b)
    assert [r.keys() for r in first] == [r.keys() for r in second]
    flat = [[v for r in rows for v in r.values()] for rows in (first, second)]
    return flat[0] == pytest.approx(flat[1], rel=0, abs=max(atol, 1e-12) * 10)


def alone(model, tmp, sft, index, **options):
    out, facts = go(model, tmp, f"alone{index}", sft=sft, rows=examples(10, seed=index), **options)
    return out, facts


@pytest.mark.parametrize("layout", ["padded", "packed", "varlen"])
@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-10), ("float32", 2e-5)])
def test_members_equal_their_lone_trainings(llama, tmp_path, dtype, atol, layout):
    settings = [replace(s, compute_dtype=dtype) for s in MEMBERS]
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(settings)]
    facts = together(llama, members, layout=layout)
    for i, s in enumerate(settings):
        out, lone = alone(llama, tmp_path, s, i, layout=layout)
        assert equal(members[i].out, out, atol), i
        times = {"seconds", "seconds_stepping", "seconds_in_cohort", "tokens_per_second", "cohort"}
        assert {k: v for k, v in facts[i].items() if k not in times} == pytest.approx(
            {k: v for k, v in lone.items() if k not in times}
        )


def test_members_go_on_from_earlier_adapters(llama, tmp_path):
    first, _ = alone(llama, tmp_path, replace(PLAIN, learning_rate=1e-2), 0)
    start = first / "step-00003"
    mixed = [
        member(tmp_path, "on", replace(PLAIN, seed=9), adapter=start, rows=examples(10, seed=1)),
        member(tmp_path, "new", PLAIN, rows=examples(10, seed=2)),
    ]
    together(llama, mixed)
    on, _ = go(llama, tmp_path, "lone", sft=replace(PLAIN, seed=9), adapter=start, rows=examples(10, seed=1))
    assert equal(mixed[0].out, on, 1e-10)
    wrong = replace(PLAIN, lora=replace(LORA, rank=8))
    found = together(llama, [member(tmp_path, "w", wrong, adapter=start), member(tmp_path, "ok", PLAIN)])
    assert isinstance(found[0], RecipeError)
    assert found[1]["cohort"] == 1


def with_config(adapter: Path, out: Path, **changes) -> Path:
    """An adapter whose config says something else too."""
    shutil.copytree(adapter, out)
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(adapters.plain_config(config | changes))
    return out


def test_members_follow_the_scale_of_the_adapter_that_they_continue(llama, tmp_path):
    first, _ = alone(llama, tmp_path, replace(PLAIN, learning_rate=1e-2), 0)
    start = with_config(first / "step-00006", tmp_path / "rs", use_rslora=True)
    on = member(tmp_path, "on", PLAIN, adapter=start, rows=examples(10, seed=1))
    together(llama, [on, member(tmp_path, "new", PLAIN)])
    lone, _ = go(llama, tmp_path, "lone", sft=PLAIN, adapter=start, rows=examples(10, seed=1))
    assert equal(on.out, lone, 1e-10)


@pytest.mark.parametrize("setting", [{"alpha_pattern": {"q_proj": 32}}, {"target_parameters": ["experts.down_proj"]}])
def test_adapters_of_several_scales_or_kinds_are_refused_and_the_others_go_on(llama, tmp_path, setting):
    first, _ = alone(llama, tmp_path, PLAIN, 0)
    start = with_config(first / "step-00006", tmp_path / "odd", **setting)
    found = together(llama, [member(tmp_path, "odd", PLAIN, adapter=start), member(tmp_path, "new", PLAIN)])
    assert isinstance(found[0], RecipeError)
    assert f"was made with {next(iter(setting))}, which" in str(found[0])
    assert found[1]["cohort"] == 1


def test_those_who_wait_take_the_places_of_those_who_leave(llama, tmp_path):
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(MEMBERS)]
    found = together(llama, members, room=2)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert found[0]["cohort_held_at_a_time"] == 2
    for i, s in enumerate(MEMBERS):
        assert equal(members[i].out, alone(llama, tmp_path, s, i)[0], 1e-10), i


def test_a_member_without_steps_may_want_terms_that_no_other_has(llama, tmp_path):
    idle = replace(PLAIN, steps=0, checkpoints=(0,), objective=EARLY)
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate((PLAIN, idle))]
    found = together(llama, members)
    assert found[1]["final_loss"] is None
    for i, s in enumerate((PLAIN, idle)):
        assert equal(members[i].out, alone(llama, tmp_path, s, i)[0], 1e-10), i


def test_a_member_that_diverges_is_stopped_and_the_others_go_on(llama, tmp_path):
    wild = replace(PLAIN, learning_rate=1e200, clip_norm=1e200, warmup_steps=0)
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate((PLAIN, wild, PLAIN))]
    found = together(llama, members)
    assert isinstance(found[1], NonFiniteLoss)
    assert not members[1].out.exists()
    for i in (0, 2):
        assert equal(members[i].out, alone(llama, tmp_path, PLAIN, i)[0], 1e-10)


def test_a_killed_cohort_goes_on_alone_or_in_other_company(llama, tmp_path):
    def killer(fraction, text=""):
        if fraction == 4 / 6:
            raise Killed

    settings = MEMBERS[:1] + MEMBERS[2:]
    cut = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(settings)]
    with pytest.raises(Killed):
        together(llama, [*cut[:-1], replace(cut[-1], progress=killer)], resume_every_s=0.0)
    found = together(llama, [cut[3], cut[1]], resume_every_s=0.0)
    assert found[0]["resumed_from_step"] == found[1]["resumed_from_step"] == 4
    _, facts = go(llama, tmp_path, "m0", sft=settings[0], rows=examples(10, seed=0))
    assert facts["resumed_from_step"] == 4
    for i in (0, 1, 3):
        out, _ = alone(llama, tmp_path, settings[i], i)
        assert equal(cut[i].out, out, 1e-10), i


def test_a_lone_state_goes_on_in_a_cohort(llama, tmp_path):
    def killer(fraction, text=""):
        if fraction == 0.5:
            raise Killed

    rows = examples(10, seed=0)
    with pytest.raises(Killed):
        go(llama, tmp_path, "m0", sft=PLAIN, rows=rows, progress=killer, resume_every_s=0.0)
    members = [member(tmp_path, "m0", PLAIN, rows=rows), member(tmp_path, "m1", PLAIN)]
    assert together(llama, members)[0]["resumed_from_step"] == 3
    assert equal(members[0].out, alone(llama, tmp_path, PLAIN, 0)[0], 1e-10)


def test_memory_that_does_not_fit_shrinks_passes_then_members(llama, tmp_path, monkeypatch):
    plain = cohort_pass._forward
    seen = []

    def tight(body, bank, part, *rest):
        seen.append((len(part), bank.used))
        if len(part) > 3 or bank.used > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(body, bank, part, *rest)

    monkeypatch.setattr(cohort_pass, "_forward", tight)
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(MEMBERS)]
    found = together(llama, members)
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert found[4]["cohort_held_at_a_time"] == 2
    monkeypatch.undo()
    for i, s in enumerate(MEMBERS):
        assert equal(members[i].out, alone(llama, tmp_path, s, i)[0], 1e-10), i
    assert max(n for n, _ in seen) > 3


@pytest.mark.parametrize("wild", [False, True])
def test_those_who_are_sent_back_lose_no_row_and_hide_no_infinity(llama, tmp_path, monkeypatch, wild):
    """Losses are read every 16 steps, as on a GPU; memory runs out in between."""
    monkeypatch.setitem(loop.LOOK, "cpu", 16)
    plain, steps, sft = cohort_pass._forward, [], replace(PLAIN, checkpoints=(6,))

    def tight(body, bank, part, *rest):
        if len(steps) == 3 and bank.used > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        steps.append(len(part))
        found = plain(body, bank, part, *rest)
        bad = torch.tensor([0.0, float("nan") if wild and len(steps) == 2 else 0.0])[: bank.used]
        return {name: value + bad for name, value in found.items()}

    monkeypatch.setattr(cohort_pass, "_forward", tight)
    members = [member(tmp_path, f"m{i}", sft, rows=examples(10, seed=i)) for i in range(2)]
    found = together(llama, members)
    monkeypatch.undo()
    assert steps[:3] == [8, 8, 8]
    assert equal(members[0].out, alone(llama, tmp_path, sft, 0)[0], 1e-10)
    if wild:
        assert isinstance(found[1], NonFiniteLoss)
        assert "Step 2 " in str(found[1])
        assert not members[1].out.exists()
    else:
        assert found[1]["resumed_from_step"] == 3
        assert equal(members[1].out, alone(llama, tmp_path, sft, 1)[0], 1e-10)


def test_peft_reads_members_adapters_with_the_same_logits(llama, tmp_path):
    members = [member(tmp_path, f"m{i}", replace(s, compute_dtype="float32")) for i, s in enumerate(MEMBERS[:3])]
    together(llama, members)
    for i, m in enumerate(members):
        last = max(m.out.glob("step-*"))
        base = AutoModelForCausalLM.from_pretrained(llama)
        with adapters._quiet():
            model = PeftModel.from_pretrained(base, last)
        lone, _ = go(llama, tmp_path, f"a{i}", sft=m.sft)
        with adapters._quiet():
            other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), lone / last.name)
        with torch.no_grad():
            ids = torch.arange(12)[None]
            assert torch.allclose(model(ids).logits, other(ids).logits, atol=1e-4)


def test_mixtures_train_their_linear_layers(moe, tmp_path):
    sft = replace(PLAIN, compute_dtype="float32", seed=1)
    members = [member(tmp_path, "m0", replace(sft, seed=0)), member(tmp_path, "m1", sft)]
    facts = together(moe, members)
    assert facts[0]["experts_trained"] is False
    lone, _ = go(moe, tmp_path, "lone", sft=sft)
    assert equal(members[1].out, lone, 1e-4)


@pytest.mark.parametrize("way", ["grouped", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_ways_multiply_alike(way, dtype):
    if way == "grouped" and not hasattr(torch, "_grouped_mm"):
        pytest.skip("this torch has no grouped product")
    assert agrees(way, "cpu", dtype)


@pytest.mark.parametrize("way", ["grouped", "padded"])
def test_members_equal_their_lone_trainings_by_every_way(llama, tmp_path, monkeypatch, way):
    monkeypatch.setattr(cohort_pass, "right_way", lambda device, dtype: way)
    settings = [replace(s, compute_dtype="float32") for s in MEMBERS[:2]]
    settings = [replace(s, lora=replace(LORA, rank=8)) for s in settings]  # grouped products want 16-byte rows
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(settings)]
    together(llama, members)
    for i, s in enumerate(settings):
        assert equal(members[i].out, alone(llama, tmp_path, s, i, layout="padded")[0], 2e-5)


def test_a_checkpoint_that_cannot_be_written_ends_the_cohort_with_what_the_disk_said(llama, tmp_path, monkeypatch):
    def full(out, state, config):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, "write_adapter", full)
    with pytest.raises(OSError, match="No space left"):
        together(llama, [member(tmp_path, "m", PLAIN)])
    assert not list((tmp_path / "m" / "out").rglob("*.safetensors"))


def test_who_is_stopped_leaves_no_writer_behind(llama, tmp_path, monkeypatch):
    plain = adapters.write_adapter

    def slow(out, state, config):
        plain(out, state, config)
        time.sleep(0.5)

    def ended(fraction, text=""):
        if fraction > 0.6:  # behind the checkpoint of step 3
            raise KeyboardInterrupt

    monkeypatch.setattr(adapters, "write_adapter", slow)
    with pytest.raises(KeyboardInterrupt):
        together(llama, [member(tmp_path, "m", PLAIN, progress=ended)])
    assert [p.name for p in (tmp_path / "m" / "scratch" / "checkpoints").iterdir()] == ["step-00003"]


def test_company_that_does_not_fit_is_refused(llama, tmp_path):
    with pytest.raises(RecipeError, match="share LoRA targets and compute dtype"):
        together(llama, [member(tmp_path, "a", PLAIN), member(tmp_path, "b", replace(PLAIN, compute_dtype="float32"))])
    with pytest.raises(RecipeError, match="train these members alone"):
        together(llama, [member(tmp_path, "a", BASE)])
    long = [Example(np.zeros(100, np.int32), np.ones(100, bool))]
    found = together(llama, [member(tmp_path, "long", PLAIN, rows=long), member(tmp_path, "ok", PLAIN)])
    assert isinstance(found[0], DataError)
    assert json.dumps(found[1])
    assert cohort.Result is not None


def test_an_adapter_of_another_base_is_refused_and_the_others_go_on(llama, moe, tmp_path):
    lora = replace(PLAIN, compute_dtype="float32")
    other, _ = go(moe, tmp_path, "other", sft=lora)
    found = together(
        llama, [member(tmp_path, "w", lora, adapter=max(other.glob("step-*"))), member(tmp_path, "ok", lora)]
    )
    assert isinstance(found[0], RecipeError)
    assert "another base" in str(found[0])
    assert found[1]["final_loss"] > 0


def test_passes_grow_as_memory_allows(llama, tmp_path, monkeypatch):
    seen = []
    plain = cohort_pass._forward

    def noted(body, bank, part, *rest):
        seen.append(len(part))
        return plain(body, bank, part, *rest)

    monkeypatch.setattr(cohort_pass, "_forward", noted)
    monkeypatch.setattr(cohort._Cohort, "_allocated", lambda self: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2000)
    monkeypatch.setattr(cohort, "available_bytes", lambda device: 10**6)
    monkeypatch.setattr(cohort, "first_limit", lambda runtime: cohort.Limit(rows=None, tokens=40))
    members = [member(tmp_path, f"m{i}", s, rows=examples(10, seed=i)) for i, s in enumerate(MEMBERS[:3])]
    together(llama, members, layout="packed")
    assert max(seen[:3]) < 4 < max(seen)
    for i, s in enumerate(MEMBERS[:3]):
        assert equal(members[i].out, alone(llama, tmp_path, s, i, layout="packed")[0], 1e-10), i
