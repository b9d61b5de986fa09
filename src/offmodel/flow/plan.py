"""Plans: what a run would compute, what is already there, and what it would cost.

This module refuses to compute and to guess. An estimate is the median of what the same kind has cost in this store with
the same models on the same kind of device, as far as records tell, else a typical cost that the caller knows, else it
is unknown and said to be. Invariant: `total = present + missing`, for every kind.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any, Literal, final

from offmodel.flow.graph import closure, missing
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.recipe import Recipe

Typical = Mapping[str, tuple[float, float]]
"""Typical seconds and bytes of one artifact, by kind."""
Basis = Literal["measured", "typical", "unknown"]
_RECORDS_READ = 40  # more records of a kind hardly move its median, and reading thousands of them takes seconds
_RECORDS_SEEN = 400  # as many are looked at for those, of a kind of which most are other models'
_MODELS = ("model", "endpoint")


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

    @property
    def foreseen(self) -> bool:
        """Whether the cost of anything that is missing is known."""
        return any(k.missing and k.seconds is not None for k in self.kinds)

    def seconds(self, workers: int = 1) -> float:
        """Estimated wall time, without the unknown kinds."""
        return max(self.chain, sum(k.seconds or 0.0 for k in self.kinds) / max(workers, 1))


def plan(targets: Sequence[Recipe], store: Store, *, typical: Typical | None = None, device: str | None = None) -> Plan:
    """What a run of the targets would do in this store.

    Args:
        targets: the recipes whose results are wanted.
        store: what is already there.
        typical: costs of kinds of which the store holds none yet.
        device: on which it would run; None if that is not known.
    """
    everything, todo = closure(targets), missing(targets, store)
    kinds = list(dict.fromkeys(r.kind for r in everything.values()))
    costs = estimate(everything.values(), store, typical=typical, device=device)
    lines: list[KindPlan] = []
    for kind in kinds:
        total = sum(r.kind == kind for r in everything.values())
        lacking = sum(r.kind == kind for r in todo.values())
        lines.append(KindPlan(kind=kind, total=total, present=total - lacking, missing=lacking, cost=costs[kind]))
    chain = max(chains(todo, {k: c.seconds or 0.0 for k, c in costs.items()}).values(), default=0.0)
    return Plan(kinds=tuple(lines), chain=chain)


def estimate(
    recipes: Iterable[Recipe], store: Store, *, typical: Typical | None = None, device: str | None = None
) -> dict[str, Cost]:
    """What one artifact of each kind costs, by this store's records or else the typical costs.

    Args:
        recipes: parents too, so that the models are among them.
        store: where measurements are.
        typical: costs of kinds of which it has none.
        device: of kinds that use one, only what was measured on such a device counts; None counts all.
    """
    kinds: dict[str, bool] = {}
    for recipe in (recipes := list(recipes)):
        kinds[recipe.kind] = kinds.get(recipe.kind, True) and recipe.on_device
    models = {r.digest for r in recipes if r.kind in _MODELS and not r.parents}
    lineage = _Lineage(store)
    found: dict[str, Cost] = {}
    for kind, on_device in kinds.items():
        alike = _alike(store, kind, lineage, models, device if on_device else None)
        records = list(islice(alike, _RECORDS_READ))
        if records:
            size = median(sum(f["bytes"] for f in r["files"].values()) for r in records)
            found[kind] = Cost(median(_seconds_each(records)), round(size), "measured")
        elif typical and kind in typical:
            found[kind] = Cost(typical[kind][0], round(typical[kind][1]), "typical")
        else:
            found[kind] = Cost(None, None, "unknown")
    return found


def _alike(
    store: Store, kind: str, lineage: "_Lineage", models: Collection[str], device: str | None
) -> Iterator[Mapping[str, Any]]:
    """Records of a kind that stand on no other models and were made on such a device, newest first."""
    for artifact in sorted(store.all(kind), key=lambda a: -a.stamp)[:_RECORDS_SEEN]:
        record = artifact.record
        if device is not None and record["machine"]["device"].split(":")[0] != device.split(":")[0]:
            continue
        if lineage.models(record) <= set(models):
            yield record


@final
class _Lineage:
    """The models on which artifacts stand, as far as the records of their ancestors are in the store."""

    def __init__(self, store: Store):
        self._store = store
        self._artifacts: dict[str, Artifact] | None = None
        self._known: dict[str, frozenset[str]] = {}

    def models(self, record: Mapping[str, Any]) -> frozenset[str]:
        """Digests of the models behind a record."""
        digest = record["digest"]
        if digest not in self._known:
            parents = record["parents"]
            own = frozenset({digest}) if record["kind"] in _MODELS and not parents else frozenset[str]()
            behind = (self.models(a.record) for p in parents if (a := self._find(p["digest"])) is not None)
            self._known[digest] = own.union(*behind)
        return self._known[digest]

    def _find(self, digest: str) -> Artifact | None:
        if self._artifacts is None:  # a folder's name ends in the digest's beginning: no record is read for this
            self._artifacts = {a.folder.name[-12:]: a for a in self._store.all()}
        return self._artifacts.get(digest[:12])


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
