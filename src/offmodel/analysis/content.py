"""What a study hands to its report besides numbers: words, tables, readings of each point's answers, losses.

Plain values, which a study fills from its store; this module refuses to know stores, recipes and pages. Invariant: all
texts are plain text; whoever shows them escapes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from offmodel.analysis.answers import Answer, Profile
from offmodel.analysis.points import Pick, PointRecord, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the report says of the study before any number.

    Attributes:
        name: the study's name.
        question: what it asks, a sentence.
        prediction: what was expected beforehand; "" if nothing was.
        facts: further facts by name, such as models, samples and versions.
        missing: what is not there yet, in words, if the study still runs; "" if it is complete.
    """

    name: str
    question: str
    prediction: str
    facts: Mapping[str, str]
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTable:
    """A table that a study hands over as it is: audit, gate, costs, relapse.

    Attributes:
        title: its heading.
        columns: column headings.
        rows: texts.
        note: what the table shows, a sentence; "" if the heading says it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that a reader must know before believing a number.

    Attributes:
        level: "serious" if a number may mislead, "note" if it bounds what the numbers say.
        text: one sentence or two.
    """

    level: Literal["serious", "note"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the answers of one measured model look like.

    Attributes:
        answers: the sampled ones, by (measure, item).
        profiles: all answers of a measure in a few numbers, by measure.
        difficulty: capability by difficulty, of items that have one.
        recipe: how the model was made, by name, in words; empty for a model that was not treated.
        log: where its Inspect logs are, below the store.
    """

    answers: Mapping[tuple[str, str], Answer] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    difficulty: Mapping[int, Tally] = field(default_factory=dict)
    recipe: Mapping[str, str] = field(default_factory=dict)
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReading:
    """What a pair's points are read against.

    Attributes:
        prompts: what was asked, by (measure, item): the sampled ones, in the order in which they are shown.
        student, organism: the unplanted student and the untreated organism.
    """

    prompts: Mapping[tuple[str, str], str]
    student: Reading
    organism: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """The losses of one training.

    Attributes:
        method, pair, setting, seed: whose.
        start: steps that an earlier training made, on which this one goes on.
        losses: (step of this training, loss).
    """

    method: str
    pair: str
    setting: str
    seed: int
    start: int
    losses: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a report shows besides the analysis.

    Attributes:
        study: words before any number.
        cautions: what to know before believing a number.
        points: readings by checkpoint. pairs: by pair.
        measures: words for the measures whose answers are shown, by measure, in order.
        losses: of the trainings.
        tables: further tables, in order.
        follows: by method, the method whose training it goes on with.
        commands: (what for, command) of things to do beside the page.
        unmatched: points that were measured, of pairs where nothing relative can be said.
    """

    study: StudyFacts
    cautions: Sequence[Caution] = ()
    points: Mapping[Pick, Reading] = field(default_factory=dict)
    pairs: Mapping[str, PairReading] = field(default_factory=dict)
    measures: Mapping[str, str] = field(default_factory=dict)
    losses: Sequence[LossCurve] = ()
    tables: Sequence[PlainTable] = ()
    follows: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    unmatched: Sequence[PointRecord] = ()
