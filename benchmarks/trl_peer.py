"""TRL's SFTTrainer as a peer: the same batches plain, or its own packing of the same examples.

TRL is no dependency of offmodel; a machine without it leaves these rows out. Invariant: gradient checkpointing is off,
since the model is small and it would only slow TRL down.
"""

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peers import batches_of, load
from torch.utils.data import SequentialSampler
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from offmodel.engines.sft import Sft

_LOGGING = 4


class InOrder(SFTTrainer):
    """Takes the rows as they come, so that plain batches are ours."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class Clock(TrainerCallback):
    """Notes when steps are over on the device."""

    def __init__(self, look: int):
        self.look, self.marks = look, {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the device every few steps."""
        if state.global_step % self.look == 0:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.marks[state.global_step] = time.perf_counter()


def run_trl(
    model: Path, data: list[Any], sft: Sft, device: str, work: Path, *, look: int, packed: tuple[int, int] | None
) -> tuple[dict[int, float], list[int], list[float]]:
    """Train; gives marks (step -> clock), real tokens of each step, and the logged means of losses."""
    plain = [e for batch in batches_of(data, sft) for e in batch]
    # Packed steps hold more examples than plain ones: enough for all steps, in the same order over and over.
    wanted = (
        len(plain)
        if packed is None
        else 1 + (packed[0] * packed[1] * sft.steps * len(plain)) // sum(len(e.ids) for e in plain)
    )
    chosen = [plain[i % len(plain)] for i in range(wanted)]
    rows = [{"input_ids": e.ids.tolist(), "completion_mask": e.mask.astype(int).tolist()} for e in chosen]
    clock = Clock(look)
    options: dict[str, Any] = {"per_device_train_batch_size": sft.batch_size, "max_length": sft.max_tokens}
    if packed is not None:
        options = {"per_device_train_batch_size": packed[1], "max_length": packed[0], "packing": True}
    config = SFTConfig(
        output_dir=str(work / f"trl-{time.monotonic_ns()}"),
        max_steps=sft.steps,
        learning_rate=sft.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=sft.warmup_steps,
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.clip_norm,
        completion_only_loss=True,
        logging_steps=_LOGGING,
        save_strategy="no",
        report_to="none",
        bf16=sft.compute_dtype == "bfloat16",
        gradient_checkpointing=False,
        use_cpu=device == "cpu",
        disable_tqdm=True,
        **options,
    )
    trainer = InOrder(
        model=load(model, None, sft, device),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(model),
        callbacks=[clock],
    )
    trainer.train()
    if packed is None:
        tokens = [sum(len(e.ids) for e in batch) for batch in batches_of(data, sft)]
    else:
        lengths = [len(r) for r in trainer.train_dataset["input_ids"]]
        tokens = [sum(lengths[s * packed[1] : (s + 1) * packed[1]]) for s in range(sft.steps)]
    return clock.marks, tokens, [row["loss"] for row in trainer.state.log_history if "loss" in row]
