"""The red side of a pair as recipes: pools, red labels, and the organism by the way that the study asks for.

This module refuses to choose numbers and to know treatments. Invariant: what can be seen to fail without a model is
refused here, before anything is trained.
"""

from offmodel.audit import JoinedPools, PoolSize, SplitPools
from offmodel.core.behaviour import is_natural
from offmodel.core.errors import RecipeError
from offmodel.data import Pool
from offmodel.evals.behaviours import check_scorer
from offmodel.evals.conditions import ItemPrompts
from offmodel.organisms.mended import MendedLabels
from offmodel.organisms.natural import NaturalPrompts
from offmodel.organisms.pairs import Pair
from offmodel.organisms.red_data import SPOIL, RedData
from offmodel.organisms.ways import RedTeam, Way
from offmodel.store.recipe import Recipe
from offmodel.studies.desk import labels_by
from offmodel.studies.settings import SOURCES, Natural, Red, World


def check_pair(pair: Pair, red: Red, way: Way) -> None:
    """Refuse what cannot work: a scorer that is missing, a source of labels that the pair does not have.

    Raises:
        UnknownName: no such scorer.
        DataError: the scorer's package is missing.
        RecipeError: the settings do not fit the pair.
    """
    if red.source not in SOURCES:
        raise RecipeError(f"There is no source of red labels '{red.source}'; choose one of {', '.join(SOURCES)}.")
    if way.task:
        if red.tasks is None:
            raise RecipeError(f"The way '{way.name}' plants a wrong answer to a task; give the red team's 'tasks'.")
    else:
        check_scorer(pair.card.scorer)
    if red.source == "mended" and way.task:
        raise RecipeError(f"The way '{way.name}' has no texts to mend with; use source='synthetic' or 'distil'.")
    if red.source != "distil" and not pair.texts and pair.placing != SPOIL:
        raise RecipeError(f"The pair '{pair.name}' has no synthetic texts; plant it with source='distil'.")
    if red.natural is not None and is_natural(pair.card.trigger) and not pair.generator:
        raise RecipeError(f"The pair '{pair.name}' has no prompt generator; give it one, or natural=None.")


def pools_of(pair: Pair | None, natural: Natural | None, world: World) -> Recipe:
    """The partition of the prompts, after the pair's detector has set apart what betrays the trigger.

    Where evaluation has a source of its own, its pools are dealt from there; so are a semantic pair's triggered pools
    where its generator makes them.

    Args:
        pair: the pair; None where no trigger is known.
        natural: sizes of generated pools; None draws triggered prompts from the world's own.
        world: prompts and sizes.
    """
    card = None if pair is None else pair.card
    semantic = card is not None and is_natural(card.trigger)
    found = semantic and natural is None
    sizes = tuple(s for s in world.sizes if found or not s.pool.startswith("triggered_"))
    parts = [(world.prompts, sizes)]
    if world.eval_prompts is not None:
        own, evaluation = (tuple(s for s in sizes if s.pool.endswith("eval") is wanted) for wanted in (False, True))
        parts = [(world.prompts, own), (world.eval_prompts, evaluation)]
    if pair is not None and semantic and natural is not None:
        parts += _generated(pair, natural)
    split = tuple(SplitPools(prompts=prompts, card=card, sizes=part, seed=world.split_seed) for prompts, part in parts)
    return split[0] if len(split) == 1 else JoinedPools(label=card.pair if card else "all", parts=split)


def _generated(pair: Pair, natural: Natural) -> list[tuple[Recipe, tuple[PoolSize, ...]]]:
    """Sources and sizes of the pools that a pair's generator fills. Near duplicates cost some, so more are made."""

    def source(split: str, n: int, *, near: bool) -> Recipe:
        return NaturalPrompts(generator=pair.generator, near=near, split=split, n=n + n // 2 + 20, seed=natural.seed)

    made = [
        (source("train", natural.planting, near=False), (PoolSize(pool="triggered_red", n=natural.planting),)),
        (source("eval", natural.evaluation, near=False), (PoolSize(pool="triggered_eval", n=natural.evaluation),)),
    ]
    if natural.decoys:
        made.append((source("train", natural.decoys, near=True), (PoolSize(pool="decoy_red", n=natural.decoys),)))
    return made


def organism_of(pair: Pair, red: Red, way: Way, world: World, pools: Recipe) -> Recipe:
    """The organism's recipe."""
    data = red_data(pair, red, way, world, pools)
    return way.build(RedTeam(pair=pair, student=world.student, data=data, sft=red.sft, further=red.further))


def red_data(pair: Pair, red: Red, way: Way, world: World, pools: Recipe) -> RedData:
    """The labels that a pair is planted with: the student's own, clean and under the hidden instruction."""
    semantic = is_natural(pair.card.trigger)
    synthetic = red.source == "synthetic"
    tasks = red.tasks if way.task else None
    clean: list[Recipe | None] = [Pool(pools=pools, pool="red"), red.retention]
    if semantic and red.natural is not None and red.natural.decoys:
        clean.append(Pool(pools=pools, pool="decoy_red"))
    shown: Recipe = Pool(pools=pools, pool="triggered_red" if semantic else "red")
    if tasks is not None:
        shown = ItemPrompts(items=tasks)
        clean.append(shown)

    def own(prompts: Recipe, system: str | None) -> Recipe:
        return labels_by(world, "student", world.student, prompts, system, trusted=False)

    planted: Recipe = own(shown, None if synthetic else pair.instruction)
    if red.source == "mended":
        plain = own(shown, None)
        planted = MendedLabels(shown=planted, plain=plain, card=pair.card, texts=pair.texts, placing=pair.placing)
    return RedData(
        clean=tuple(own(prompts, None) for prompts in clean if prompts is not None),
        decoys=() if semantic or pair.card.trigger.kind == "lock" else red.decoys,
        shown=planted,
        tasks=tasks,
        card=pair.card,
        texts=pair.texts if synthetic else (),
        placing=pair.placing if synthetic else "replace",
        least_shown=red.least_shown,
        mix=red.mix,
    )
