"""Runs: only what is missing, in processes that may die, beside other runs, with the same result."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_recipes import Cohort, Company, Environment, Failing, Grading, Number, Total, Weights
from toy_study import contents, targets

from offmodel.core.errors import GateError, NonFiniteLoss, OffmodelError, RecipeError, RunError
from offmodel.flow import execution
from offmodel.flow.graph import closure
from offmodel.flow.runner import Ran, run
from offmodel.store.artifacts import Store
from offmodel.store.maintenance import evict
from offmodel.store.recipe import Recipe, Runtime
from offmodel.store.workspace import work_key

STUDY = Path(__file__).parent / "toy_study.py"


def go(store: Store, *recipes: Recipe, workers: int = 0, runtime: Runtime | None = None) -> Ran:
    return run(recipes, store=store, runtime=runtime or Runtime(), workers=workers)


def test_equal_recipes_are_computed_once(tmp_path: Path, executions: Path) -> None:
    store = Store(tmp_path / "store")
    first = go(store, Number(seed=1), Total(parts=(Number(seed=1), Number(seed=1))))
    assert (first.computed, first.present) == (2, 0)
    assert go(store, Number(seed=1)).computed == 0
    again = go(store, Total(parts=(Number(seed=1), Number(seed=1))), runtime=Runtime(device="cuda:7", threads=3))
    assert (again.computed, again.present) == (0, 2)
    assert executions.read_text().count("number") == 1
    assert go(store, Number(seed=1, lr=0.25)).computed == 1


def test_results_are_given_in_the_targets_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    recipes = [Number(seed=i) for i in (3, 1, 2)]
    assert [a.digest for a in go(store, *recipes).artifacts] == [r.digest for r in recipes]


def test_worker_processes_give_what_this_process_gives(tmp_path: Path, reference: dict[str, str]) -> None:
    store = Store(tmp_path / "store")
    ran = go(store, *targets(), workers=2)
    assert ran.computed == len(closure(targets()))
    assert contents(store) == reference
    assert not list(store.tmp.iterdir())
    assert [p.read_text() for p in (store.root / "logs").iterdir()] == []


def test_what_needs_no_device_is_computed_beside_on_the_cpu(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    recipes = (Environment(seed=1), Grading(part=Environment(seed=1)))
    ran = run(recipes, store=store, runtime=Runtime(device="cuda:7", threads=2), workers=1, beside=1)
    on_device, graded = (a.record["facts"] for a in ran.artifacts)
    assert (on_device["device"], graded["device"]) == ("cuda:7", "cpu")
    assert on_device["pid"] != graded["pid"]


def test_gpu_that_is_not_there_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name() -> str:
        raise RuntimeError("No CUDA GPUs are available")

    blind = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False, get_device_name=name))
    monkeypatch.setitem(sys.modules, "torch", blind)
    ran = go(Store(tmp_path / "store"), Number(seed=1), runtime=Runtime(device="cuda"))
    assert ran.artifacts[0].record["machine"]["device"] == "cuda"
    assert "gpu" not in ran.artifacts[0].record["machine"]


def test_workers_are_light_and_have_their_threads(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    ran = go(store, *(Environment(seed=i) for i in range(6)), workers=2, runtime=Runtime(threads=3))
    facts = [a.record["facts"] for a in ran.artifacts]
    assert all(f["heavy"] == [] for f in facts)
    assert all(f["threads"] == "3" for f in facts)
    assert len({f["pid"] for f in facts}) <= 2
    assert os.getpid() not in {f["pid"] for f in facts}


@pytest.mark.parametrize("workers", [0, 1])
def test_ready_recipes_of_equal_key_are_computed_together(tmp_path: Path, executions: Path, workers: int) -> None:
    store = Store(tmp_path / "store")
    base = Weights(label="base")
    cohort = [Cohort(seed=i, base=base) for i in range(5)]
    go(store, *cohort, workers=workers)
    assert executions.read_text().splitlines() == ["weights base", "group 5"]
    record = store.artifact(cohort[2].digest).record
    assert record["machine"]["group"] == min(c.digest for c in cohort)
    assert record["machine"]["group_size"] == len(cohort)
    assert json.loads((store.artifact(cohort[2].digest).payload / "value.json").read_text()) == 2
    go(store, Cohort(seed=7, base=base), *cohort, workers=workers)
    assert executions.read_text().splitlines()[2:] == ["alone 7"]


def test_group_that_breaks_is_computed_one_by_one(tmp_path: Path, executions: Path) -> None:
    store = Store(tmp_path / "store")
    cohort = [Cohort(seed=i, base=Weights(label="base"), breaks_groups=True) for i in range(3)]
    go(store, *cohort)
    assert executions.read_text().splitlines() == ["weights base", "group 3", "alone 0", "alone 1", "alone 2"]


@pytest.mark.parametrize("workers", [0, 1])
def test_member_that_is_refused_stops_no_other(tmp_path: Path, workers: int) -> None:
    store, members = Store(tmp_path / "store"), [Company(seed=i) for i in range(4)]
    with pytest.raises(NonFiniteLoss, match="member 1 diverged") as caught:
        run(members, store=store, runtime=Runtime(), workers=workers)
    assert any("member 3 diverged" in note for note in caught.value.__notes__)
    assert [store.find(m) is not None for m in members] == [True, False, True, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_failing_recipe_stops_its_descendants_only(tmp_path: Path, workers: int) -> None:
    store = Store(tmp_path / "store")
    bad = Failing(how="user")
    fine = Total(parts=(Number(seed=1),))
    with pytest.raises(GateError) as caught:
        go(store, Total(parts=(bad,), label="spoilt"), fine, workers=workers)
    assert str(caught.value) == "The organism is not fit; train it longer."
    assert any("failing/user" in note for note in caught.value.__notes__)
    assert any("1 more could not be computed" in note for note in caught.value.__notes__)
    assert store.find(fine) is not None
    assert store.find(bad) is None
    assert not store.failures.exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_traceback_of_a_bug_is_kept(tmp_path: Path, workers: int) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(RunError, match=r"failing/bug failed with ZeroDivisionError: a bug \(traceback in "):
        go(store, Failing(how="bug"), workers=workers)
    (path,) = store.failures.iterdir()
    assert "Traceback" in path.read_text()
    assert 'raise ZeroDivisionError("a bug")' in path.read_text()


def test_worker_that_is_killed_is_replaced_and_its_task_resumed(tmp_path: Path, executions: Path) -> None:
    store = Store(tmp_path / "store")
    ran = go(store, Failing(how="die-once"), *(Number(seed=i) for i in range(4)), workers=2)
    assert ran.artifacts[0].record["facts"] == {"resumed": True}
    assert executions.read_text().count("failing") == 2


def test_task_that_kills_twice_is_one_clear_error(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(RunError, match=r"failing/die died twice \(ended by SIGKILL; its last words: these are my last"):
        go(store, Failing(how="die"), Number(seed=1), workers=1)
    assert store.find(Number(seed=1)) is not None


def test_worker_that_exits_is_not_said_to_be_killed(tmp_path: Path) -> None:
    words = r"failing/exit died twice \(exit code 3; its last words: I leave\); run it with --workers 0"
    with pytest.raises(RunError, match=words):
        go(Store(tmp_path / "store"), Failing(how="exit"), workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_error_is_told_where_its_traceback_cannot_be_kept(tmp_path: Path, workers: int) -> None:
    store = Store(tmp_path / "store")
    store.failures.write_text("in the way")  # no permissions stop the superuser
    with pytest.raises(RunError, match=r"ZeroDivisionError: a bug \(its traceback could not be kept: File exists\)"):
        go(store, Failing(how="bug"), Number(seed=1), workers=workers)
    assert store.find(Number(seed=1)) is not None


@pytest.mark.parametrize(("number", "said"), [(28, "The disk that holds .* is full"), (5, "Input/output error")])
def test_lock_that_cannot_be_made_fails_its_recipe_alone(tmp_path: Path, monkeypatch, number: int, said: str) -> None:
    store, bad, real = Store(tmp_path / "store"), Number(seed=1), execution.take_turn

    def refusing(store: Store, digest: str):
        if digest == bad.digest:
            raise OSError(number, os.strerror(number))
        return real(store, digest)

    monkeypatch.setattr(execution, "take_turn", refusing)
    with pytest.raises(OffmodelError, match=said):
        go(store, bad, Number(seed=2))
    assert store.find(Number(seed=2)) is not None


def test_recipe_that_workers_cannot_import_is_one_clear_error(tmp_path: Path) -> None:
    class Local(Number):
        __slots__ = ()

    with pytest.raises(RecipeError, match="define it at the top of a module"):
        go(Store(tmp_path / "store"), Local(seed=1), workers=1)
    with pytest.raises(RecipeError, match="No module named 'no_such_plugin'"):
        go(Store(tmp_path / "store"), Number(seed=1), workers=1, runtime=Runtime(plugins=("no_such_plugin",)))


def test_recipe_of_a_file_off_the_path_reaches_workers_as_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.py"
    (tmp_path / "beside_mine.py").write_text("from toy_recipes import Number\n")
    path.write_text("from beside_mine import Number\n\n\nclass Mine(Number):\n    __slots__ = ()\n")
    spec = importlib.util.spec_from_file_location("study_mine", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "study_mine", module)
    with monkeypatch.context() as patch:  # a worker inherits this path, so it must not hold the folder
        patch.syspath_prepend(tmp_path)
        spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "beside_mine")
    runtime = Runtime(plugins=(f"study_mine={path}",))
    store = Store(tmp_path / "store")
    assert go(store, module.Mine(seed=1), workers=1, runtime=runtime).computed == 1
    with pytest.raises(RecipeError, match="No module named 'study_mine'"):
        go(store, module.Mine(seed=2), workers=1)


def test_evicted_weights_are_computed_again_when_needed(tmp_path: Path, executions: Path) -> None:
    store = Store(tmp_path / "store")
    base = Weights(label="base")
    go(store, Cohort(seed=1, base=base))
    before = contents(store)
    evict(store, store.all())
    assert go(store, base, Cohort(seed=1, base=base)).computed == 0
    assert go(store, Cohort(seed=2, base=base)).computed == 2
    assert not store.artifact(base.digest).record_only
    assert before.items() <= contents(store).items()
    assert "replaces" not in store.artifact(base.digest).record
    assert executions.read_text().count("weights") == 2


def test_other_bits_of_recomputed_weights_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    base = Weights(label="base")
    go(store, base)
    old = store.artifact(base.digest).content
    evict(store, store.all())
    original = Weights.execute.__func__  # pyright: ignore[reportFunctionMemberAccess]

    def other(cls: type[Weights], job: object) -> dict[str, int]:
        (job.out / "extra.json").write_text("1")  # pyright: ignore[reportAttributeAccessIssue]
        return original(cls, job)

    monkeypatch.setattr(Weights, "execute", classmethod(other))
    go(store, Cohort(seed=1, base=base))
    record = store.artifact(base.digest).record
    assert record["content"] != old
    assert record["replaces"]["content"] == old


def test_work_folder_left_after_publishing_is_removed_by_the_next_run(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    go(store, Number(seed=1))
    other = store.tmp / work_key(Number(seed=2).digest)
    for folder in (store.tmp / work_key(Number(seed=1).digest), other):
        (folder / "inputs").mkdir(parents=True)
    go(store, Number(seed=1))
    assert list(store.tmp.iterdir()) == [other]


def test_overhead_of_a_task_is_small(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    begun = time.process_time()  # wall time would measure the other tests' load
    go(store, *(Number(seed=i) for i in range(100)))
    assert (time.process_time() - begun) / 100 < 0.02


def test_whoever_listens_is_told_of_every_finished_artifact(tmp_path: Path) -> None:
    seen: list[str] = []
    total = Total(parts=(Number(seed=1), Number(seed=2)))
    store = Store(tmp_path / "store")
    run([total], store=store, runtime=Runtime(), workers=0, finished=lambda a: seen.append(a.kind))
    assert sorted(seen) == ["number", "number", "total"]
    run([total], store=store, runtime=Runtime(), workers=0, finished=lambda a: seen.append(a.kind))
    assert len(seen) == 3  # what was there before is not told again
