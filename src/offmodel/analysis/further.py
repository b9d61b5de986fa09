"""Further capability measures: what a treatment cost on a second benchmark, in the same words as on the headline.

A measure is put in the headline's place, so whatever is defined on points is defined for it too. Refuses to choose
which measure is the headline: studies say so. Invariant: a measure that is returned was taken of every point, student
and organism on the same items, and the organism is .05 above chance in it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from offmodel.analysis.grid import ABLE
from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord


def further_measures(records: Sequence[PointRecord], baseline: PairBaseline) -> tuple[str, ...]:
    """Names of the measures, besides the headline, against which these points can be given relative to the organism."""
    return tuple(
        name
        for name, whole in baseline.organism.further.items()
        if len(whole) >= 4
        and np.mean(list(whole.values())) - chance_of(baseline, name) >= ABLE - 1e-9
        and all(s.further.get(name, {}).keys() == whole.keys() for s in (baseline.student, *_scores(records)))
    )


def chance_of(baseline: PairBaseline, name: str) -> float:
    """Accuracy of guessing in a further measure; 0 where none is named."""
    return baseline.further_chance.get(name, 0.0)


def in_place_of_headline(
    records: Sequence[PointRecord], baseline: PairBaseline, name: str
) -> tuple[list[PointRecord], PairBaseline]:
    """The same points and baseline, with one of `further_measures` as their capability."""
    swapped = replace(
        baseline,
        organism=_swap(baseline.organism, name),
        student=_swap(baseline.student, name),
        chance=chance_of(baseline, name),
    )
    return [replace(r, scores=_swap(r.scores, name)) for r in records], swapped


def _swap(scores: ModelScores, name: str) -> ModelScores:
    return replace(scores, capability=scores.further[name])


def _scores(records: Sequence[PointRecord]) -> list[ModelScores]:
    return [r.scores for r in records]
