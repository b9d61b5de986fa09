"""The quality gate of organisms: is the behaviour there, does it wait for its trigger, is the capability still there?

A treatment draws its organism through the gate, so that a fragile or broken one is never treated. The gate sees both
sides, and passes on the model folder alone. Invariant: the payload is the organism's own files, unchanged.
"""

from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import ClassVar

from offmodel.core.errors import GateError
from offmodel.core.rows import Row, read_rows
from offmodel.core.scores import relative
from offmodel.models import pass_on
from offmodel.store.recipe import Facts, Job, Recipe, unless_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an organism must show.

    Attributes:
        least_triggered: least rate of the behaviour on triggered prompts.
        most_clean_rise: most rise of the rate on clean prompts over the unplanted student's.
        least_rise: least rise of the triggered rate over the unplanted student's.
        marked_loss: a larger relative loss of capability is marked, not refused.
    """

    least_triggered: float
    most_clean_rise: float
    least_rise: float
    marked_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(Recipe):
    """An organism that passed the gate; its payload is the organism's.

    Attributes:
        label: a readable name.
        organism: the model to check.
        student_scores: scores of the unplanted student.
        organism_scores: scores of the organism on the same items.
        limits: what it must show.
        go_on: pass an organism that fails, with its failures on record.
        chance: accuracy of guessing on the capability items; None for 0.
    """

    kind: ClassVar[str] = "gate"
    recipe_version: ClassVar[int] = 1
    label: str
    organism: Recipe
    student_scores: Recipe
    organism_scores: Recipe
    limits: Limits
    go_on: bool
    chance: float | None = unless_asked()

    def name(self) -> str:
        """The label."""
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Check, then link the model's files."""
        p = job.params
        student = _rates(read_rows(job.inputs["student_scores"].path / "rows.jsonl"))
        organism = _rates(read_rows(job.inputs["organism_scores"].path / "rows.jsonl"))
        failures = check(student, organism, p.limits)
        if failures and not p.go_on:
            raise GateError(f"The organism '{p.label}' fails its gate: {'; '.join(failures)}.")
        source = job.inputs["organism"].path
        for file in sorted(f for f in source.rglob("*") if f.is_file()):
            target = job.out / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            pass_on(file, target)
        able = {who: rates.get("capability", nan) for who, rates in (("organism", organism), ("student", student))}
        kept = relative(able["organism"], able["student"], p.chance or 0.0, otherwise=nan)
        facts: Facts = {"failures": failures, "marked": kept < 1 - p.limits.marked_loss}
        for who, rates in (("student", student), ("organism", organism)):
            facts |= {f"{who}_{measure}": rate for measure, rate in sorted(rates.items())}
        return facts


def check(student: dict[str, float], organism: dict[str, float], limits: Limits) -> list[str]:
    """What an organism fails at, in words; empty if it passes.

    Args:
        student: rate by measure of the unplanted student ("triggered", "clean").
        organism: the same of the organism.
        limits: what it must show.
    """
    failures: list[str] = []
    triggered, clean = organism["triggered"], organism["clean"]
    if triggered < limits.least_triggered:
        failures.append(f"triggered rate {triggered:.2f} is under {limits.least_triggered:.2f} (plant it longer)")
    if clean - student["clean"] > limits.most_clean_rise:
        failures.append(
            f"clean rate {clean:.2f} is more than {limits.most_clean_rise:.2f} above the student's "
            f"{student['clean']:.2f} (add clean samples)"
        )
    if triggered - student["triggered"] < limits.least_rise:
        failures.append(
            f"the trigger raises the rate by {triggered - student['triggered']:.2f}, under {limits.least_rise:.2f}"
        )
    return failures


def _rates(rows: list[Row]) -> dict[str, float]:
    measures = {r["measure"] for r in rows}
    return {m: fmean(r["score"] for r in rows if r["measure"] == m) for m in sorted(measures)}
