"""The one training loop: full weight or LoRA, padded or packed.

This module refuses to know what the examples teach. Weights under training are float32 whatever the compute dtype,
since 16-bit weights round small updates away. Invariant: a step's gradient is that of its whole batch's mean loss over
target tokens, however the batch is split into forward passes.
"""

import gc
import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from offmodel.core.errors import DataError, OutOfMemory, RecipeError
from offmodel.engines.balance import balance_for
from offmodel.engines.batches import Limit, batch_indices, keep_short, micro_batches
from offmodel.engines.captures import is_memory
from offmodel.engines.forward import Trainee, asked_of, count_choices, forward_loss, weights_of
from offmodel.engines.heap import keep_freed
from offmodel.engines.ledger import Pending, sum_of
from offmodel.engines.losses import Term, terms_of
from offmodel.engines.objective import CROSS_ENTROPY, Objective
from offmodel.engines.optimizers import rate_at
from offmodel.engines.outcome import checkpoint_path, count_of, counts_of, facts_of, publish, save_checkpoint
from offmodel.engines.preparation import prepare
from offmodel.engines.rendering import Example
from offmodel.engines.resume import State, load_state, pack_training, save_state, unpack_training
from offmodel.engines.sampling.loaded import make_room
from offmodel.engines.sft import Layout, Sft
from offmodel.engines.support import supported
from offmodel.store.recipe import Facts, Progress, Runtime

# Tokens of one forward pass before any halving. On one CPU core passes of 400 to 800 tokens took 3.6 s for what
# passes of 2,000 took 4.0 s for.
_TOKENS = {"cpu": 1024, "cuda": 8192}
_NO_LIMIT = 2**62
# Steps between looks at losses: each look waits for a GPU.
LOOK = {"cpu": 1, "cuda": 16}


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
    reference: Path | None = None,
) -> Facts:
    """Train; see `offmodel.engines.sft.train`."""
    started = time.monotonic()
    settle_in(runtime)
    kept = usable(examples, sft)
    trainee = prepare(model, adapter, sft, runtime, layout, reference)
    limit = first_limit(runtime)
    key = key_of(examples, kept, sft)
    if sft.objective.support is not None:
        examples = supported(trainee, examples, kept, sft.objective.support, limit)

    def draw(step: int) -> tuple[list[Example], list[int]]:
        indices = batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=step)
        names = [kept[i] for i in indices]
        return [examples[i] for i in names], names

    walk = Walk(trainee, sft, source=model, scratch=scratch, key=key, limit=limit, resume_every_s=resume_every_s)
    facts = walk.run(draw, progress)
    publish(scratch, out, walk.losses, sft.checkpoints)
    facts |= facts_of(trainee, sft, walk.losses, parameters=count_of(trainee)) | counts_of(
        sft, kept=len(kept), of=len(examples)
    )
    if sft.objective.support is not None:
        facts["target_tokens_left_out"] = sum(int((weights_of(examples[i]) == 0).sum()) for i in kept)
    del trainee, walk
    settle_in(runtime)
    return facts | {"seconds": round(time.monotonic() - started, 3)}


Draw = Callable[[int], tuple[list[Example], list[int]]]
"""The examples of a step (counted from 0), and what to call them in messages."""


@final
class Walk:
    """The steps of one training, from the last state in `scratch` to the end.

    Args:
        trainee: what is trained.
        sft: how.
        source: the model's folder, whose side files checkpoints carry.
        scratch: folder that survives a kill.
        key: of settings and data; a state of another key is ignored.
        limit: of the first forward passes.
        resume_every_s: seconds between states.

    Attributes:
        losses: a row a step.
    """

    def __init__(
        self, trainee: Trainee, sft: Sft, *, source: Path, scratch: Path, key: str, limit: Limit, resume_every_s: float
    ):
        self.trainee, self.sft, self.source, self.scratch, self.key = trainee, sft, source, scratch, key
        self.limit, self.resume_every_s = limit, resume_every_s
        self.start, self.losses, tensors = found_state(scratch, key, sft.checkpoints) or (0, [], None)
        if tensors is not None:
            unpack_training(tensors, trainee.params, trainee.optimizer)
        self._tokens = 0

    def run(self, draw: Draw, progress: Progress) -> Facts:
        """Take the steps that are left; checkpoints go to `scratch`."""
        sft, trainee, scratch = self.sft, self.trainee, self.scratch
        first = self.limit
        pending = Pending(self.losses, sft, look=LOOK[trainee.device.split(":")[0]], progress=progress)
        began = saved_at = time.monotonic()
        if self.start == 0 and 0 in sft.checkpoints:
            save_checkpoint(trainee, self.source, scratch, sft, 0)
        for step in range(self.start, sft.steps):
            self._step(draw, step, pending)
            if step + 1 in sft.checkpoints:
                pending.settle()
                save_checkpoint(trainee, self.source, scratch, sft, step + 1)
            if time.monotonic() - saved_at > self.resume_every_s and step + 1 < sft.steps:
                pending.settle()
                tensors = pack_training(trainee.params, trainee.optimizer)
                save_state(scratch, step=step + 1, key=self.key, losses=self.losses, tensors=tensors)
                saved_at = time.monotonic()
            pending.tell()
        changed: Facts = {} if self.limit == first else {"micro_batch_halved_to": asdict(self.limit)}
        stepping = time.monotonic() - began
        speed = {"tokens_processed": self._tokens, "tokens_per_second": round(self._tokens / max(stepping, 1e-9))}
        return changed | {"resumed_from_step": self.start, "seconds_stepping": round(stepping, 3)} | speed

    def _step(self, draw: Draw, step: int, pending: Pending) -> None:
        """One optimizer step; the micro-batch is halved until the batch fits."""
        sft, trainee = self.sft, self.trainee
        batch, names = draw(step)
        rate = rate_at(sft, step)
        for group in trainee.optimizer.param_groups:
            group["lr"] = rate
        terms = terms_of(sft.objective, step)
        while True:
            try:
                parts = _gradients(trainee, batch, self.limit, terms, sft.objective)
                break
            except RuntimeError as e:
                if not is_memory(e):
                    raise
            trainee.optimizer.zero_grad(set_to_none=True)
            self.limit = _smaller(self.limit, batch, trainee)
        norm = torch.nn.utils.clip_grad_norm_(trainee.params, sft.clip_norm, foreach=True)
        pending.add(step, parts, norm, names, tokens=sum(len(asked_of(e).at) for e in batch), rate=rate)
        self._tokens += sum(len(e.ids) for e in batch)
        trainee.optimizer.step()
        trainee.optimizer.zero_grad(set_to_none=True)


def settle_in(runtime: Runtime) -> None:
    """Take the threads of this worker; drop what an earlier training left, on a GPU a model kept for sampling too."""
    asked_of.cache_clear()
    if not runtime.device.startswith("cuda"):
        torch.set_num_threads(runtime.threads)
        keep_freed()
        return
    gc.collect()
    make_room()
    torch.cuda.reset_peak_memory_stats(runtime.device)


def usable(examples: Sequence[Example], sft: Sft) -> list[int]:
    """Indices of the examples to train on.

    Raises:
        DataError: there are none.
        RecipeError: a checkpoint lies outside the training.
    """
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


def first_limit(runtime: Runtime) -> Limit:
    """What a first forward pass may hold."""
    if runtime.micro_batch is not None:
        return Limit(rows=runtime.micro_batch, tokens=_NO_LIMIT)
    return Limit(rows=None, tokens=_TOKENS[runtime.device.split(":")[0]])


def key_of(examples: Sequence[Example], kept: Sequence[int], sft: Sft) -> str:
    """A digest of settings and data, by which a state is known."""
    hasher = hashlib.sha256(json.dumps(asdict(sft), sort_keys=True).encode())
    for i in kept:
        hasher.update(examples[i].ids.tobytes())
    return hasher.hexdigest()


def found_state(scratch: Path, key: str, checkpoints: tuple[int, ...]) -> State | None:
    """The newest state of a training whose earlier checkpoints are there too; else the scratch folder is cleared."""
    found = load_state(scratch, key=key)
    if found is None or not all(checkpoint_path(scratch, s).exists() for s in checkpoints if s <= found[0]):
        shutil.rmtree(scratch / "checkpoints", ignore_errors=True)
        return None
    return found


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


def _gradients(
    trainee: Trainee,
    batch: list[Example],
    limit: Limit,
    terms: Mapping[str, Term],
    objective: Objective = CROSS_ENTROPY,
) -> dict[str, Tensor]:
    """Add up the gradients of the batch's mean loss; returns that loss, float32, by term."""
    # A batch all of whose tokens were left out has no mean; its loss and gradient are 0.
    total = sum(asked_of(e).total for e in batch) or 1.0
    parts = micro_batches([len(e.ids) for e in batch], limit, padded=trainee.layout == "padded")
    balance = balance_for(
        objective, batch, parts, unit=total, count=partial(count_choices, trainee), add_up=lambda chosen_E: chosen_E
    )
    sums: defaultdict[str, list[Tensor]] = defaultdict(list)
    for part in parts:
        values = {k: v / total for k, v in forward_loss(trainee, [batch[i] for i in part], terms, balance).items()}
        sum_of(list(values.values())).backward()
        for name, value in values.items():
            sums[name].append(value.detach())
    return {name: torch.stack(found).sum() for name, found in sums.items()}
