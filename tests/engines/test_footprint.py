"""What a training takes is counted before anything is loaded: adapters as PEFT makes them, and frozen models too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from offmodel.core.errors import RecipeError
from offmodel.engines import adapters, folders
from offmodel.engines.footprint import shape_of, training_memory
from offmodel.engines.objective import CROSS_ENTROPY, KlToReference
from offmodel.engines.room import check_room
from offmodel.engines.sft import Lora
from offmodel.store.recipe import Runtime
from offmodel.studies.scale.machines import calibration
from tests.engines.conftest import BASE, LORA

KL = replace(CROSS_ENTROPY, kl=KlToReference(weight=1.0, direction="forward", steps=None))
SHAPES = calibration()["shapes"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("targets", ["all-linear", "all-linear+experts"])
def test_adapters_of_a_mixture_are_counted_as_peft_makes_them(moe: Path, targets: str) -> None:
    lora = Lora(rank=3, alpha=3, targets=targets)
    made = adapters.inject(folders.load_model(moe, dtype=torch.float32, device="cpu"), lora, seed=0)
    shape = shape_of(json.loads((moe / "config.json").read_text()), "moe")
    assert shape.adapter(lora) == sum(p.numel() for p in made.parameters() if p.requires_grad)


def test_experts_in_an_adapter_and_a_second_model_take_memory() -> None:
    shape = shape_of(SHAPES["Qwen/Qwen3-30B-A3B-Instruct-2507"], "q")
    plain, experts = (replace(BASE, lora=replace(LORA, targets=t)) for t in ("all-linear", "all-linear+experts"))
    states = [
        training_memory(shape, sft, processes=8, recompute=True, pass_tokens=0, frozen=n).state
        for sft, n in ((plain, 0), (experts, 0), (plain, shape.parameters))
    ]
    of_experts = 48 * 128 * LORA.rank * ((2048 + 1536) + (768 + 2048))
    assert states[1] - states[0] == pytest.approx(16 * of_experts / 8)
    assert states[2] - states[0] == pytest.approx(4 * shape.parameters / 8)


def test_gpus_that_could_not_hold_the_reference_too_are_refused(tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    for place, name in ((folder, "meta-llama/Llama-3.1-8B-Instruct"), (other, "Qwen2.5-0.5B")):
        place.mkdir()
        (place / "config.json").write_text(json.dumps(SHAPES[name]))
    eight = Runtime(device="cuda", processes=8)
    full = replace(BASE, lora=None, batch_size=16, compute_dtype="bfloat16")
    check_room(folder, full, eight, memory=1.9e10)
    check_room(folder, replace(full, objective=KL), eight, reference=other, memory=1.9e10)
    with pytest.raises(RecipeError, match="on each of 8 GPUs, which have 18 GiB"):
        check_room(folder, replace(full, objective=KL), eight, memory=1.9e10)
    own = replace(full, lora=LORA, objective=KL)
    one = Runtime(device="cuda")
    check_room(folder, own, one, reference=folder, memory=1.9e10)
    with pytest.raises(RecipeError, match="on each of 1 GPU, which have 18 GiB"):
        check_room(other, own, one, reference=folder, memory=1.9e10)
