"""On-policy distillation: the student comes nearer to its teacher on its own samples, and stays where it is its own."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from offmodel.core.errors import DataError, ModelError, RecipeError
from offmodel.engines import loop
from offmodel.engines.losses import terms_of
from offmodel.engines.objective import KlToReference, Objective
from offmodel.engines.on_policy import Rollouts, check_same_tokens, distil
from offmodel.engines.preparation import prepare
from offmodel.engines.rendering import Renderer
from offmodel.engines.rollouts import roll_out
from offmodel.engines.sft import Lora
from offmodel.engines.weights import add_noise
from offmodel.pocket.world import chat_prompts, model_folder
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, silent, tokenizer
from tests.engines.test_sft import Killed, go, losses, same

REVERSE = Objective(cross_entropy=0.0, kl=KlToReference(weight=1.0, direction="reverse", steps=None), support=None)
SFT = replace(BASE, objective=REVERSE, steps=4, checkpoints=(4,), batch_size=4, warmup_steps=0)
ROLLOUTS = Rollouts(temperature=1.0, max_new_tokens=12)
PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14], [15, 16]]


def learn(model, teacher, tmp, name="run", *, sft=SFT, rollouts=ROLLOUTS, prompts=PROMPTS, progress=silent, **options):
    out, scratch = tmp / name / "out", tmp / name / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    facts = distil(
        model=model, adapter=None, teacher=teacher, prompts=prompts, rollouts=rollouts, sft=sft, out=out,
        scratch=scratch, runtime=Runtime(), progress=progress, **options,
    )  # fmt: skip
    return out, facts


@pytest.fixture(scope="module")
def teacher(llama, tmp_path_factory):
    out, _ = go(llama, tmp_path_factory.mktemp("teacher"), sft=replace(BASE, learning_rate=1e-2, checkpoints=(6,)))
    return out / "step-00006"


@pytest.mark.parametrize("lora", [None, LORA])
def test_a_student_that_is_its_teacher_stays_as_it_is(llama, tmp_path, lora):
    sft = replace(SFT, lora=lora, steps=2, checkpoints=(0, 2), learning_rate=1.0)
    out, facts = learn(llama, llama, tmp_path, sft=sft)
    assert [(r["loss"], r["kl"], r["grad_norm"]) for r in losses(out)] == [(0.0, 0.0, 0.0)] * 2
    assert same(out / "step-00000", out / "step-00002")
    assert facts["sampled_tokens"] == sum(r["tokens"] for r in losses(out)) > 0


@pytest.mark.parametrize("lora", [None, replace(LORA, rank=16, alpha=32)])
def test_the_student_comes_nearer_to_its_teacher(llama, teacher, tmp_path, lora):
    sft = replace(
        SFT, lora=lora, steps=30, checkpoints=(30,), batch_size=8, learning_rate=3e-3 if lora is None else 1e-2
    )
    out, _ = learn(llama, teacher, tmp_path, sft=sft)
    kl = [r["kl"] for r in losses(out)]
    assert np.mean(kl[-5:]) < 0.5 * kl[0]


def test_the_loss_is_the_divergence_of_full_logits_on_own_samples(llama, teacher):
    made = prepare(llama, None, SFT, Runtime(), "auto", teacher)
    rows = roll_out(made, PROMPTS, ROLLOUTS, Renderer.from_folder(llama), seed=3)
    found = loop._gradients(made, rows, loop.first_limit(Runtime()), terms_of(REVERSE, 0))["kl"]
    total, count = 0.0, 0
    made = prepare(llama, None, SFT, Runtime(), "padded", teacher)
    with torch.no_grad():
        for e in rows:
            ids = torch.tensor(e.ids[None].astype(np.int64))
            at = torch.tensor(e.mask[1:])
            ours = torch.log_softmax(made.base(input_ids=ids).logits[0, :-1][at], -1)
            theirs = torch.log_softmax(made.reference.head.logits(made.reference.decoder(ids)[0])[0, :-1][at], -1)
            total += float((ours.exp() * (ours - theirs)).sum())
            count += int(at.sum())
    assert float(found) == pytest.approx(total / count, rel=1e-4)


def test_samples_are_the_models_own_and_leave_it_as_it_was(llama, teacher):
    made = prepare(llama, None, SFT, Runtime(), "auto", teacher)
    own = made.base.generation_config
    renderer = Renderer.from_folder(llama)
    many = roll_out(made, [[5, 6, 7]] * 600, replace(ROLLOUTS, max_new_tokens=1), renderer, seed=1)
    plain = prepare(llama, None, SFT, Runtime(), "padded", teacher).base
    with torch.no_grad():
        probabilities = torch.softmax(plain(torch.tensor([[5, 6, 7]])).logits[0, -1], -1)
    top = int(probabilities.argmax())
    share = np.mean([int(e.ids[-1]) == top for e in many])
    assert share == pytest.approx(float(probabilities[top]), abs=4 * (0.25 / 600) ** 0.5)
    assert made.base.generation_config is own
    again = roll_out(made, [[5, 6, 7]] * 600, replace(ROLLOUTS, max_new_tokens=1), renderer, seed=1)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(many, again, strict=True))
    short = roll_out(made, PROMPTS, ROLLOUTS, renderer, seed=2)
    assert all(e.mask[: len(p)].sum() == 0 and e.mask[len(p) :].all() for p, e in zip(PROMPTS, short, strict=True))


def test_killed_and_resumed_equals_uninterrupted(llama, teacher, tmp_path):
    def killer(fraction, text=""):
        if fraction == 0.5:
            raise Killed

    whole, _ = learn(llama, teacher, tmp_path, "whole")
    with pytest.raises(Killed):
        learn(llama, teacher, tmp_path, "cut", progress=killer, resume_every_s=0.0)
    cut, facts = learn(llama, teacher, tmp_path, "cut", resume_every_s=0.0)
    assert facts["resumed_from_step"] == 2
    assert same(whole / "step-00004", cut / "step-00004")
    assert losses(whole) == losses(cut)


def test_a_noised_pocket_student_recovers_towards_its_former_self(tmp_path):
    student, noised = model_folder("student"), tmp_path / "noised"
    renderer = Renderer.from_folder(student)
    prompts = [renderer.prompt_ids(p.messages) for p in chat_prompts(n=24, seed=1, split="train")]
    add_noise(model=student, sigma=0.4, seed=1, out=noised, dtype=None)
    lora = Lora(rank=8, alpha=16, targets="all-linear")
    sft = replace(SFT, lora=lora, steps=12, checkpoints=(12,), batch_size=8, learning_rate=3e-3, max_tokens=128)
    out, _ = learn(
        noised, student, tmp_path, sft=sft, prompts=prompts, rollouts=Rollouts(temperature=1.0, max_new_tokens=24)
    )
    kl = [r["kl"] for r in losses(out)]
    assert kl[0] > 0.1
    assert np.mean(kl[-3:]) < 0.5 * kl[0]


def test_other_tokens_are_refused_before_anything_is_loaded(llama, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(llama, other)
    (other / "model.safetensors").unlink()
    made = tokenizer("x")
    made.add_tokens(["new"])
    made.save_pretrained(other)
    with pytest.raises(ModelError, match=r"different tokenizers.*'new'"):
        learn(llama, other, tmp_path)
    check_same_tokens(llama, llama)
    json.loads((other / "tokenizer.json").read_text())


def test_settings_without_meaning_are_refused(llama, tmp_path):
    with pytest.raises(RecipeError, match="a KL alone"):
        learn(llama, llama, tmp_path, sft=BASE)
    with pytest.raises(RecipeError, match="temperature above 0"):
        learn(llama, llama, tmp_path, rollouts=replace(ROLLOUTS, temperature=0.0))
    with pytest.raises(DataError, match="room for 12 new tokens"):
        learn(llama, llama, tmp_path, sft=replace(SFT, max_tokens=12))
