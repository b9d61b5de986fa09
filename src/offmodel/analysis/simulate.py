"""Made-up measurements with a known truth: what noise alone gives, and whether intervals cover.

Two steps. `draw_worlds` makes models: true b and c of every pair, method, seed and point, spread as a population of
pairs and training runs is. `draw_answers` asks them: an item is hard for all models to a degree, harder for one pair's
models than for another's, and checkpoints of one training run agree more than those of two. The organism is asked like
everybody else, and its noisy answers are what all points are divided by. Knows no intervals. Invariant: the same
generator state gives the same records.
Shapes: K pairs, S seeds, P points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np

from offmodel.analysis.hull import hull_areas
from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord
from offmodel.analysis.statistics import Array

STILL = 0.1
"""Share of a method's effect on b that it still has on a pair that resists it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The true trade-off of one method.

    Attributes:
        left: true b of each point, on the average pair.
        kept: true c of each point.
        between_pairs: standard deviation of b and of c over pairs, the same for all points of a pair.
        between_seeds: the same over seeds, within a pair.
        resisted: share of pairs on which nearly all of the behaviour stays, whatever the method costs: a tail that no
            normal spread has.
    """

    left: tuple[float, ...]
    kept: tuple[float, ...]
    between_pairs: float = 0.0
    between_seeds: float = 0.0
    resisted: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What is measured, and on what models.

    Attributes:
        pairs, seeds, n_capability, n_triggered: how many.
        accuracy: the organism's. accuracy_spread: its standard deviation over pairs.
        planted: the organism's triggered rate. floor: the unplanted student's.
        agreement: correlation of two models' latent answers on an item, 0 to 1.
        same_run: what two checkpoints of one training agree more than that.
        pair_spread: standard deviation over pairs of a shift of b and c that all methods share.
    """

    pairs: int
    seeds: int
    n_capability: int
    n_triggered: int
    accuracy: float
    planted: float
    agreement: float
    accuracy_spread: float = 0.0
    floor: float = 0.0
    same_run: float = 0.0
    pair_spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """True models of a study.

    Attributes:
        accuracy: [K] of the organisms.
        left: true b by method, [K, S, P]; a rate cannot leave 0 to 1, and b and c are what is left of the shifts.
        kept: true c by method, [K, S, P].
    """

    accuracy: Array
    left: Mapping[str, Array] = field(default_factory=dict)
    kept: Mapping[str, Array] = field(default_factory=dict)

    def areas(self, method: str) -> Array:
        """[K] true areas of the points averaged over these seeds."""
        return hull_areas(self.left[method].mean(1).T, self.kept[method].mean(1).T)


def nothing_works(points: int) -> Truth:
    """Points evenly along the diagonal, b = c from .1 to .9: as much behaviour lost as capability. Area .5."""
    along = tuple(float(x) for x in np.linspace(0.1, 0.9, points))
    return Truth(left=along, kept=along)


def draw_study(
    rng: np.random.Generator, design: Design, methods: dict[str, Truth]
) -> tuple[list[PointRecord], list[PairBaseline]]:
    """Records and baselines of a study. Items are the same for all pairs, methods and seeds."""
    return draw_answers(rng, design, draw_worlds(rng, design, methods))


def draw_worlds(rng: np.random.Generator, design: Design, methods: Mapping[str, Truth]) -> World:
    """True models of `design.pairs` pairs; many pairs at once give the population's means."""
    K, S = design.pairs, design.seeds
    accuracy = np.clip(design.accuracy + design.accuracy_spread * rng.standard_normal(K), 0.05, 0.98)
    common = design.pair_spread * rng.standard_normal((2, K, 1, 1))
    left, kept = {}, {}
    for name, truth in methods.items():
        pair = truth.between_pairs * rng.standard_normal((2, K, 1, 1))
        seed = truth.between_seeds * rng.standard_normal((2, K, S, 1))
        shift = common + pair + seed
        resists = rng.random((K, 1, 1)) < truth.resisted
        mean = np.where(resists, 1 - STILL * (1 - np.array(truth.left)), np.array(truth.left))
        rise = design.planted - design.floor
        left[name] = np.clip(mean + shift[0], -design.floor / rise, (1 - design.floor) / rise)
        kept[name] = np.clip(np.array(truth.kept) + shift[1], 0, 1 / accuracy[:, None, None])
    return World(accuracy=accuracy, left=left, kept=kept)


def draw_answers(
    rng: np.random.Generator, design: Design, world: World
) -> tuple[list[PointRecord], list[PairBaseline]]:
    """What a study of these models measures. Items are the same for all pairs, methods and seeds."""
    hard_c, hard_t = rng.standard_normal(design.n_capability), rng.standard_normal(design.n_triggered)
    records: list[PointRecord] = []
    baselines: list[PairBaseline] = []
    for p, accuracy in enumerate(world.accuracy):
        pair = f"pair{p:02d}"
        own_c = _blend(rng, hard_c, 0.5)  # what an organism finds hard is half its own
        own_t = _blend(rng, hard_t, 0.5)
        baselines.append(_baseline(rng, design, pair, float(accuracy), own_c, own_t))
        for name, left in world.left.items():
            for seed in range(design.seeds):
                run_c = _run(rng, own_c, design)
                run_t = _run(rng, own_t, design)
                for k in range(left.shape[2]):
                    rate = design.floor + left[p, seed, k] * (design.planted - design.floor)
                    scores = ModelScores(
                        capability=_answers(rng, "q", run_c, accuracy * world.kept[name][p, seed, k], _alike(design)),
                        triggered=_answers(rng, "t", run_t, rate, _alike(design)),
                        clean={},
                    )
                    records.append(_record(pair, name, k, seed, scores))
    return records, baselines


@lru_cache(maxsize=256)
def noise_area(
    points: int,
    accuracy: float,
    n_capability: int,
    n_triggered: int | None,
    draws: int = 2000,
    *,
    chance: float = 0.0,
    floor: float = 0.0,
    planted: float = 1.0,
) -> float:
    """The raw area that noise alone gives when the truth is .5: what a raw area has to be compared with.

    Points lie evenly on the diagonal (`nothing_works`), answers are independent, the organism's rates are known.

    Args:
        points: of the method.
        accuracy: the organism's, as measured.
        n_capability: items.
        n_triggered: prompts; None takes b as known.
        draws: simulated studies; 2,000 leave an error of about .001.
        chance: accuracy of guessing; a guess is as noisy as an answer, and less is left to divide by.
        floor: the unplanted student's triggered rate.
        planted: the organism's.
    """
    rng = np.random.default_rng(0)
    truth = np.array(nothing_works(points).left)
    c = _relative(rng, truth, n_capability, chance, accuracy, (draws, points))
    b = np.broadcast_to(truth, c.shape)
    if n_triggered is not None:
        b = _relative(rng, truth, n_triggered, floor, planted, (draws, points))
    return float(hull_areas(b.T, c.T).mean())


def _relative(rng: np.random.Generator, truth: Array, n: int, low: float, high: float, shape: tuple[int, int]) -> Array:
    return (rng.binomial(n, low + (high - low) * truth, shape) / n - low) / (high - low)


def _baseline(
    rng: np.random.Generator, design: Design, pair: str, accuracy: float, own_c: Array, own_t: Array
) -> PairBaseline:
    organism = ModelScores(
        capability=_answers(rng, "q", own_c, accuracy, design.agreement),
        triggered=_answers(rng, "t", own_t, design.planted, design.agreement),
        clean={},
    )
    student = ModelScores(
        capability=_answers(rng, "q", own_c, accuracy, design.agreement),
        triggered=_answers(rng, "t", own_t, design.floor, design.agreement),
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


def _alike(design: Design) -> float:
    """Correlation of two checkpoints of one run."""
    return design.agreement + design.same_run


def _run(rng: np.random.Generator, own: Array, design: Design) -> Array:
    """What one training run finds hard."""
    return _blend(rng, own, design.agreement / max(_alike(design), 1e-9))


def _blend(rng: np.random.Generator, shared: Array, share: float) -> Array:
    if share >= 1:
        return shared
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
