"""Made-up measurements with a known truth: what noise alone gives, and whether intervals cover.

Answers are drawn per item: models agree on items to a chosen degree (a shared difficulty in a Gaussian copula), pairs
differ by a chosen spread, seeds by another. Invariant: the same generator state gives the same records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np

from offmodel.analysis.hull import hull_areas
from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord
from offmodel.analysis.statistics import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The true trade-off of one method.

    Attributes:
        left: true b of each point.
        kept: true c of each point.
        between_pairs: standard deviation of b and of c over pairs, the same for all points of a pair.
        between_seeds: the same over seeds.
    """

    left: tuple[float, ...]
    kept: tuple[float, ...]
    between_pairs: float = 0.0
    between_seeds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is measured.

    Attributes:
        pairs, seeds, n_capability, n_triggered: how many.
        accuracy: the organism's.
        planted: the organism's triggered rate.
        agreement: correlation of two models' latent answers on an item, 0 to 1.
    """

    pairs: int
    seeds: int
    n_capability: int
    n_triggered: int
    accuracy: float
    planted: float
    agreement: float


def nothing_works(points: int) -> Truth:
    """Points evenly along the diagonal, b = c from .1 to .9: as much behaviour lost as capability. Area .5."""
    along = tuple(float(x) for x in np.linspace(0.1, 0.9, points))
    return Truth(left=along, kept=along)


def draw_study(
    rng: np.random.Generator, design: Design, methods: dict[str, Truth]
) -> tuple[list[PointRecord], list[PairBaseline]]:
    """Records and baselines of a study. Items are the same for all pairs, methods and seeds."""
    hard_c, hard_t = rng.standard_normal(design.n_capability), rng.standard_normal(design.n_triggered)
    records: list[PointRecord] = []
    baselines: list[PairBaseline] = []
    for p in range(design.pairs):
        pair = f"pair{p:02d}"
        own_c = _blend(rng, hard_c, 0.5)  # what an organism finds hard is half its own
        own_t = _blend(rng, hard_t, 0.5)
        baselines.append(_baseline(rng, design, pair, own_c, own_t))
        for name, truth in methods.items():
            shift_b, shift_c = truth.between_pairs * rng.standard_normal(2)
            for seed in range(design.seeds):
                extra_b, extra_c = truth.between_seeds * rng.standard_normal(2)
                for k, (b, c) in enumerate(zip(truth.left, truth.kept, strict=True)):
                    kept = design.accuracy * (c + shift_c + extra_c)
                    left = design.planted * (b + shift_b + extra_b)
                    scores = ModelScores(
                        capability=_answers(rng, "q", own_c, kept, design.agreement),
                        triggered=_answers(rng, "t", own_t, left, design.agreement),
                        clean={},
                    )
                    records.append(_record(pair, name, k, seed, scores))
    return records, baselines


@lru_cache(maxsize=256)
def noise_area(points: int, accuracy: float, n_capability: int, n_triggered: int | None, draws: int = 2000) -> float:
    """The raw area that noise alone gives when the truth is .5: what a raw area has to be compared with.

    Points lie evenly on the diagonal (`nothing_works`), answers are independent, the organism's rates are known.

    Args:
        points: of the method.
        accuracy: the organism's, above chance.
        n_capability: items.
        n_triggered: prompts; None takes b as known.
        draws: simulated studies; 2,000 leave an error of about .001.
    """
    rng = np.random.default_rng(0)
    truth = np.array(nothing_works(points).left)
    c = rng.binomial(n_capability, accuracy * truth, (draws, points)) / n_capability / accuracy
    b = np.broadcast_to(truth, c.shape)
    if n_triggered is not None:
        b = rng.binomial(n_triggered, truth, (draws, points)) / n_triggered
    return float(hull_areas(b.T, c.T).mean())


def _baseline(rng: np.random.Generator, design: Design, pair: str, own_c: Array, own_t: Array) -> PairBaseline:
    organism = ModelScores(
        capability=_answers(rng, "q", own_c, design.accuracy, design.agreement),
        triggered=_answers(rng, "t", own_t, design.planted, design.agreement),
        clean={},
    )
    student = ModelScores(
        capability=_answers(rng, "q", own_c, design.accuracy, design.agreement),
        triggered=_answers(rng, "t", own_t, 0.0, design.agreement),
        clean={},
    )
    return PairBaseline(pair=pair, organism=organism, student=student, chance=0.0)


def _record(pair: str, method: str, step: int, seed: int, scores: ModelScores) -> PointRecord:
    return PointRecord(
        pair=pair,
        method=method,
        setting="simulated",
        step=step,
        seed=seed,
        scores=scores,
        tokens_by_author={},
        untrusted_share=0.0,
        oracle=False,
        teacher_relation="other",
        digest="",
    )


def _blend(rng: np.random.Generator, shared: Array, share: float) -> Array:
    return sqrt(share) * shared + sqrt(1 - share) * rng.standard_normal(len(shared))


def _answers(rng: np.random.Generator, letter: str, hard: Array, rate: float, agreement: float) -> dict[str, float]:
    latent = _blend(rng, hard, agreement)
    rate = min(max(rate, 0.0), 1.0)
    cut = NormalDist().inv_cdf(rate) if 0 < rate < 1 else (rate - 0.5) * np.inf
    right = (latent < cut).astype(float)
    return dict(zip(_names(letter, len(hard)), right.tolist(), strict=True))


@lru_cache(maxsize=32)
def _names(letter: str, n: int) -> Sequence[str]:
    return tuple(f"{letter}{i:04d}" for i in range(n))
