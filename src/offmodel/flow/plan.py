"""Plans: what a run would compute, what is already there, and what it would cost.

This module refuses to compute and to guess. An estimate is the median of what the same kind has cost in this store,
else a typical cost that the caller knows, else it is unknown and said to be. Invariant: `total = present + missing`,
for every kind.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from offmodel.flow.graph import closure, missing
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe

Typical = Mapping[str, tuple[float, float]]
"""Typical seconds and bytes of one artifact, by kind."""
Basis = Literal["measured", "typical", "unknown"]
_RECORDS_READ = 40  # more records of a kind hardly move its median, and reading thousands of them takes seconds


@dataclass(frozen=True, slots=True)
class Cost:
    """What one artifact of a kind costs.

    Attributes:
        seconds: of one worker; None if unknown.
        bytes: on disk; None if unknown.
        basis: where the numbers are from.
    """

    seconds: float | None
    bytes: int | None
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class KindPlan:
    """One line of a plan.

    Attributes:
        kind: the recipes' kind.
        total: how many the targets are made of.
        present: how many need no computing now (their results are there, or nothing missing needs them).
        missing: how many a run would compute.
        cost: of one of them.
    """

    kind: str
    total: int
    present: int
    missing: int
    cost: Cost

    @property
    def seconds(self) -> float | None:
        """Estimated seconds for all that is missing; 0 if nothing is."""
        return 0.0 if not self.missing else None if self.cost.seconds is None else self.missing * self.cost.seconds

    @property
    def bytes(self) -> int | None:
        """Estimated bytes for all that is missing; 0 if nothing is."""
        return 0 if not self.missing else None if self.cost.bytes is None else self.missing * self.cost.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        kinds: one line a kind, in the order of computation.
        chain: seconds of the longest chain of missing recipes, as far as known: no number of workers is faster.
    """

    kinds: tuple[KindPlan, ...]
    chain: float

    @property
    def missing(self) -> int:
        """How many recipes a run would compute."""
        return sum(k.missing for k in self.kinds)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Kinds that are missing and of which no cost is known; the estimates leave them out."""
        return tuple(k.kind for k in self.kinds if k.missing and k.cost.basis == "unknown")

    @property
    def bytes(self) -> int:
        """Estimated bytes on disk, without the unknown kinds."""
        return sum(k.bytes or 0 for k in self.kinds)

    def seconds(self, workers: int = 1) -> float:
        """Estimated wall time, without the unknown kinds."""
        return max(self.chain, sum(k.seconds or 0.0 for k in self.kinds) / max(workers, 1))


def plan(targets: Sequence[Recipe], store: Store, *, typical: Typical | None = None) -> Plan:
    """What a run of the targets would do in this store.

    Args:
        targets: the recipes whose results are wanted.
        store: what is already there.
        typical: costs of kinds of which the store holds none yet.
    """
    everything, todo = closure(targets), missing(targets, store)
    kinds = list(dict.fromkeys(r.kind for r in everything.values()))
    costs = estimate(kinds, store, typical=typical)
    lines: list[KindPlan] = []
    for kind in kinds:
        total = sum(r.kind == kind for r in everything.values())
        lacking = sum(r.kind == kind for r in todo.values())
        lines.append(KindPlan(kind=kind, total=total, present=total - lacking, missing=lacking, cost=costs[kind]))
    chain = max(chains(todo, {k: c.seconds or 0.0 for k, c in costs.items()}).values(), default=0.0)
    return Plan(kinds=tuple(lines), chain=chain)


def estimate(kinds: Sequence[str], store: Store, *, typical: Typical | None = None) -> dict[str, Cost]:
    """What one artifact of each kind costs, by this store's records or else the typical costs."""
    found: dict[str, Cost] = {}
    for kind in kinds:
        recent = sorted(store.all(kind), key=lambda a: -a.stamp)[:_RECORDS_READ]
        records = [a.record for a in recent]
        if records:
            size = median(sum(f["bytes"] for f in r["files"].values()) for r in records)
            found[kind] = Cost(median(_seconds_each(records)), round(size), "measured")
        elif typical and kind in typical:
            found[kind] = Cost(typical[kind][0], round(typical[kind][1]), "typical")
        else:
            found[kind] = Cost(None, None, "unknown")
    return found


def _seconds_each(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Seconds of each record, where members of a group count the group's mean.

    A group may finish all of its members at once: then the first one's record holds nearly all of the time.
    """
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        groups[group_of(record)].append(record["seconds"])
    return [sum(group) / len(group) for group in groups.values() for _ in group]


def group_of(record: Mapping[str, Any]) -> str:
    """The name that all records of what was computed together share; its own digest where it was computed alone."""
    group = record["machine"].get("group", record["digest"])
    return group if isinstance(group, str) else min(group)  # earlier records list the members


def chains(todo: Mapping[str, Recipe], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds of the longest chain that begins with each missing recipe, itself included, by digest.

    Args:
        todo: missing recipes by digest, parents first.
        seconds: cost of one recipe by kind.
    """
    after = dict.fromkeys(todo, 0.0)
    found: dict[str, float] = {}
    for digest, recipe in reversed(list(todo.items())):
        found[digest] = after[digest] + seconds.get(recipe.kind, 0.0)
        for parent in recipe.parents:
            if parent.digest in after:
                after[parent.digest] = max(after[parent.digest], found[digest])
    return found
