"""A state that a power cut left unreadable stops nobody: an older one serves, or the training begins anew."""

from pathlib import Path

import pytest
import torch

from offmodel.engines.resume import load_state, save_state
from tests.engines.test_sft import Killed, go, losses

TENSORS, META = "tensors.safetensors", "state.json"


def state(scratch: Path, step: int) -> Path:
    """A state beside those that are there, as if older ones had not been removed yet."""
    kept = {old: old.rename(scratch / f"kept-{old.name}") for old in scratch.glob("state-*")}
    save_state(scratch, step=step, key="k", losses=[{"step": step}], tensors={"0.weight": torch.full((4,), step)})
    for old, aside in kept.items():
        aside.rename(old)
    return scratch / f"state-{step:06d}"


@pytest.mark.parametrize("name", [TENSORS, META])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "zeros"])
def test_an_unreadable_state_gives_way_to_an_older_one(tmp_path: Path, name: str, damage: str) -> None:
    state(tmp_path, 2)
    file = state(tmp_path, 10) / name
    whole = file.read_bytes()
    found = load_state(tmp_path, key="k")
    assert found is not None
    assert found[0] == 10
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": whole[: len(whole) - 5], "zeros": bytes(len(whole))}[damage])
    found = load_state(tmp_path, key="k")
    assert found is not None
    step, rows, tensors = found
    assert (step, rows, tensors["0.weight"].tolist()) == (2, [{"step": 2}], [2, 2, 2, 2])
    save_state(tmp_path, step=11, key="k", losses=[], tensors={})
    assert [p.name for p in tmp_path.iterdir()] == ["state-000011"]


def test_a_training_begins_anew_without_a_readable_state(llama: Path, tmp_path: Path) -> None:
    def killer(fraction: float, text: str = "") -> None:
        if fraction > 0.5:
            raise Killed

    with pytest.raises(Killed):
        go(llama, tmp_path, "cut", progress=killer, resume_every_s=0.0)
    (left,) = tmp_path.rglob("state-*/tensors.safetensors")
    left.write_bytes(b"")
    cut, facts = go(llama, tmp_path, "cut")
    assert facts["resumed_from_step"] == 0
    whole, _ = go(llama, tmp_path, "whole")
    assert losses(cut) == losses(whole)
