"""Relapse in numbers: how far the behaviour comes back when a treated model is trained on, beside two controls.

The number is the highest b that the relapse reaches, minus b before it, averaged over seeds; its interval is over the
same items, at the steps where it was highest. Refuses to know where scores come from. Invariant: the three arms of a
pair are divided by the same organism minus student, so they can be read side by side.

The highest of several noisy rates leans upward, most at b = .5 and hardly near 0 and 1, where controls mostly stand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from offmodel.analysis.crossfit import RESAMPLES, item_weights, plus_four
from offmodel.analysis.grid import Ratio
from offmodel.analysis.levels import Estimate
from offmodel.analysis.points import ItemScores, PairBaseline
from offmodel.core.errors import DataError

TREATED, STUDENT, UNTREATED = "treated", "student", "untreated"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelapseRecord:
    """One relapse of one model.

    Attributes:
        pair, method, seed: what was treated; `method` is "" for the untreated organism.
        who: "treated", "student" or "untreated".
        triggered: behaviour shown on triggered prompts, by item, by relapse step; step 0 is the state before.
    """

    pair: str
    method: str
    seed: int
    who: str
    triggered: Mapping[int, ItemScores]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelapseResult:
    """A method's relapse on one pair.

    Attributes:
        method, pair: names.
        treated: highest b minus b before.
        student: the same of the unplanted student under the same treatment; None if not measured.
        untreated: the same of the untreated organism.
    """

    method: str
    pair: str
    treated: Estimate
    student: Estimate | None
    untreated: Estimate | None


def relapse_results(
    records: Iterable[RelapseRecord], baselines: Mapping[str, PairBaseline]
) -> dict[tuple[str, str], RelapseResult]:
    """Results by (method, pair); a method without a treated record on a pair has none.

    Raises:
        DataError: a relapse was measured on other items than its pair's baseline, or lacks the state before.
    """
    arms: dict[tuple[str, str, str], list[RelapseRecord]] = {}
    for record in records:
        arms.setdefault((record.pair, record.method, record.who), []).append(record)
    found: dict[tuple[str, str], RelapseResult] = {}
    for (pair, method, who), some in arms.items():
        if who != TREATED or pair not in baselines:
            continue
        student, untreated = arms.get((pair, method, STUDENT)), arms.get((pair, "", UNTREATED))
        found[method, pair] = RelapseResult(
            method=method,
            pair=pair,
            treated=_gain(some, baselines[pair]),
            student=_gain(student, baselines[pair]) if student else None,
            untreated=_gain(untreated, baselines[pair]) if untreated else None,
        )
    return found


def _gain(records: Sequence[RelapseRecord], baseline: PairBaseline) -> Estimate:
    items = sorted(baseline.organism.triggered)
    organism, student = (
        _row(s, items, baseline.pair) for s in (baseline.organism.triggered, baseline.student.triggered)
    )
    before, after, by_seed = [], [], {}
    whole = organism.mean() - student.mean()
    for record in records:
        if 0 not in record.triggered or len(record.triggered) < 2:
            raise DataError(f"The relapse of '{record.method}' on '{record.pair}' lacks step 0 or any later one.")
        rows = {step: _row(scores, items, baseline.pair) for step, scores in sorted(record.triggered.items())}
        first = rows.pop(0)
        highest = max(rows.values(), key=lambda r: float(r.mean()))
        before.append(first)
        after.append(highest)
        by_seed[record.seed] = float(highest.mean() - first.mean()) / float(whole)
    ids = tuple(f"b:{i}" for i in items)
    plain = np.stack([np.mean(after, axis=0), np.mean(before, axis=0)])
    bottom = organism - student
    weights = item_weights(ids, RESAMPLES)
    rows = Ratio(items=ids, top=plain - student, bottom=bottom, by_seed={}, plain=plain)
    return Estimate(
        pair=baseline.pair,
        value=float(np.mean(list(by_seed.values()))),
        resampled=((plain[0] - plain[1]) @ weights) / (bottom @ weights),
        items=frozenset(ids),
        floor=plus_four(rows, np.array([1.0, -1.0])),
        by_seed=by_seed,
    )


def _row(scores: ItemScores, items: Sequence[str], pair: str) -> np.ndarray:
    if set(scores) != set(items):
        raise DataError(
            f"A relapse on '{pair}' was measured on other triggered prompts than the organism; use the same."
        )
    return np.fromiter((scores[i] for i in items), float, len(items))
