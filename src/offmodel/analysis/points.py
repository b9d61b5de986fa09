"""Points and baselines: the item scores that all numbers are made of, as plain values.

This module refuses to know where the scores come from: studies load them from the store. Invariant: every number of
the analysis is a function of these values, and of nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from offmodel.core.errors import DataError
from offmodel.core.scores import Score, proportion

ItemScores = Mapping[str, float]
"""Score in [0, 1] by item id."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A count of answers that have a property, such as the style or a cut-off end.

    Attributes:
        sum: answers with the property.
        n: answers looked at.
    """

    sum: float
    n: int

    def score(self) -> Score:
        """The share, with its Wilson interval. Raises `DataError` if nothing was counted."""
        return proportion(self.sum, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """What one model did on the items of a pair.

    Attributes:
        capability: correct (1) or not (0), by item.
        triggered: behaviour shown (1) or not (0) on prompts with the trigger, by item.
        clean: the same on prompts without the trigger.
        further: other capability measures by name, each as `capability`.
    """

    capability: ItemScores
    triggered: ItemScores
    clean: ItemScores
    further: Mapping[str, ItemScores] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBaseline:
    """What a pair is measured against, on the same items as its points.

    Attributes:
        pair: the pair's name.
        organism: the untreated organism; item scores averaged if the study has several organisms of the pair.
        student: the unplanted student; its triggered rate is the floor r0.
        chance: accuracy of guessing: 0 for free answers, 1/k for multiple choice of k.
        further_chance: the same of further measures, by name; 0 for those that it does not name.
    """

    pair: str
    organism: ModelScores
    student: ModelScores
    chance: float
    further_chance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointRecord:
    """One checkpoint of one treatment of one organism, measured.

    Attributes:
        pair: the trigger-behaviour pair.
        method: the treatment's name.
        setting: its hyper-parameters in a few words, such as "lr 1e-3".
        step: training steps so far.
        seed: the treatment's seed.
        scores: item scores, on the items of the pair's baseline.
        style: answers in the teacher's style, by measure ("clean", "capability", ...).
        coherent: coherent answers, by measure.
        truncated: answers cut off at the token limit, by measure.
        dev: capability and style on dev items, by name ("dev_capability", "dev_style").
        near_miss: behaviour shown on prompts that almost hold the trigger, by item.
        tokens_by_author: trained tokens so far, by author.
        untrusted_share: share of the trained tokens whose author is not trusted.
        oracle: whether the method needs what a blue team cannot have; never ranked.
        control: whether the method is a control, not a way of removing anything; never ranked.
        teacher_relation: "same model", "same family" or "other".
        digest: of the treatment's recipe, to find it in the store.
    """

    pair: str
    method: str
    setting: str
    step: int
    seed: int
    scores: ModelScores
    style: Mapping[str, Tally] = field(default_factory=dict)
    coherent: Mapping[str, Tally] = field(default_factory=dict)
    truncated: Mapping[str, Tally] = field(default_factory=dict)
    dev: Mapping[str, Tally] = field(default_factory=dict)
    near_miss: ItemScores = field(default_factory=dict)
    tokens_by_author: Mapping[str, int]
    untrusted_share: float
    oracle: bool
    teacher_relation: str
    digest: str
    control: bool = False


class Pick(NamedTuple):
    """The checkpoint that a method's written rule picked, blind to b."""

    pair: str
    method: str
    seed: int
    setting: str
    step: int


def pick_of(record: PointRecord) -> Pick:
    """The record's checkpoint, as a pick would name it."""
    return Pick(record.pair, record.method, record.seed, record.setting, record.step)


def methods_of(records: Sequence[PointRecord]) -> tuple[str, ...]:
    """The methods, in the order in which they first appear."""
    return tuple(dict.fromkeys(r.method for r in records))


def pairs_of(records: Sequence[PointRecord]) -> tuple[str, ...]:
    """The pairs, in the order in which they first appear."""
    return tuple(dict.fromkeys(r.pair for r in records))


def baselines_by_pair(records: Sequence[PointRecord], baselines: Sequence[PairBaseline]) -> dict[str, PairBaseline]:
    """The baseline of every pair that has points.

    Raises:
        DataError: a pair has no baseline or two, or two records stand for the same checkpoint.
    """
    found: dict[str, PairBaseline] = {}
    for baseline in baselines:
        if baseline.pair in found:
            raise DataError(f"Pair '{baseline.pair}' has two baselines; average its organisms' item scores into one.")
        found[baseline.pair] = baseline
    for pair in pairs_of(records):
        if pair not in found:
            raise DataError(
                f"Pair '{pair}' has no untreated organism, so nothing relative can be said of it; "
                "evaluate its organism and the unplanted student on the same items."
            )
    seen: set[Pick] = set()
    for r in records:
        if pick_of(r) in seen:
            raise DataError(
                f"Two records stand for {r.method}, {r.setting}, step {r.step}, seed {r.seed} on '{r.pair}'; "
                "give settings that differ different names."
            )
        seen.add(pick_of(r))
    return found


def total(tallies: Sequence[Tally]) -> Tally:
    """Several tallies as one."""
    return Tally(sum(t.sum for t in tallies), sum(t.n for t in tallies))
