"""What a study is: a question, a prediction, and the recipes whose results answer it.

This module refuses to know any scientific number. Invariant: a study is a value; building it computes nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from offmodel.core.errors import UnknownName
from offmodel.data import Sources
from offmodel.gate import Gate
from offmodel.store.recipe import Recipe
from offmodel.treatments.blind import BlindRule, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One model that is measured: the unplanted student or the untreated organism.

    Attributes:
        completions: its sampled answers.
        scores: their scores.
    """

    completions: Recipe
    scores: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSide:
    """A pair's red side.

    Attributes:
        pair: the pair's name.
        chance: accuracy of guessing on the capability items. further_chance: on those of further measures, by name.
        gate: the organism, through its gate.
        student: the unplanted student, measured on the pair's items.
        organism: the untreated organism, measured on the same.
    """

    pair: str
    chance: float
    gate: Gate
    student: Arm
    organism: Arm
    further_chance: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the trade-off: a checkpoint of a treatment, measured.

    Attributes:
        pair, method, setting, seed, step: what it is; `setting` names the hyper-parameters in a few words.
        treatment: the recipe whose payload holds the checkpoint.
        folder: number of the checkpoint's folder in it.
        trained: the trainings behind it, each with its number of steps, in order.
        dose, recovery: what the method's blind rule may know of it beforehand.
        arm: its answers and scores.
        control: a control, not a way of removing anything.
        oracle: needs a clean student; never ranked.
        teacher_relation: the labels' author against the student: "same model", "same family", "other".
        rule: makes the method's blind rule of the study's; None for the study's as it is.
    """

    pair: str
    method: str
    setting: str
    seed: int
    step: int
    treatment: Recipe
    folder: int
    trained: tuple[tuple[Recipe, int], ...]
    dose: float
    recovery: float
    arm: Arm
    control: bool
    oracle: bool
    teacher_relation: str
    rule: Callable[[BlindRule], Rule] | None = None

    def blind(self, rule: BlindRule) -> Rule:
        """The method's blind rule, by the study's constants."""
        return self.rule(rule) if self.rule else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RelapsePoint:
    """One checkpoint of a relapse, measured.

    Attributes:
        pair, method, seed: what was treated; `method` is "" for the untreated organism.
        who: "treated", or a control: "student" (the unplanted student under the same treatment) or "untreated".
        step: relapse steps; 0 is the state before.
        arm: its answers and scores.
    """

    pair: str
    method: str
    seed: int
    who: str
    step: int
    arm: Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study.

    Attributes:
        name: as on the command line.
        question: what it asks.
        prediction: what its author expects, written before the run.
        sides: the red side of each pair.
        cells: the points.
        relapses: what the picked checkpoints become under further training, and the controls.
        blind: the rule that picks checkpoints without the bad-behaviour rate.
        typical: (seconds, bytes) by kind of artifact, measured once, for estimates before anything has run.
        locations: (content digest, path) of the local files that the recipes name.
        workers: processes that suit it on a CPU.
        note: what a reader of the report must know about its limits.
    """

    name: str
    question: str
    prediction: str
    sides: tuple[PairSide, ...]
    cells: tuple[Cell, ...]
    blind: BlindRule
    typical: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    locations: tuple[tuple[str, str], ...] = ()
    workers: int = 2
    note: str = ""
    relapses: tuple[RelapsePoint, ...] = ()

    @property
    def targets(self) -> tuple[Recipe, ...]:
        """All scores that the report needs."""
        sides = [r for s in self.sides for r in (s.student.scores, s.organism.scores, s.gate)]
        points = [p.arm.scores for p in (*self.cells, *self.relapses)]
        return tuple(dict.fromkeys([*sides, *points]))

    def narrowed(self, name: str, values: Collection[str]) -> "Study":
        """The points that have one of some values of a field of `GRID`, with what they are measured against.

        Raises:
            UnknownName: no point has one of them.
        """
        own = self.sides if name == "pair" else self.cells
        known = {str(getattr(x, name)) for x in own}
        for value in values:
            if value not in known:
                raise UnknownName(name, value, known)
        return replace(
            self,
            sides=tuple(s for s in self.sides if name != "pair" or s.pair in values),
            cells=tuple(c for c in self.cells if str(getattr(c, name)) in values),
            # A relapse of the untreated organism belongs to every method. One of a picked checkpoint stands on all
            # settings and steps, and its own steps are those of the relapse.
            relapses=tuple(p for p in self.relapses if name in _OF_RELAPSES and str(getattr(p, name)) in (*values, "")),
        )


GRID = ("pair", "method", "setting", "seed", "step")
"""Fields of a point by which a study can be cut."""
_OF_RELAPSES = ("pair", "method", "seed")

BuildStudy = Callable[[Sources], Study]
"""A study file's `study` function."""
