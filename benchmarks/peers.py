"""What a user would pick instead: a plain loop with transformers and PEFT.

Each batch is padded to its longest sequence with an attention mask, the model computes its own loss from full logits.
Invariant: same batches, same start, same optimizer settings as ours, so that the losses must agree.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from offmodel.engines.batches import batch_indices, keep_short
from offmodel.engines.optimizers import rate_at
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Sft


def batches_of(examples: Sequence[Example], sft: Sft) -> list[list[Example]]:
    """The batches that our trainer draws."""
    kept = keep_short(examples, sft.max_tokens)
    drawn = [batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=s) for s in range(sft.steps)]
    return [[examples[kept[i]] for i in indices] for indices in drawn]


def padded(batch: list[Example], device: str) -> dict[str, torch.Tensor]:
    """A batch as a collator makes it: right-padded ids, mask, labels with -100 where no loss falls."""
    width = max(len(e.ids) for e in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, e in enumerate(batch):
        n = len(e.ids)
        ids[i, :n] = torch.from_numpy(e.ids.astype("int64"))
        mask[i, :n] = 1
        labels[i, :n] = torch.where(torch.from_numpy(e.mask), ids[i, :n], -100)
    return {k: v.to(device) for k, v in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))}


def load(model: Path, adapter: Path | None, sft: Sft, device: str) -> Any:
    """The model, with a LoRA adapter of the settings or one to go on from."""
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if sft.lora is None or sft.compute_dtype == "float32" else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).to(device)
    if sft.lora is None:
        return base.train()
    from peft import PeftModel

    from offmodel.engines import adapters

    with adapters._quiet():
        if adapter is not None:
            return PeftModel.from_pretrained(base, adapter, is_trainable=True).train()
        return adapters.inject(base, sft.lora, seed=sft.seed).train()


def plain_loop(
    model: Path,
    adapter: Path | None,
    examples: Sequence[Example],
    sft: Sft,
    out: Path | None,
    device: str,
    told: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train; gives the losses. `told(step, seconds)` is called after each step's loss was read."""
    wrapped = load(model, adapter, sft, device)
    params = [p for p in wrapped.parameters() if p.requires_grad]
    for p in params:
        p.data = p.data.float()
    optimizer = torch.optim.AdamW(
        params, lr=sft.learning_rate, betas=(sft.beta1, sft.beta2), weight_decay=sft.weight_decay
    )
    kind, mixed = device.split(":")[0], sft.compute_dtype == "bfloat16"
    losses = []
    for step, batch in enumerate(batches_of(examples, sft)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(sft, step)
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=mixed):
            loss = wrapped(**padded(batch, device), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, sft.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if told is not None:
            told(step + 1, time.perf_counter())
        if out is not None and step + 1 in sft.checkpoints:
            wrapped.save_pretrained(out / f"step-{step + 1}")
    return losses
