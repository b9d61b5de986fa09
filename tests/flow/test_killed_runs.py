"""Runs that are killed, stopped, or that share a store: nothing is lost, and the result is that of one whole run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from toy_study import contents, targets

from offmodel.flow.graph import closure
from offmodel.store.artifacts import Store
from offmodel.store.locks import try_lock
from offmodel.store.workspace import work_key

STUDY = Path(__file__).parent / "toy_study.py"


def start_study(store: Path, workers: int, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(STUDY), str(store), str(workers)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job that a shell put into the background inherits a Control-C that is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_lock(store: Path, digest: str) -> None:
    """The kernel ends orphans at once, but on a busy machine they may need a moment to go."""
    end = time.monotonic() + 10
    while (lock := try_lock(store / "locks", work_key(digest))) is None:
        assert time.monotonic() < end, "an orphan holds a lock"
        time.sleep(0.02)
    lock.release()


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, executions: Path, reference: dict[str, str]) -> None:
    store = tmp_path / "store"
    for pause in (0.25, 0.4, 0.5, 0.6, 0.7):
        study = start_study(store, 2, TOY_SLEEP="0.08")
        time.sleep(pause)
        study.kill()
        study.communicate()
        if store.exists() and (store / "store.json").exists():
            assert contents(Store(store)).items() <= reference.items()
    for digest in reference:
        wait_for_lock(store, digest)
    study = start_study(store, 2)
    _, errors = study.communicate()
    assert study.returncode == 0, errors
    assert contents(Store(store)) == reference
    assert not list((store / "tmp").iterdir())


def test_worker_does_not_outlive_a_killed_run(tmp_path: Path, executions: Path) -> None:
    study = start_study(tmp_path / "store", 1, TOY_SLEEP="30")
    while not executions.read_text():
        time.sleep(0.02)
    running = [r.digest for r in closure(targets()).values() if not r.parents]
    held = [d for d in running if try_lock(tmp_path / "store" / "locks", work_key(d)) is None]
    assert len(held) == 1
    study.kill()
    study.communicate()
    wait_for_lock(tmp_path / "store", held[0])


def test_two_runs_share_the_work(tmp_path: Path, executions: Path, reference: dict[str, str]) -> None:
    meeting = str(tmp_path / "meeting")
    studies = [start_study(tmp_path / "store", 1, TOY_MEET=meeting, TOY_SLEEP="0.1") for _ in range(2)]
    results = [s.communicate() for s in studies]
    assert [s.returncode for s in studies] == [0, 0], results
    assert contents(Store(tmp_path / "store")) == reference
    singles = [line for line in executions.read_text().splitlines() if line.startswith(("number", "total", "weights"))]
    assert len(singles) == len(set(singles)) == 16
    computed = [int(out.split()[0]) for out, _ in results]
    assert sum(computed) == len(reference)
    assert min(computed) > 0


def test_control_c_stops_cleanly(tmp_path: Path, executions: Path) -> None:
    study = start_study(tmp_path / "store", 2, TOY_SLEEP="60")
    while not executions.read_text():
        time.sleep(0.05)
    study.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, errors = study.communicate()
    assert time.monotonic() - begun < 30, "it waits for nothing that was begun"
    assert "KeyboardInterrupt" in errors.splitlines()[-1]
    assert errors.count("Traceback") == 1, errors
    for artifact in Store(tmp_path / "store").all():
        assert artifact.record["files"]
