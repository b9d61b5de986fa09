"""Two processes train as one does: same losses, same checkpoints, and one goes on where two were killed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from offmodel.core.errors import OutOfMemory, RecipeError
from offmodel.engines.objective import CROSS_ENTROPY, KlToReference, LoadBalancing, Objective
from offmodel.engines.outcome import publish
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Lora, train
from offmodel.engines.sharded import assignment, launch, process
from offmodel.engines.sharded.assignment import Assignment
from offmodel.store.recipe import Runtime
from tests.engines.conftest import BASE, LORA, examples, silent

STEPS = 20
SFT = replace(BASE, steps=STEPS, checkpoints=(0, STEPS), learning_rate=3e-3)
EXPERTS = Lora(rank=4, alpha=8, targets="all-linear+experts")
KL = Objective(cross_entropy=1.0, kl=KlToReference(weight=0.5, direction="forward", steps=None), support=None)
BALANCED = replace(CROSS_ENTROPY, load_balancing=LoadBalancing(weight=0.5))
CASES = {
    "dense-full": ("llama", SFT, False),
    "dense-full-recompute": ("llama", replace(SFT, steps=4, checkpoints=(4,)), True),
    "dense-lora": ("llama", replace(SFT, lora=LORA), False),
    "dense-lora-kl": ("llama", replace(SFT, lora=LORA, objective=KL, steps=6, checkpoints=(6,)), False),
    "dense-full-kl": ("llama", replace(SFT, objective=KL, steps=6, checkpoints=(6,)), False),
    "moe-full": ("moe", SFT, False),
    "moe-lora": ("moe", replace(SFT, lora=LORA), False),
    "moe-lora-bf16": ("moe", replace(SFT, lora=LORA, steps=4, checkpoints=(4,), compute_dtype="bfloat16"), False),
    "dense-full-bf16": ("llama", replace(SFT, steps=4, checkpoints=(4,), compute_dtype="bfloat16"), True),
    "moe-full-balanced": ("moe", replace(SFT, objective=BALANCED, steps=8, checkpoints=(8,)), True),
    "moe-lora-balanced": ("moe", replace(SFT, lora=LORA, objective=BALANCED, steps=4, checkpoints=(4,)), False),
    "moe-lora-balanced-bf16": (
        "moe",
        replace(SFT, lora=LORA, objective=BALANCED, steps=4, checkpoints=(4,), compute_dtype="bfloat16"),
        True,
    ),
    "moe-lora-experts": ("moe", replace(SFT, lora=EXPERTS, steps=6, checkpoints=(6,)), True),
}
KILLED = replace(SFT, steps=8, checkpoints=(2, 8))
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def task_for(folder: Path, sft, scratch: Path, *, recompute: bool = False) -> Assignment:
    return Assignment(
        model=str(folder), adapter=None, reference=str(folder) if sft.objective.kl and not sft.lora else None,
        scratch=str(scratch), sft=sft, device="cpu", threads=1, recompute=recompute, layout="auto", rows=1,
        tokens=2**40, resume_every_s=1e9, parent=os.getpid(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory, llama, moe) -> Path:
    root, models = tmp_path_factory.mktemp("two"), {"llama": llama, "moe": moe}
    for name, (model, sft, recompute) in CASES.items():
        task = task_for(models[model], sft, root / name / "scratch", recompute=recompute)
        assignment.write(root / name / "task", task, examples(10))
    task = replace(task_for(moe, KILLED, root / "killed" / "scratch"), resume_every_s=0.0)
    assignment.write(root / "killed" / "task", task, examples(10))
    # One start for all: importing costs more than training. The last one kills itself after step 5.
    folders = [root / name / "task" for name in [*CASES, "killed"]]
    code, words = launch.start("tests.engines.sharded.several", folders, 2, silent)
    errors = [f for n in CASES for f in (root / n / "task").glob("error-*")]
    assert not errors, [f.read_text() for f in errors]
    assert code != 0
    assert words == "a process was ended by SIGKILL"
    return root


def alone(model: Path, sft, tmp: Path) -> Path:
    scratch = tmp / "scratch"
    scratch.mkdir(parents=True)
    train(
        model=model, adapter=None, examples=examples(10), sft=sft, out=tmp / "out", scratch=scratch,
        runtime=Runtime(device="cpu", threads=1), progress=silent,
    )  # fmt: skip
    return tmp / "out"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*.safetensors")))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(two, tmp_path, request, name) -> None:
    model, sft, recompute = CASES[name]
    out = alone(request.getfixturevalue(model), sft, tmp_path)
    one = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    facts, losses = assignment.read_result(two / name / "task") or ({}, [])
    assert [r["tokens"] for r in losses] == [r["tokens"] for r in one]
    # Under bfloat16 the sharded model's residual stream is bfloat16 too.
    close = 2e-3 if sft.compute_dtype == "float32" else 5e-2
    for key in ("loss", "grad_norm"):
        assert [r[key] for r in losses] == pytest.approx([r[key] for r in one], rel=close)
    if sft.objective.load_balancing is not None:
        assert [r["load_balancing"] for r in losses] == pytest.approx([r["load_balancing"] for r in one], rel=close)
        assert facts["router_auxiliary_loss"] == {"load_balancing": 0.5}
    assert facts["processes"] == 2
    assert facts["recompute"] is recompute
    publish(two / name / "scratch", two / name / "out", losses, sft.checkpoints)
    for step in sft.checkpoints:
        ours, theirs = (weights(x / f"step-{step:05d}") for x in (two / name / "out", out))
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[k], theirs[k], atol=close) for k in ours), name
        if step == 0:
            assert all(torch.equal(ours[k], theirs[k]) for k in ours)
        files = [{f.name for f in (x / f"step-{step:05d}").iterdir()} for x in (two / name / "out", out)]
        assert files[0] == files[1]


def in_this_process(module: str, folders: list[Path], processes: int, progress) -> tuple[int, str]:
    """In place of torchrun: a group of one."""
    names = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        process.main(folders[0])
    return 0, "none"


def test_passes_are_halved_down_to_the_longest_example_that_is_trained_on(llama, tmp_path, monkeypatch) -> None:
    seen = []

    def full(module, folders, processes, progress):
        seen.append(assignment.read(folders[0])[0].tokens)
        assignment.write_error(folders[0], 0, OutOfMemory("full"))
        return 1, "none"

    monkeypatch.setattr(launch, "start", full)
    dropped = Example(np.zeros(2000, np.int32), np.ones(2000, bool))
    with pytest.raises(OutOfMemory, match="full"):
        train(
            model=llama, adapter=None, examples=[*examples(8), dropped], sft=SFT, out=tmp_path / "out",
            scratch=tmp_path / "scratch", runtime=Runtime(processes=2), progress=silent,
        )  # fmt: skip
    assert seen == [1024, 512, 256, 128, 64, 32, 16]


@pytest.mark.parametrize("setting", [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 32}}])
def test_an_adapter_of_another_scale_is_refused(llama, tmp_path, setting) -> None:
    sft = replace(BASE, lora=LORA, steps=1, checkpoints=(1,))
    folder = alone(llama, sft, tmp_path / "first") / "step-00001"
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | setting))
    with pytest.raises(RecipeError, match=f"was made with {next(iter(setting))}, which"):
        train(
            model=llama, adapter=folder, examples=examples(8), sft=sft, out=tmp_path / "out",
            scratch=tmp_path / "scratch", runtime=Runtime(processes=2), progress=silent,
        )  # fmt: skip


def test_killed_on_two_goes_on_with_one(two, moe, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(launch, "start", in_this_process)
    scratch = two / "killed" / "scratch"
    assert [f.name for f in scratch.glob("sharded-state-*")] == ["sharded-state-000005"]
    facts = train(
        model=moe, adapter=None, examples=examples(10), sft=KILLED, out=tmp_path / "out", scratch=scratch,
        runtime=Runtime(device="cpu", threads=1, micro_batch=1), progress=silent,
    )  # fmt: skip
    assert facts["processes"] == 1
    assert facts["resumed_from_step"] == 5
    out = alone(moe, KILLED, tmp_path / "one")
    one, ours = (
        [json.loads(line)["loss"] for line in (o / "losses.jsonl").read_text().splitlines()]
        for o in (out, tmp_path / "out")
    )
    assert ours == pytest.approx(one, rel=2e-3)
    for step in KILLED.checkpoints:
        a, b = (weights(o / f"step-{step:05d}") for o in (out, tmp_path / "out"))
        assert a.keys() == b.keys()
        assert all(torch.allclose(a[k], b[k], atol=2e-3) for k in a)


@pytest.mark.parametrize("processes", [3, 8])
def test_a_world_that_does_not_divide_is_refused(llama, tmp_path, processes) -> None:
    with pytest.raises(RecipeError, match=f"4 sequences .* {processes} processes; use one of 1, 2, 4"):
        train(
            model=llama, adapter=None, examples=examples(4), sft=SFT, out=tmp_path / "out", scratch=tmp_path,
            runtime=Runtime(processes=processes), progress=silent,
        )  # fmt: skip


def test_an_optimizer_that_cannot_be_cut_is_refused(llama, tmp_path) -> None:
    with pytest.raises(RecipeError, match="adamw or sgd"):
        train(
            model=llama, adapter=None, examples=examples(4), sft=replace(SFT, optimizer="adafactor"),
            out=tmp_path / "out", scratch=tmp_path, runtime=Runtime(processes=2), progress=silent,
        )  # fmt: skip
