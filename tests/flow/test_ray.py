"""A study on a Ray cluster of two machines: the same results as here, whatever dies on the way."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_recipes import Slow
from toy_recipes import Failing, Number, Total
from toy_study import targets

from offmodel.core.errors import GateError, RunError, StoreError, UserError
from offmodel.flow.runner import run
from offmodel.store.addresses import open_shelf, open_store
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime

ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'offmodel[ray]'")
# Ray leaves sockets and files to its own daemons.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    here = Path(__file__).parent
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here), str(here.parent / "store"), before])
    os.environ["OFFMODEL_CACHE"] = str(tmp_path_factory.mktemp("machines"))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ["PYTHONPATH"] = before
    del os.environ["OFFMODEL_CACHE"]


def contents(store: Store) -> dict[str, str]:
    return {a.digest: a.content for a in store.all()}


def on_ray(store: Store, *recipes: Any):
    from offmodel.flow.ray_team import hire

    return run(recipes, store=store, runtime=Runtime(), workers=2, teams=hire("ray", store))


def test_two_machines_give_what_one_process_gives(cluster, tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run(targets(), store=here, runtime=Runtime(), workers=0)
    ran = on_ray(there, *targets())
    assert contents(there) == contents(here)
    assert ran.computed == len(contents(here))
    assert on_ray(there, *targets()).computed == 0


def test_machines_share_a_store_by_its_address(cluster, tmp_path: Path, monkeypatch) -> None:
    from offmodel.flow import ray_team

    here, address = Store(tmp_path / "here"), f"file://{tmp_path / 'shelf'}"
    run(targets(), store=here, runtime=Runtime(), workers=0)
    # The machines of this cluster have the cache of this user, the driver one of its own.
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "driver"))
    there = open_store(address)
    assert on_ray(there, *targets()).computed == len(contents(here))
    shelf = open_shelf(address)
    assert {r["digest"]: r["content"] for r in map(shelf.record, shelf.labels())} == contents(here)
    assert on_ray(there, *targets()).computed == 0
    assert not there.shelf.names("claims")
    assert not there.shelf.names("probe")
    monkeypatch.setattr(ray_team, "_look", _blind)
    with pytest.raises(StoreError, match="sees other things at file:"):
        ray_team.hire("ray", there)
    monkeypatch.setattr(ray_team, "_look", _cut_off)
    with pytest.raises(StoreError, match=r"does not reach the store. The shared store"):
        ray_team.hire("ray", there)


def test_a_worker_that_dies_is_replaced_and_its_work_run_again(cluster, tmp_path: Path) -> None:
    store, dying = Store(tmp_path / "store"), Failing(how="die-once")
    ran = on_ray(store, *(Number(seed=i) for i in range(3)), dying)
    assert ran.computed == 4
    assert ran.artifacts[-1].record["facts"] == {"resumed": True}


def test_errors_come_back_as_they_are(cluster, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(GateError, match="train it longer"):
        on_ray(store, Failing(how="user"), Total(parts=(Number(seed=9),)))
    with pytest.raises(RunError, match="ZeroDivisionError: a bug"):
        on_ray(store, Failing(how="bug"))
    assert store.find(Total(parts=(Number(seed=9),)))


def test_what_no_machine_can_run_is_refused_at_once(cluster, tmp_path: Path) -> None:
    from offmodel.flow.ray_team import hire

    store = Store(tmp_path / "store")
    with pytest.raises(RunError, match=r"0 GPUs and 64 CPUs on one machine, and the cluster's largest has 0 and 1"):
        run([Number(seed=1)], store=store, runtime=Runtime(threads=64), workers=2, teams=hire("ray", store))


def test_a_store_that_a_machine_does_not_see_is_refused(cluster, tmp_path: Path, monkeypatch) -> None:
    from offmodel.flow import ray_team

    store = Store(tmp_path / "store")
    monkeypatch.setattr(ray_team, "_look", _blind)
    with pytest.raises(StoreError, match="does not see the store"):
        ray_team.hire("ray", store)
    monkeypatch.setattr(ray_team, "_look", _lockless)
    with pytest.raises(StoreError, match="does not respect locks"):
        ray_team.hire("ray", store)
    assert not list(store.tmp.iterdir())


def _blind(root: str, key: str) -> str:
    return "absent"


def _cut_off(root: str, key: str) -> str:
    return "unreached: The shared store failed; mend it."


def _lockless(root: str, key: str) -> str:
    return "unlocked"


# The last of those on the cluster: until a machine's death is noticed, probes wait for its answer.
def test_a_machine_that_dies_gives_its_work_to_another(cluster, tmp_path: Path) -> None:
    store, marks = Store(tmp_path / "store"), tmp_path / "marks"
    marks.mkdir()
    extra = cluster.worker_nodes.copy().pop()
    slow = [Slow(seed=i, mark=str(marks)) for i in range(4)]

    def kill() -> None:
        end = time.monotonic() + 60
        while not list(marks.glob(f"*-{extra.node_id}")) and time.monotonic() < end:
            time.sleep(0.05)
        cluster.remove_node(extra, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    ran = on_ray(store, *slow)
    killer.join()
    assert ran.computed == 4
    begun = {m.name.split("-")[0] for m in marks.glob(f"*-{extra.node_id}")}
    assert begun, "no recipe was on the machine that died"
    assert extra.node_id not in {a.record["facts"]["node"] for a in ran.artifacts if a.record["name"][1:] in begun}


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    from offmodel.cli.running import teams_on

    with pytest.raises(UserError, match="cannot run on 'slurm'"):
        teams_on("slurm", Store(tmp_path / "store"))
