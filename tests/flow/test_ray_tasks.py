"""What a Ray cluster's tasks are told, seen without a cluster."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_recipes import Grading, Number

from offmodel.flow import ray_team
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime


class Cluster:
    """As much of Ray as giving a group needs: one machine with two GPUs."""

    def __init__(self) -> None:
        self.given: list[tuple[dict[str, Any], Runtime]] = []

    def remote(self, **_: Any) -> Any:
        return lambda function: Task(self)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}]


class Task:
    def __init__(self, cluster: Cluster, **options: Any) -> None:
        self._cluster, self._options = cluster, options

    def options(self, **options: Any) -> "Task":
        return Task(self._cluster, **options)

    def remote(self, address: str, parcel: bytes, runtime: Runtime, paths: list[str]) -> object:
        self._cluster.given.append((self._options, runtime))
        return object()


def test_what_gets_no_gpu_is_told_to_use_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(ray_team, "_ray", lambda: cluster)
    runtime = Runtime(device="cuda", threads=4, micro_batch=2)
    team = ray_team.RayTeam(Store(tmp_path / "store"), runtime)
    team.give([Number(seed=1)])
    team.give([Grading(part=Number(seed=1))])
    assert cluster.given == [
        ({"num_cpus": 1, "num_gpus": 1}, runtime),
        ({"num_cpus": 4, "num_gpus": 0}, replace(runtime, device="cpu", micro_batch=None)),
    ]
