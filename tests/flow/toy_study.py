"""A study of toy recipes as a program, to be killed: `python toy_study.py STORE WORKERS`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

from toy_recipes import Cohort, Number, Total, Weights

from offmodel.flow.runner import run
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe, Runtime


def targets() -> list[Recipe]:
    numbers = [Number(seed=i) for i in range(8)]
    base = Weights(label="base")
    cohort = [Cohort(seed=i, base=base) for i in range(6)]
    totals = [Total(parts=tuple(numbers[i : i + 3]), label=f"t{i}") for i in range(6)]
    return [Total(parts=tuple(totals), extra=base, label="all"), *cohort]


def contents(store: Store) -> dict[str, str]:
    return {a.digest: a.content for a in store.all()}


if __name__ == "__main__":
    ran = run(targets(), store=open_store(sys.argv[1]), runtime=Runtime(), workers=int(sys.argv[2]))
    print(ran.computed, ran.shared)
