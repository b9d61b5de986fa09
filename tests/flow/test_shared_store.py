"""Computers that share a store by its address: one work, divided, with the results of a local store."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_recipes import Cohort, Number, Total, Weights, compute_alone
from toy_study import contents, targets

from offmodel.core.errors import StoreError
from offmodel.flow import execution, runner
from offmodel.flow.execution import Failed, Finished, execute
from offmodel.flow.graph import closure, missing
from offmodel.flow.plan import plan
from offmodel.flow.runner import run
from offmodel.store import claims
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Store
from offmodel.store.maintenance import evict
from offmodel.store.recipe import Runtime

STUDY = Path(__file__).parent / "toy_study.py"


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'shelf'}"


@pytest.fixture
def local(tmp_path: Path) -> dict[str, str]:
    """Digests and contents of the toy study in a store of its own."""
    store = Store(tmp_path / "local")
    run(targets(), store=store, runtime=Runtime(), workers=0)
    return contents(store)


def on_shelf(address: str) -> dict[str, str]:
    shelf = open_store(address).shelf
    records = [shelf.record(label) for label in shelf.labels()]
    return {r["digest"]: r["content"] for r in records if r}


def other_computer(address: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """A run of the toy study in a process of its own, with a cache of its own."""
    env = os.environ | {"OFFMODEL_CACHE": str(cache)} | environment
    return subprocess.Popen([sys.executable, str(STUDY), address, "0"], env=env, stdout=subprocess.PIPE, text=True)


def die_at_work(address: str, cache: Path, executions: Path) -> None:
    """A computer that has published something and dies while it computes something else."""
    dying = other_computer(address, cache, TOY_HANG="total t1")
    end = time.monotonic() + 60
    while "total t1" not in executions.read_text() and time.monotonic() < end:
        time.sleep(0.02)
    dying.send_signal(signal.SIGKILL)
    dying.communicate()


def test_two_computers_divide_the_work(address, local, tmp_path, executions) -> None:
    executions.write_text("")
    meeting = str(tmp_path / "meeting")
    both = [other_computer(address, tmp_path / name, TOY_MEET=meeting, TOY_SLEEP="0.1") for name in ("a", "b")]
    said = [p.communicate(timeout=100)[0].split() for p in both]
    assert [p.returncode for p in both] == [0, 0]
    computed = [int(words[0]) for words in said]
    assert on_shelf(address) == local
    assert sum(computed) == len(local), "nothing was computed twice"
    assert all(computed), "both had a part in it"
    lines = [line for line in executions.read_text().splitlines() if not line.startswith(("group", "alone"))]
    assert len(lines) == len(set(lines))


def test_worker_processes_share_it_too(address, local, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    assert run(targets(), store=open_store(address), runtime=Runtime(), workers=2).computed == len(local)
    assert on_shelf(address) == local
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "b"))
    there = open_store(address)
    assert plan(targets(), there).missing == 0
    assert run(targets(), store=there, runtime=Runtime(), workers=2).computed == 0
    assert len(contents(there)) == len(targets()), "what the targets are made of stays on the shelf"


def test_what_a_dead_computer_claimed_is_computed_by_another(address, local, tmp_path, monkeypatch, executions) -> None:
    die_at_work(address, tmp_path / "a", executions)
    assert on_shelf(address)
    assert open_store(address).shelf.names("claims"), "it was computing something"
    monkeypatch.setattr(claims, "STALE", 0.5)
    monkeypatch.setattr(runner, "_SECONDS_BETWEEN_REMOTE_LOOKS", 0.1)
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "b"))
    ran = run(targets(), store=open_store(address), runtime=Runtime(), workers=0)
    assert 0 < ran.computed < len(local)
    assert on_shelf(address) == local


def test_the_same_computer_goes_on_at_once(address, local, tmp_path, monkeypatch, executions) -> None:
    die_at_work(address, tmp_path / "a", executions)
    assert open_store(address).shelf.names("claims")
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    began = time.monotonic()
    run(targets(), store=open_store(address), runtime=Runtime(), workers=0)
    assert time.monotonic() - began < claims.STALE / 4
    assert on_shelf(address) == local


def test_weights_that_were_evicted_here_are_fetched(address, tmp_path, monkeypatch, executions) -> None:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    store, base = open_store(address), Weights(label="base")
    run([base], store=store, runtime=Runtime(), workers=0)
    evict(store, store.all())
    assert store.find(base).record_only
    child = Total(parts=(Number(seed=1),), extra=base)
    assert base.digest not in missing([child], store)
    run([child], store=store, runtime=Runtime(), workers=0)
    assert executions.read_text().count("weights") == 1
    assert not store.find(base).record_only


def test_what_was_computed_without_the_shelf_goes_there_at_the_next_run(address, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    alone = Store(open_store(address).root)
    run(targets(), store=alone, runtime=Runtime(), workers=0)
    assert not on_shelf(address)
    assert run(targets(), store=open_store(address), runtime=Runtime(), workers=0).computed == 0
    assert set(on_shelf(address)) == set(closure(targets()))


def test_a_store_that_only_one_process_sees_takes_no_workers(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    with pytest.raises(StoreError, match=re.escape("The store memory://x lives in one process; use --workers 0")):
        run(targets(), store=open_store("memory://x"), runtime=Runtime(), workers=1)


def test_member_that_the_shelf_refuses_is_kept_and_stops_no_other(address, tmp_path, monkeypatch, executions) -> None:
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "a"))
    store, base = open_store(address), Weights(label="base")
    cohort = [Cohort(seed=i, base=base) for i in range(4)]
    compute_alone(store, base)
    with monkeypatch.context() as patch:
        patch.setattr(execution, "share", _refusing(cohort[2].digest))
        outcomes = {o.digest: o for o in execute(store, cohort, Runtime(), lambda _: lambda fraction, text="": None)}
    assert [type(outcomes[c.digest]) for c in cohort] == [Finished, Finished, Failed, Finished]
    assert isinstance(outcomes[cohort[2].digest].error, StoreError)
    assert store.find(cohort[2]) is not None, "what was computed is kept"
    assert cohort[2].digest not in on_shelf(address)
    assert compute_alone(store, cohort[2]) == [Finished(cohort[2].digest, None)]
    assert set(on_shelf(address)) == {base.digest, *(c.digest for c in cohort)}
    assert executions.read_text().splitlines() == ["weights base", "group 4"]


def _refusing(digest: str):
    original = execution.share

    def share(store, artifact):
        if artifact.digest == digest:
            raise StoreError("The shared store failed; see that it can be reached.")
        return original(store, artifact)

    return share
