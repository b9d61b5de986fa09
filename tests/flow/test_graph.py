"""Closure, order, what is missing, and slices."""

import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from toy_recipes import Cohort, Number, Total, Weights, compute_alone

from offmodel.core.errors import RecipeError, UnknownName
from offmodel.flow.execution import execute
from offmodel.flow.graph import closure, missing, select
from offmodel.flow.plan import chains, plan
from offmodel.store.artifacts import Store
from offmodel.store.maintenance import evict
from offmodel.store.recipe import Facts, Job, Recipe, Runtime


def test_closure_holds_each_once_parents_first() -> None:
    a, b = Number(seed=1), Number(seed=2)
    middle = Total(parts=(a, b))
    top = Total(parts=(middle, a), extra=b, label="top")
    order = list(closure([top, middle]).values())
    assert len(order) == 4
    for recipe in order:
        assert all(order.index(p) < order.index(recipe) for p in recipe.parents)


def test_closure_of_a_deep_diamond_is_quick() -> None:
    recipe: Recipe = Number(seed=0)
    for _ in range(60):
        recipe = Total(parts=(recipe, recipe))
    size = len(closure([recipe]))
    assert size == 61


def test_only_what_is_not_there_is_missing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    a, b = Number(seed=1), Number(seed=2)
    total = Total(parts=(a, b))
    assert list(missing([total], store).values()) == [a, b, total]
    compute_alone(store, a)
    assert list(missing([total], store).values()) == [b, total]
    compute_alone(store, b, total)
    assert missing([total], store) == {}


def test_parents_of_what_is_there_are_not_needed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    a = Number(seed=1)
    compute_alone(store, a, Total(parts=(a,)))
    shutil.rmtree(store.artifact(a.digest).folder)
    assert missing([Total(parts=(a,))], store) == {}
    assert list(missing([Total(parts=(a,)), a], store).values()) == [a]


def test_record_only_counts_unless_something_missing_needs_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    base, other = Weights(label="base"), Weights(label="other")
    done, todo = Cohort(seed=1, base=base), Cohort(seed=2, base=base)
    compute_alone(store, base, other, done)
    evict(store, store.all())
    assert missing([base, other, done], store) == {}
    assert list(missing([base, other, done, todo], store).values()) == [base, todo]


def test_a_record_only_target_is_missing_if_its_files_are_wanted(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    base, other = Weights(label="base"), Weights(label="other")
    compute_alone(store, base, other)
    assert missing([base, other], store, whole=[base]) == {}
    evict(store, store.all())
    assert list(missing([base, other], store, whole=[base]).values()) == [base]


def test_slices(tmp_path: Path) -> None:
    targets = [Total(parts=(Number(seed=s, lr=r),), label=f"s{s}") for s, r in itertools.product((0, 1), (1e-4, 5e-4))]
    assert select(targets, {}) == targets
    assert select(targets, {"seed": ["1"]}) == targets[2:]
    assert select(targets, {"number.seed": ["1"], "lr": ["0.0001"]}) == [targets[2]]
    assert select(targets, {"total.label": ["s0"]}) == targets[:2]
    base = Weights(label="baseline")
    assert select([*targets, base], {"seed": ["1"]}) == [*targets[2:], base]
    assert select([*targets, base], {"weights.label": ["baseline"]}) == [*targets, base]
    with pytest.raises(UnknownName, match="did you mean 'seed'"):
        select(targets, {"sede": ["1"]})
    with pytest.raises(RecipeError, match=r"No target has seed=7; values that occur: 0, 1\."):
        select(targets, {"seed": ["7"]})
    assert select(targets, {"seed": ["1", "0"], "lr": ["0.0001"]}) == [targets[0], targets[2]]
    with pytest.raises(RecipeError, match=r"No target has seed=7"):
        select(targets, {"seed": ["1", "7"]})
    with pytest.raises(UnknownName):
        select(targets, {"eed": ["1"]})


def test_plan_counts_and_says_what_it_knows(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    numbers = tuple(Number(seed=i) for i in range(4))
    targets = [Total(parts=numbers), Weights(label="w")]
    first = plan(targets, store)
    assert (first.missing, first.unknown, first.seconds()) == (6, ("number", "total", "weights"), 0.0)
    compute_alone(store, *numbers[:3])
    second = plan(targets, store, typical={"total": (100.0, 2000)})
    lines = {k.kind: k for k in second.kinds}
    assert [(k.total, k.present, k.missing) for k in second.kinds] == [(4, 3, 1), (1, 0, 1), (1, 0, 1)]
    assert [lines[k].cost.basis for k in ("number", "total", "weights")] == ["measured", "typical", "unknown"]
    assert second.unknown == ("weights",)
    assert second.seconds(1) == pytest.approx(100, abs=1)
    assert second.seconds(50) == pytest.approx(100, abs=1)  # the total waits for the number, whatever the workers
    assert second.bytes == 2000 + lines["number"].bytes
    compute_alone(store, numbers[3], *targets)
    assert plan(targets, store).seconds() == 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Recipe):
    kind: ClassVar[str] = "model"
    recipe_version: ClassVar[int] = 1
    label: str

    def name(self) -> str:
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        (job.out / "value.json").write_text("1")
        return {}


def test_what_other_models_and_devices_cost_is_no_measure(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    small, large = Model(label="small"), Model(label="large")
    done = [Total(parts=(small,)), Total(parts=(Total(parts=(small,)),))]
    compute_alone(store, small, *done)

    def bases(*targets: Recipe, device: str | None = None) -> dict[str, str]:
        found = plan(targets, store, typical={"model": (7.0, 1)}, device=device)
        return {k.kind: k.cost.basis for k in found.kinds}

    assert bases(Total(parts=(large,))) == {"model": "typical", "total": "unknown"}
    assert bases(Total(parts=(small,), label="more")) == {"model": "measured", "total": "measured"}
    assert bases(Total(parts=(small, large))) == {"model": "measured", "total": "measured"}
    assert bases(Total(parts=(small,), label="more"), device="cuda") == {"model": "typical", "total": "unknown"}
    assert not plan([Total(parts=(large,))], store).foreseen


def test_cost_of_a_group_is_shared_among_its_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    base = Weights(label="base")
    compute_alone(store, base)
    monkeypatch.setenv("TOY_SLEEP", "0.3")  # the group sleeps once, before its first member is done
    group = [Cohort(seed=i, base=base) for i in range(3)]
    begun = time.monotonic()
    assert len(list(execute(store, group, Runtime(), lambda _: lambda fraction, text="": None))) == 3
    took = time.monotonic() - begun
    cost = plan([Cohort(seed=9, base=base)], store).kinds[-1].cost
    assert 0.1 <= cost.seconds <= took / 3 + 0.001


def test_chains_are_the_longest_ways_to_an_end() -> None:
    a, b = Number(seed=1), Number(seed=2)
    middle = Total(parts=(a,))
    top = Total(parts=(middle, b), label="top")
    found = chains(closure([top]), {"number": 2.0, "total": 5.0})
    assert [found[r.digest] for r in (a, b, middle, top)] == [12.0, 7.0, 10.0, 5.0]
