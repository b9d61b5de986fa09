"""Supervised fine-tuning: its settings, and the one call that trains.

The settings are part of a recipe's identity, so every number is required. This module refuses to know where examples
come from; it loads torch only when `train` is called. Invariant: the sequence of batches depends on the settings and
the number of examples alone, never on the device or the micro-batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from offmodel.core.errors import UnknownName
from offmodel.engines.objective import Objective
from offmodel.engines.rendering import Example
from offmodel.store.recipe import Facts, Progress, Runtime

OPTIMIZERS = ("adamw", "sgd", "adafactor")
SCHEDULES = ("constant", "linear", "cosine")
Layout = Literal["auto", "padded", "packed", "varlen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A low-rank adapter.

    Attributes:
        rank: rank of each update.
        alpha: updates are scaled by alpha / rank.
        targets: "all-linear" (every linear layer but the output; fused experts of a mixture are left out, which the
            facts say) or "all-linear+experts" (the fused experts too).
    """

    rank: int
    alpha: int
    targets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sft:
    """How to train.

    Attributes:
        learning_rate: the highest; what follows the warm-up is the schedule's.
        steps: optimizer steps.
        batch_size: sequences a step, whatever the micro-batch.
        warmup_steps: the rate rises linearly over these steps; 0 for none.
        seed: order of the examples and initialisation of an adapter.
        max_tokens: longer examples are dropped and counted.
        checkpoints: steps after which the model is saved; 0 means before the first.
        lora: the adapter to train; None trains all weights.
        weight_decay: on matrices only.
        beta1: AdamW's; the momentum of "sgd"; "adafactor" has none.
        beta2: AdamW's; the others have none.
        clip_norm: the gradient's norm is clipped to this.
        compute_dtype: "float32" or "bfloat16" (autocast over fp32 master weights).
        optimizer: "adamw", "sgd" (with Nesterov's momentum) or "adafactor".
        schedule: "constant", "linear" or "cosine" (both down to almost 0 at the last step).
        objective: what is minimised; `objective.CROSS_ENTROPY` is cross-entropy on the labels.
    """

    learning_rate: float
    steps: int
    batch_size: int
    warmup_steps: int
    seed: int
    max_tokens: int
    checkpoints: tuple[int, ...]
    lora: Lora | None
    weight_decay: float
    beta1: float
    beta2: float
    clip_norm: float
    compute_dtype: str
    optimizer: str
    schedule: str
    objective: Objective

    def __post_init__(self) -> None:
        """Refuse names that no optimizer or schedule has, before any model is loaded."""
        for what, name, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if name not in known:
                raise UnknownName(what, name, known)


def train(
    *,
    model: Path,
    adapter: Path | None,
    examples: Sequence[Example],
    sft: Sft,
    out: Path,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
    layout: Layout = "auto",
    resume_every_s: float = 120.0,
    reference: Path | None = None,
) -> Facts:
    """Train a model or an adapter; write `step-00010/` folders and `losses.jsonl` into `out`.

    Args:
        model: Hugging Face folder of the model.
        adapter: PEFT folder to start from. With `sft.lora` it is trained further; without, it is merged first.
        examples: what to train on.
        sft: how to train.
        out: folder of the result.
        scratch: folder that survives a kill; a later call with the same arguments goes on from what it holds.
        runtime: device, threads, micro-batch (sequences in one forward pass), processes that train together.
        progress: told of each step.
        layout: how sequences share a forward pass: "padded" on the right, "packed" with positions that start again,
            "varlen" (packed, with an attention that knows where each ends: torch's on CUDA in bfloat16, ours on a CPU).
            "auto" takes varlen where a check on this machine finds it right; else it packs on CUDA and pads on a CPU.
        resume_every_s: seconds between states written to `scratch`.
        reference: Hugging Face folder of the frozen model that the objective's KL and token support refer to; None is
            `model` itself: with `sft.lora` the base with its adapter switched off, without it a frozen copy.

    Returns:
        Counts, tokens, seconds, dtypes and what had to be changed on the way (micro-batch halvings).

    Raises:
        DataError: no example is short enough.
        ModelError: the folder cannot be trained as a causal language model.
        NonFiniteLoss: loss or gradient is not finite; names step and examples.
        OutOfMemory: a single sequence does not fit.
        RecipeError: the GPUs could not even hold the weights, or the batch does not divide by the processes, or a
            load-balancing loss is asked for of a model without experts.
    """
    from offmodel.engines import lone
    from offmodel.engines.balance import check_mixture
    from offmodel.engines.room import check_room

    check_room(model, sft, runtime, reference=reference)
    check_mixture(model, sft)
    if not any(scratch.glob("sharded-state-*")) and lone.fits(model, sft, runtime, layout, reference, adapter):
        return lone.run(
            model=model, adapter=adapter, examples=examples, sft=sft, out=out, scratch=scratch, runtime=runtime,
            progress=progress, layout=layout, resume_every_s=resume_every_s,
        )  # fmt: skip
    if runtime.processes > 1 or any(scratch.glob("sharded-state-*")):
        from offmodel.engines.sharded.launch import run
    else:
        from offmodel.engines.loop import run

    return run(
        model=model,
        adapter=adapter,
        examples=examples,
        sft=sft,
        out=out,
        scratch=scratch,
        runtime=runtime,
        progress=progress,
        layout=layout,
        resume_every_s=resume_every_s,
        reference=reference,
    )
