"""A study that is killed with SIGKILL at random moments and started again ends as if nothing had happened."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offmodel.cli.running import Where, run_and_report
from offmodel.flow.graph import closure
from offmodel.store.artifacts import Store
from offmodel.studies.catalogue import load_study

STUDY = Path(__file__).parent / "tiny_study.py"
KILLS = 3
TOO_LONG = 180.0


def command(store: Path, out: Path) -> list[str]:
    words = ["run", str(STUDY), "--store", str(store), "--out", str(out), "--device", "cpu", "--workers", "1"]
    return [sys.executable, "-m", "offmodel.cli.app", *words]


def finished(store: Path) -> int:
    return sum(1 for _ in store.glob("*/*/record.json"))


def contents(store: Path) -> dict[str, str]:
    return {a.digest: a.content for a in Store(store, create=False).all()}


def run_and_kill(store: Path, out: Path, rng: random.Random, all_of_it: int, log: Path) -> bool:
    """Start a run and kill it at a random moment; False if it was done by then."""
    # The first falls while the cheap recipes run or before; the others anywhere in what is left.
    before = finished(store)
    wanted = rng.randint(before + 1, all_of_it - 1) if before else rng.randint(0, 9)
    with log.open("a") as stream:
        process = subprocess.Popen(command(store, out), stdout=stream, stderr=stream)
    end = time.monotonic() + TOO_LONG
    while finished(store) < wanted and process.poll() is None:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.3))
    done = process.poll() is not None
    process.kill()
    process.wait()
    return not done


@pytest.mark.timeout(400)  # five runs of a study, one after the other
def test_a_killed_study_ends_with_the_same_digests_and_the_same_numbers(tmp_path: Path) -> None:
    here = Where(device="cpu", workers=0)
    run_and_report(str(STUDY), store=tmp_path / "whole", out=tmp_path / "r1", where=here, only=())
    expected = contents(tmp_path / "whole")
    assert set(expected) == set(closure(load_study(str(STUDY)).targets))

    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"KILL_SEED={seed} repeats these moments")
    store, out, log, rng = tmp_path / "killed", tmp_path / "r2", tmp_path / "log.txt", random.Random(seed)
    kills = 0
    while kills < KILLS and finished(store) < len(expected) - 1:
        kills += run_and_kill(store, out, rng, len(expected), log)
    assert kills > 0
    ended = subprocess.run(command(store, out), capture_output=True, text=True, timeout=TOO_LONG, check=False)
    assert ended.returncode == 0, ended.stderr

    assert contents(store) == expected
    one, other = ((tmp_path / r / "tiny" / "points.csv").read_bytes() for r in ("r1", "r2"))
    assert one == other
    assert not list((store / "tmp").iterdir())
