"""Workers are dealt out to the GPUs that CUDA would see."""

import os
from pathlib import Path

import pytest
from toy_recipes import Environment

from offmodel.cli.running import runtime_for
from offmodel.flow import devices
from offmodel.flow.runner import run
from offmodel.flow.team import Processes
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime


@pytest.mark.parametrize(
    ("device", "workers", "processes", "expected"),
    [("cuda", 2, 1, {"3", "5"}), ("cuda", 3, 1, {"3", "5"}), ("cuda", 1, 1, {"3,5"}), ("cuda:1", 2, 1, {"3,5"}),
     ("cuda", 2, 2, {"3,5"}), ("cpu", 2, 1, {"3,5"})],
)  # fmt: skip
def test_workers_are_dealt_out_to_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, workers: int, processes: int, expected: set[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    runtime = Runtime(device=device, processes=processes)
    ran = run([Environment(seed=i) for i in range(8)], store=Store(tmp_path), runtime=runtime, workers=workers)
    assert {a.record["facts"]["gpus"].replace(" ", "") for a in ran.artifacts} <= expected
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3, 5"


def test_each_gpu_gets_as_many_workers_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    team = Processes(Store(tmp_path), Runtime(device="cuda"), workers=5)
    try:
        hired = [team._hire() for _ in range(5)]
        assert [m.gpu for m in hired] == ["0", "1", "2", "0", "1"]
        hired[1].process.kill()
        list(team._bury(hired[1]))
        assert team._hire().gpu == "1"
    finally:
        team.close()


def test_gpus_are_those_that_cuda_would_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_NODES", tmp_path)
    assert devices.gpus() == ()
    assert runtime_for("auto", {}, here=False).device == "cpu"
    for name in ("nvidia3", "nvidia2", "nvidia10", "nvidiactl", "nvidia-uvm", "sda"):
        (tmp_path / name).touch()
    assert devices.gpus() == ("0", "1", "2"), "CUDA counts from 0, whatever numbers a container's GPUs have outside"
    assert runtime_for("auto", {}, here=False).device == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.gpus() == ()
