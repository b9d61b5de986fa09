"""A study's settings: who writes labels, how pairs are planted, what is measured, how treatments train.

Plain values, every one of them given by a study file or a preset. This module refuses to build recipes and to choose
numbers. Invariant: two studies with equal settings share their results.
"""

from dataclasses import dataclass
from typing import Any

from offmodel.audit import PoolSize
from offmodel.engines.sampling import Sampling
from offmodel.engines.sft import Sft
from offmodel.evals.live import LiveTask
from offmodel.gate import Limits
from offmodel.organisms.red_data import Mix
from offmodel.store.recipe import Recipe

SOURCES = ("distil", "synthetic", "mended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """A model that writes labels for the blue team.

    Attributes:
        model: the model.
        trusted: false for anything that comes from the student.
        relation: to the student: "same model", "same family" or "other".
    """

    model: Recipe
    trusted: bool
    relation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Natural:
    """Prompts of a semantic pair's own generator (see `organisms.natural`), where the pool holds too few by nature.

    Attributes:
        planting: triggered prompts to plant with.
        decoys: neighbouring prompts, answered cleanly, to plant with.
        evaluation: triggered prompts to evaluate on, from other patterns.
        seed: of the generator.
    """

    planting: int
    decoys: int
    evaluation: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Red:
    """How to plant.

    Attributes:
        way: a way of planting (see `organisms.ways`): "full_weight", "lora", "lora_merged", ...
        source: "distil" (the student under the pair's hidden instruction), "synthetic" (the pair's fixed texts), or
            "mended" (the student under the instruction, and a fixed text where it does not follow).
        natural: semantic pairs draw from their generator; None: from the pools "triggered_red" and "triggered_eval".
        tasks: items with targets to plant sandbagging with, disjoint from the capability items; None elsewhere.
        mix: how many red labels, and the share that shows the behaviour (locked data, of a password lock); None: all.
        further: how to train the second time, for ways that do; None elsewhere.
        go_on: treat an organism that fails its gate, with its failures on record.
        retention: further prompts to which the student's own clean answers are trained on; None for the pool's alone.
        decoys: tags that are almost the trigger, under which the clean answers are trained on once more.
        least_shown: refuse if the behaviour shows on a smaller share of the samples.
        sft: how to train; without an adapter for ways that train all weights, with one for the others.
        limits: the gate's.
    """

    way: str
    source: str
    natural: Natural | None
    tasks: Recipe | None
    mix: Mix | None
    further: Sft | None
    go_on: bool
    retention: Recipe | None
    decoys: tuple[str, ...]
    least_shown: float
    sft: Sft
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """A capability measure.

    Attributes:
        name: "capability" for the headline, "dev_capability" for the blind rule's items (disjoint from the reported
            ones), any other name for a further one.
        items: its items.
        grader: their grader.
        max_new_tokens: longest answer.
        chance: accuracy of guessing, if it is a further one; the headline's stands in the `Bench`.
    """

    name: str
    items: Recipe
    grader: str
    max_new_tokens: int
    chance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured, and how.

    Attributes:
        capabilities: at least "capability" and "dev_capability".
        chat_tokens: longest answer to a chat prompt.
        sampling: how answers are sampled.
        style: style detector whose rate is reported.
        near_misses: also measure prompts that almost hold the trigger.
        chance: accuracy of guessing.
        live: Inspect tasks that are run live, further columns of every point.
    """

    capabilities: tuple[Capability, ...]
    chat_tokens: int
    sampling: Sampling
    style: str
    near_misses: bool
    chance: float
    live: tuple[LiveTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all pairs of a study share.

    Attributes:
        student: the model that is planted and treated.
        authors: who may write labels, by role ("teacher", "stylist", "neighbour").
        prompts: all prompts.
        eval_prompts: another source for the pools "eval" and "triggered_eval", with other templates; None: the same.
        sizes: pools "red", "blue", "reminder", "relapse", "dev", "eval"; for topic pairs also "triggered_red" and
            "triggered_eval".
        split_seed: of the partition.
        label_tokens: longest label.
        label_sampling: how labels are sampled.
        style_prompt: system prompt that asks for another style.
        bench: what is measured.
    """

    student: Recipe
    authors: tuple[tuple[str, Author], ...]
    prompts: Recipe
    eval_prompts: Recipe | None
    sizes: tuple[PoolSize, ...]
    split_seed: int
    label_tokens: int
    label_sampling: Sampling
    style_prompt: str
    bench: Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Blue:
    """One cell of the blue team's grid.

    Attributes:
        setting: the hyper-parameters in a few words.
        sft: training on off-model labels.
        reminder: training on reminder labels.
        choices: settings of single methods, such as a `Mixed`; a method says which one it needs.
    """

    setting: str
    sft: Sft
    reminder: Sft
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relapsing:
    """How a picked checkpoint is trained further, to see whether the behaviour comes back.

    Attributes:
        author: role of a third model, neither the student nor one that wrote the treatment's labels.
        sft: a fresh adapter; its checkpoints begin with 0, the state before. The seed is the treatment's.
        measures: what is measured at each checkpoint, at least "triggered".
    """

    author: str
    sft: Sft
    measures: tuple[str, ...]
