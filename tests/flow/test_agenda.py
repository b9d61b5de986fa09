"""The order in which work is handed out, and what becomes of it when something goes wrong."""

import random

from hypothesis import given
from hypothesis import strategies as st
from toy_recipes import Cohort, Number, Total, Weights

from offmodel.core.errors import GateError
from offmodel.flow.agenda import Agenda
from offmodel.flow.graph import closure
from offmodel.flow.plan import chains
from offmodel.store.recipe import Recipe


def agenda(*targets: Recipe, **seconds: float) -> Agenda:
    todo = closure(targets)
    return Agenda(todo, chains(todo, seconds))


def test_longest_chain_goes_first() -> None:
    short, long = Number(seed=1), Number(seed=2)
    work = agenda(short, Total(parts=(long,)), number=1.0, total=10.0)
    assert work.take(1) == [long]
    assert work.take(1) == [short]
    assert work.take(1) == []


def test_groups_are_shared_out_among_workers() -> None:
    base = Weights(label="base")
    work = agenda(*(Cohort(seed=i, base=base) for i in range(7)), *(Cohort(seed=9, base=Weights(label="b")),))
    for parent in (work.take(2), work.take(2)):
        work.finish(parent[0].digest)
    sizes = [len(work.take(2)) for _ in range(4)]
    assert sorted(sizes) == [1, 1, 2, 4]
    assert work.take(2) == []


def test_one_worker_takes_the_whole_group() -> None:
    base = Weights(label="base")
    work = agenda(*(Cohort(seed=i, base=base) for i in range(7)))
    work.finish(work.take(1)[0].digest)
    assert len(work.take(1)) == 7


def test_a_split_agenda_keeps_a_queue_for_what_needs_no_device(monkeypatch) -> None:
    monkeypatch.setattr(Total, "on_device", False)
    todo = closure([Total(parts=(Number(seed=1),))])
    work = Agenda(todo, {}, split=True)
    assert work.take(1, on_device=False) == []
    (number,) = work.take(1)
    work.finish(number.digest)
    assert work.take(1) == []
    assert [r.kind for r in work.take(1, on_device=False)] == ["total"]


def test_unfinished_members_of_a_group_are_tried_alone() -> None:
    base = Weights(label="base")
    work = agenda(*(Cohort(seed=i, base=base) for i in range(3)))
    work.finish(work.take(1)[0].digest)
    for recipe in work.take(1):
        work.retry(recipe.digest, alone=True)
    assert [len(work.take(1)) for _ in range(4)] == [1, 1, 1, 0]


def test_failure_stops_descendants_only() -> None:
    bad, good = Number(seed=1), Number(seed=2)
    spoilt = Total(parts=(bad, good))
    work = agenda(Total(parts=(spoilt,), label="top"), Total(parts=(good,), label="fine"))
    work.fail(bad.digest, GateError("no"))
    assert len(work.stopped) == 2
    done = []
    while group := work.take(1):
        done += group
        work.finish(group[0].digest)
    assert done == [good, Total(parts=(good,), label="fine")]
    assert work.left == 0


def test_second_death_is_a_failure() -> None:
    recipe = Number(seed=1)
    work = agenda(recipe)
    work.take(1)
    work.lost(recipe.digest, "ended by SIGKILL", memory=True)
    assert work.take(1) == [recipe]
    work.lost(recipe.digest, "ended by SIGKILL", memory=True)
    assert work.take(1) == []
    assert "number/n1 died twice (ended by SIGKILL); most often memory" in str(work.failures[recipe.digest])


def test_memory_is_spoken_of_only_where_it_may_have_run_out() -> None:
    recipe = Number(seed=1)
    work = agenda(recipe)
    for _ in range(2):
        work.take(1)
        work.lost(recipe.digest, "exit code 1", memory=False)
    assert "died twice (exit code 1); run it with --workers 0" in str(work.failures[recipe.digest])


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_every_recipe_is_handed_out_after_its_parents(seed: int, workers: int) -> None:
    chance = random.Random(seed)
    recipes: list[Recipe] = [Number(seed=i) for i in range(3)]
    for i in range(12):
        parts = tuple(chance.sample(recipes, chance.randint(1, 3)))
        recipes.append(Total(parts=parts, label=f"t{i}") if chance.random() < 0.5 else Cohort(seed=i, base=parts[0]))
    work = agenda(*recipes)
    running: list[Recipe] = []
    finished: set[str] = set()
    while work.left:
        group = work.take(workers)
        running += group
        assert all(p.digest in finished for r in group for p in r.parents)
        recipe = running.pop(chance.randrange(len(running)))
        if chance.random() < 0.2:
            [work.busy, work.retry][chance.randrange(2)](recipe.digest)
            work.retry(recipe.digest)
            continue
        work.finish(recipe.digest)
        finished.add(recipe.digest)
    assert finished == {r.digest for r in recipes}
