"""What the whole study would cost, from the records of its slice: seconds by kind of work, times the whole's counts.

    python docs/studies/fifteen-pairs/cost.py STORE [OUT]

STORE holds the slice (`OFFMODEL_SLICE=1 offmodel run ...`); OFFMODEL_MODELS, OFFMODEL_DATA and OFFMODEL_DRY are those
of its run. Prints a table and writes cost.csv into OUT (else beside this file). Units are counted in the recipes of
both forms of the study file; only seconds and tokens come from the store. Needs no torch.

Each line scales with its units; what has as many in both forms (the base models) is fixed. GPU-hours are the seconds of
whatever is in the queue of the device's worker; grading and conversion are done beside it by others. Rather too dear is
what is not scaled down: answers that several pairs share are sampled once, a cohort loads and captures once for all
members, of which the whole has more, and the dear trainings (KL term, inoculation) are two of four long ones here, and
two of seven there. Rather too cheap: one of two pairs here has a short behaviour, four of fifteen there.
"""

import csv
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from offmodel.engines.labels import Labels
from offmodel.flow.graph import closure
from offmodel.flow.plan import group_of
from offmodel.flow.progress import duration
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.accounts import made_of, tokens_of
from offmodel.studies.catalogue import load_study
from offmodel.studies.scale.work import count
from offmodel.studies.study import Study
from offmodel.treatments.interface import Treatment

HERE = Path(__file__).resolve().parent
DEVICE, BESIDE = "device", "beside"
COLUMNS = (
    *("work", "where", "planned in the slice", "found", "seconds", "seconds each", "tokens each"),
    *("in the whole", "hours"),
)

Found = list[tuple[Recipe, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One kind of work.

    Attributes:
        work: what, and its unit.
        where: on the device, or beside it.
        planned, found: the slice's units by its recipes, and those of them that the store holds.
        seconds, tokens: of the units found.
        whole: the whole study's units.
    """

    work: str
    where: str
    planned: float
    found: float
    seconds: float
    tokens: int
    whole: float

    @property
    def hours(self) -> float | None:
        """Of the whole study; None if the slice has not measured it."""
        return self.seconds / self.found * self.whole / 3600 if self.found else None

    def row(self) -> tuple[str, ...]:
        """The values of `COLUMNS`; what is not measured is empty."""
        each = (f"{self.seconds / self.found:.3f}", f"{self.tokens / self.found:.0f}") if self.found else ("", "")
        hours = "" if self.hours is None else f"{self.hours:.3f}"
        spent = (f"{self.planned:g}", f"{self.found:g}", f"{self.seconds:.1f}")
        return (self.work, self.where, *spent, *each, f"{self.whole:g}", hours)


def form(*, part: bool) -> Study:
    """The slice, or the whole study; on pocket models with OFFMODEL_DRY."""
    os.environ["OFFMODEL_SLICE"] = "1" if part else ""
    return load_study(str(HERE / "study.py"))


def units(study: Study) -> dict[str, tuple[str, str, float]]:
    """(work, where, how many units) of all that a study is made of, by digest."""
    everything = closure(study.targets)
    red = closure([side.gate for side in study.sides])
    return {d: (*_work(r, planting=d in red), _many(r, planting=d in red)) for d, r in everything.items()}


def _work(recipe: Recipe, *, planting: bool) -> tuple[str, str]:
    if not recipe.on_device:
        names = {"scores": "grading, a point", "model": "base models, one"}
        return names.get(recipe.kind, "other files, one"), BESIDE
    if planting:
        return "planting with labels, gate and student's answers, a pair", DEVICE
    if isinstance(recipe, Labels):
        return f"labels by {recipe.author}, 100 answers", DEVICE
    names = {
        "treatment": "training, 100 steps",
        "weights": "interpolating, five weights",
        "completions": "sampling, a point",
    }
    return names.get(recipe.kind, "audits, pools and such, one"), DEVICE


def _many(recipe: Recipe, *, planting: bool) -> float:
    if planting and recipe.on_device:
        return float(recipe.kind == "gate")  # one a pair; all else is part of that unit
    if isinstance(recipe, Labels):
        return (count(recipe.prompts) or 0) / 100
    return recipe.sft.steps / 100 if isinstance(recipe, Treatment) else 1.0


def shared_seconds(found: Found) -> dict[str, float]:
    """Seconds by digest, where members of a group share its time by tokens.

    A group may finish all of its members at once: then the first one's record holds nearly all of the time.
    """
    groups: defaultdict[str, Found] = defaultdict(list)
    for recipe, record in found:
        groups[group_of(record)].append((recipe, record))
    shares: dict[str, float] = {}
    for members in groups.values():
        seconds = sum(record["seconds"] for _, record in members)
        weights = [tokens_of(record["facts"]) or 1 for _, record in members]
        shares |= {r.digest: seconds * w / sum(weights) for (r, _), w in zip(members, weights, strict=True)}
    return shares


def lines_of(part: Study, whole: Study, found: Found) -> list[Line]:
    """Each kind of work, the dearest first; trainings by whether they were in a cohort."""
    planned, all_of = units(part), units(whole)
    seconds = shared_seconds(found)
    sums: defaultdict[tuple[str, str], defaultdict[str, list[float]]] = defaultdict(
        lambda: defaultdict(lambda: [0.0] * 3)
    )
    for recipe, record in found:
        work, where, many = planned[recipe.digest]
        how = ("in a cohort" if "group" in record["machine"] else "alone") if recipe.kind == "treatment" else ""
        values = (many, seconds[recipe.digest], tokens_of(record["facts"]))
        sums[work, where][how] = [a + b for a, b in zip(sums[work, where][how], values, strict=True)]
    lines: list[Line] = []
    for key in dict.fromkeys((work, where) for work, where, _ in all_of.values()):
        here, there = (sum(n for *k, n in counted.values() if tuple(k) == key) for counted in (planned, all_of))
        parts = sums[key] or {"": [0.0] * 3}
        measured = sum(n for n, _, _ in parts.values())
        for how, (n, spent, tokens) in parts.items():
            share = n / measured if measured else 1.0
            work = " ".join(x for x in (key[0], how) if x)
            lines.append(
                Line(
                    work=work,
                    where=key[1],
                    planned=here * share,
                    found=n,
                    seconds=spent,
                    tokens=int(tokens),
                    whole=there * share,
                )
            )
    return sorted(lines, key=lambda line: (line.where == BESIDE, -(line.hours or 0.0)))


def words(lines: list[Line], found: Found) -> list[str]:
    """What the lines add up to, and what they leave out."""
    spent, hours = {}, {}
    for where in (DEVICE, BESIDE):
        spent[where] = sum(x.seconds for x in lines if x.where == where)
        hours[where] = sum(x.hours or 0.0 for x in lines if x.where == where)
    there = [record for recipe, record in found if recipe.on_device]
    ends = [datetime.fromisoformat(record["created"]).timestamp() for record in there]
    span = max(ends) - min(end - record["seconds"] for end, record in zip(ends, there, strict=True))
    waiting = max(1.0, span / spent[DEVICE])
    said = [
        f"The slice: {duration(spent[DEVICE])} on the device, {duration(spent[BESIDE])} beside it, {duration(span)} "
        "from the device's first record to its last (if it ran in one piece).",
        f"The whole: {hours[DEVICE]:.2f} hours of one device by these seconds; {hours[DEVICE] * waiting:.2f} if it "
        f"waits between them as it did here (x {waiting:.2f}). Beside it {hours[BESIDE]:.2f} hours of CPU processes.",
    ]
    fixed = [x.work for x in lines if x.whole == x.planned]
    said.append(f"Fixed, whatever the size: {', '.join(fixed) or 'nothing'}. All else grows with its units.")
    lacking = [x.work for x in lines if x.found < x.planned or not x.found]
    said += [f"Not measured, or not all: {', '.join(lacking)}."] if lacking else []
    return said


def main(store: Path, out: Path) -> None:
    """Print the lines and write them."""
    part, whole, console = form(part=True), form(part=False), Console(width=150)
    found = made_of(part, Store(store, create=False))
    if not found:
        console.print(f"{store} holds nothing of the slice; run it first.")
        return
    lines = lines_of(part, whole, found)
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if i > 1 else "left")
    for line in lines:
        table.add_row(*line.row())
    console.print(table, highlight=False)
    for sentence in words(lines, found):
        console.print(sentence, highlight=False)
    with (out / "cost.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *(line.row() for line in lines)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else HERE)
