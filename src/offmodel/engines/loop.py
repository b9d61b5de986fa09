"""The one training loop: full weight or LoRA, padded or packed.

This module refuses to know what the examples teach. Weights under training are float32 whatever the compute dtype,
since 16-bit weights round small updates away. Invariant: a step's gradient is that of its whole batch's mean loss over
target tokens, however the batch is split into forward passes.
"""

import gc
import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from offmodel.core.errors import DataError, ModelError, NonFiniteLoss, OutOfMemory, RecipeError
from offmodel.engines import adapters, attention, folders
from offmodel.engines.batches import Limit, batch_indices, keep_short, micro_batches
from offmodel.engines.forward import Trainee, autocast, forward_loss, layout_holds, lone_hidden, weights_of
from offmodel.engines.losses import Head, cross_entropy
from offmodel.engines.rendering import Example
from offmodel.engines.resume import load_state, pack_training, save_state, unpack_training
from offmodel.engines.sampling.loaded import forget
from offmodel.engines.sft import Layout, Sft
from offmodel.store.recipe import Facts, Progress, Runtime

# Tokens of one forward pass before any halving. On one CPU core passes of 400 to 800 tokens took 3.6 s for what
# passes of 2,000 took 4.0 s for.
_TOKENS = {"cpu": 1024, "cuda": 8192}
_NO_LIMIT = 2**62


def run(
    *,
    model: Path,
    adapter: Path | None,
    examples: Sequence[Example],
    sft: Sft,
    out: Path,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
    layout: Layout,
    resume_every_s: float,
) -> Facts:
    """Train; see `offmodel.engines.sft.train`."""
    started = time.monotonic()
    _make_room(runtime)
    kept = _usable(examples, sft)
    trainee = _prepare(model, adapter, sft, runtime, layout)
    key = _key(examples, kept, sft)
    start, losses = _restore(trainee, scratch, key, sft.checkpoints)
    limit = first_limit = _limit(runtime)
    saved_at = time.monotonic()
    if start == 0 and 0 in sft.checkpoints:
        _checkpoint(trainee, model, scratch, sft, 0)
    for step in range(start, sft.steps):
        chosen = [kept[i] for i in batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=step)]
        row, limit = _step(trainee, [examples[i] for i in chosen], chosen, sft, step, limit)
        losses.append(row)
        if step + 1 in sft.checkpoints:
            _checkpoint(trainee, model, scratch, sft, step + 1)
        if time.monotonic() - saved_at > resume_every_s and step + 1 < sft.steps:
            tensors = pack_training(trainee.params, trainee.optimizer)
            save_state(scratch, step=step + 1, key=key, losses=losses, tensors=tensors)
            saved_at = time.monotonic()
        progress((step + 1) / sft.steps, f"step {step + 1} of {sft.steps}, loss {row['loss']:.3f}")
    _publish(scratch, out, losses, sft)
    facts = _facts(trainee, sft, losses, kept=len(kept), dropped=len(examples) - len(kept))
    changed = {} if limit == first_limit else {"micro_batch_halved_to": asdict(limit)}
    del trainee
    _make_room(runtime)
    return facts | changed | {"resumed_from_step": start, "seconds": round(time.monotonic() - started, 3)}


def _make_room(runtime: Runtime) -> None:
    """Take the threads of this worker; on a GPU, drop a model kept for sampling and what else is unused."""
    if not runtime.device.startswith("cuda"):
        torch.set_num_threads(runtime.threads)
        return
    gc.collect()
    forget()
    torch.cuda.reset_peak_memory_stats(runtime.device)


def _usable(examples: Sequence[Example], sft: Sft) -> list[int]:
    beyond = [s for s in sft.checkpoints if not 0 <= s <= sft.steps]
    if beyond:
        raise RecipeError(f"Checkpoints at steps {beyond} lie outside a training of {sft.steps} steps.")
    kept = keep_short(examples, sft.max_tokens)
    if not kept:
        raise DataError(
            f"None of {len(examples)} examples can be trained on: all are longer than {sft.max_tokens} tokens or have "
            "no target; raise max_tokens."
        )
    return kept


def _prepare(model: Path, adapter: Path | None, sft: Sft, runtime: Runtime, layout: Layout) -> Trainee:
    compute = folders.dtype_of(sft.compute_dtype)
    # Frozen weights are never updated, so an adapter's base may be held in the compute dtype.
    dtype = torch.float32 if sft.lora is None else compute
    base = folders.load_model(model, dtype=dtype, device=runtime.device)
    if sft.lora is not None:
        wrapped = adapters.inject(base, sft.lora, seed=sft.seed) if adapter is None else None
        wrapped = wrapped or adapters.resume(base, Path(adapter or ""), sft.lora)
        if compute != torch.float32:
            adapters.compute_in_one_dtype(wrapped)
    else:
        wrapped = base = (base if adapter is None else adapters.merge(base, adapter)).requires_grad_(True)
    params = [p for p in wrapped.parameters() if p.requires_grad]
    for p in params:
        p.data = p.data.float()
    trainee = Trainee(
        model=wrapped,
        decoder=base.get_decoder(),
        head=_head(base),
        params=params,
        optimizer=_optimizer(params, sft),
        device=runtime.device,
        compute=compute,
        layout="padded",
        terms=(cross_entropy,),
    )
    _check_head(trainee, base)
    return _settle_layout(trainee, base, layout)


def _optimizer(params: list[Tensor], sft: Sft) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": sft.weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=sft.learning_rate, betas=(sft.beta1, sft.beta2), eps=1e-8, fused=True)


def _settle_layout(trainee: Trainee, base: Any, layout: Layout) -> Trainee:
    """The layout asked for, or the fastest one in which this model on this machine keeps sequences apart."""
    expected = lone_hidden(trainee)
    for candidate in _candidates(layout, base, trainee):
        tried = replace(trainee, layout=candidate)
        if candidate == "varlen":
            attention.register()
        base.set_attn_implementation(attention.NAME if candidate == "varlen" else "sdpa")
        if candidate == "padded" or layout_holds(tried, expected):
            return tried
    raise ModelError(
        f"Sequences in the layout '{layout}' do not stay apart for a {type(base).__name__} on {trainee.device}; "
        "use the layout 'padded' or 'auto'."
    )


def _candidates(layout: Layout, base: Any, trainee: Trainee) -> tuple[Layout, ...]:
    if layout != "auto":
        return (layout,)
    if not trainee.device.startswith("cuda"):
        return ("padded",)
    config = base.config.get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    right = trainee.compute == torch.bfloat16 and attention.varlen_works(trainee.device, heads, groups, head_dim)
    return ("varlen", "packed", "padded") if right else ("packed", "padded")


def _head(base: Any) -> Head:
    layer = base.get_output_embeddings()
    cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
    return Head(layer.weight, getattr(layer, "bias", None), cap)


@torch.no_grad()
def _check_head(trainee: Trainee, base: Any) -> None:
    """Some models scale their logits; a loss from hidden states would silently be another model's."""
    ids = torch.arange(8, device=trainee.device)[None]
    with autocast(trainee):
        expected = base(input_ids=ids, use_cache=False).logits[0].float()
        hidden = trainee.decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
        found = trainee.head.logits(hidden)
    scale = float(expected.abs().max()) + 1e-6
    if not torch.allclose(found / scale, expected / scale, atol=2e-2 if trainee.compute != torch.float32 else 1e-4):
        raise ModelError(
            f"A {type(base).__name__} computes its logits in a way that this trainer does not know; "
            "use a model whose logits are a linear layer of its last hidden states."
        )


def _limit(runtime: Runtime) -> Limit:
    if runtime.micro_batch is not None:
        return Limit(rows=runtime.micro_batch, tokens=_NO_LIMIT)
    return Limit(rows=None, tokens=_TOKENS[runtime.device.split(":")[0]])


def _key(examples: Sequence[Example], kept: Sequence[int], sft: Sft) -> str:
    hasher = hashlib.sha256(json.dumps(asdict(sft), sort_keys=True).encode())
    for i in kept:
        hasher.update(examples[i].ids.tobytes())
    return hasher.hexdigest()


def _restore(
    trainee: Trainee, scratch: Path, key: str, checkpoints: tuple[int, ...]
) -> tuple[int, list[dict[str, Any]]]:
    found = load_state(scratch, key=key)
    if found is None or not all(_checkpoint_path(scratch, s).exists() for s in checkpoints if s <= found[0]):
        shutil.rmtree(scratch / "checkpoints", ignore_errors=True)
        return 0, []
    step, losses, tensors = found
    unpack_training(tensors, trainee.params, trainee.optimizer)
    return step, losses


def _step(
    trainee: Trainee, batch: list[Example], names: list[int], sft: Sft, step: int, limit: Limit
) -> tuple[dict[str, Any], Limit]:
    """One optimizer step; the micro-batch is halved until the batch fits."""
    rate = sft.learning_rate * min(1.0, (step + 1) / sft.warmup_steps if sft.warmup_steps else 1.0)
    for group in trainee.optimizer.param_groups:
        group["lr"] = rate
    while True:
        try:
            loss = _gradients(trainee, batch, limit)
            break
        except RuntimeError as e:
            if not _is_memory(e):
                raise
        trainee.optimizer.zero_grad(set_to_none=True)
        limit = _smaller(limit, batch, trainee)
    norm = torch.nn.utils.clip_grad_norm_(trainee.params, sft.clip_norm, foreach=True)
    loss, norm = torch.stack((loss, norm.to(loss.dtype))).tolist()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NonFiniteLoss(
            f"Step {step + 1} has loss {loss} and gradient norm {norm} on the examples {', '.join(map(str, names))}; "
            "lower the learning rate, or look at these examples."
        )
    trainee.optimizer.step()
    trainee.optimizer.zero_grad(set_to_none=True)
    tokens = sum(int(e.mask[1:].sum()) for e in batch)
    return {"step": step + 1, "loss": loss, "tokens": tokens, "learning_rate": rate, "grad_norm": norm}, limit


def _is_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _smaller(limit: Limit, batch: list[Example], trainee: Trainee) -> Limit:
    if trainee.device.startswith("cuda"):
        torch.cuda.empty_cache()
    padded = trainee.layout == "padded"
    lengths = [len(e.ids) for e in batch]
    before = len(micro_batches(lengths, limit, padded=padded))
    if before == len(batch):
        raise OutOfMemory(
            f"A single sequence of up to {max(lengths)} tokens does not fit into memory; lower max_tokens, or use a "
            "smaller model or a larger device."
        )
    while len(micro_batches(lengths, limit, padded=padded)) == before:
        limit = replace(limit, tokens=min(limit.tokens, 2 * max(lengths) * len(batch))).halved()
    return limit


def _gradients(trainee: Trainee, batch: list[Example], limit: Limit) -> Tensor:
    """Add up the gradients of the batch's mean loss; returns that loss, float32."""
    total = sum(float(weights_of(e).sum()) for e in batch)
    parts = micro_batches([len(e.ids) for e in batch], limit, padded=trainee.layout == "padded")
    sums: list[Tensor] = []
    for part in parts:
        loss = forward_loss(trainee, [batch[i] for i in part]) / total
        loss.backward()
        sums.append(loss.detach())
    return torch.stack(sums).sum()


def _checkpoint_path(scratch: Path, step: int) -> Path:
    return scratch / "checkpoints" / f"step-{step:05d}"


def _checkpoint(trainee: Trainee, source: Path, scratch: Path, sft: Sft, step: int) -> None:
    final = _checkpoint_path(scratch, step)
    partial = final.with_suffix(".partial")
    for folder in (partial, final):
        shutil.rmtree(folder, ignore_errors=True)
    if sft.lora is None:
        folders.save_model(trainee.model, source=source, out=partial, dtype=trainee.compute)
    else:
        adapters.save_adapter(trainee.model, partial)
    partial.rename(final)


def _publish(scratch: Path, out: Path, losses: list[dict[str, Any]], sft: Sft) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for step in sorted(set(sft.checkpoints)):
        shutil.move(_checkpoint_path(scratch, step), out / f"step-{step:05d}")
    (out / "losses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in losses))
    shutil.rmtree(scratch / "checkpoints", ignore_errors=True)


def _facts(trainee: Trainee, sft: Sft, losses: list[dict[str, Any]], *, kept: int, dropped: int) -> Facts:
    mixture = folders.is_mixture(trainee.model)
    facts: Facts = {
        "examples": kept,
        "dropped_overlong": dropped,
        "epochs": sft.steps * sft.batch_size / kept,
        "trained_tokens": sum(r["tokens"] for r in losses),
        "parameters_trained": sum(p.numel() for p in trainee.params),
        "layout": trainee.layout,
        "master_dtype": "float32",
        "compute_dtype": sft.compute_dtype,
        "saved_dtype": "float32" if sft.lora else sft.compute_dtype,
        "final_loss": losses[-1]["loss"] if losses else None,
    }
    if mixture:
        facts["router_auxiliary_loss"] = False
        facts["experts_trained"] = adapters.trains_experts(trainee.model)
    if trainee.device.startswith("cuda"):
        facts["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(trainee.device) / 2**30, 2)
    return facts
