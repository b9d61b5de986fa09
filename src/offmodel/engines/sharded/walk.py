"""The steps of one training, walked by all processes together.

Each process takes its share of a step's sequences; gradients are summed over processes by FSDP, in float32. This
module refuses to know how the model was cut. Invariant: a step's gradient is that of the whole batch's mean loss over
target tokens, as on one device.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from offmodel.engines.balance import balance_for
from offmodel.engines.batches import Limit, batch_indices
from offmodel.engines.forward import count_choices, forward_loss, weights_of
from offmodel.engines.ledger import Pending, sum_of
from offmodel.engines.losses import Term, terms_of
from offmodel.engines.optimizers import rate_at
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Sft
from offmodel.engines.sharded.model import Whole
from offmodel.engines.sharded.split import passes
from offmodel.engines.sharded.state import load_state, save_checkpoint, save_state, trained
from offmodel.store.recipe import Facts, Progress

_LOOK = {"cpu": 1, "cuda": 16}


@final
class ShardedWalk:
    """The steps of one training, from the last state in `scratch` to the end.

    Args:
        whole: the sharded model.
        optimizer: of its trained parameters.
        sft: how to train.
        source: the model's folder, whose side files checkpoints carry.
        scratch: folder that survives a kill.
        key: of settings and data, without the number of processes.
        limit: of one forward pass.
        resume_every_s: seconds between states.
    """

    def __init__(
        self,
        whole: Whole,
        optimizer: torch.optim.Optimizer,
        sft: Sft,
        *,
        source: Path,
        scratch: Path,
        key: str,
        limit: Limit,
        resume_every_s: float,
    ):
        self.whole, self.optimizer, self.sft, self.source = whole, optimizer, sft, source
        self.scratch, self.key, self.limit, self.resume_every_s = scratch, key, limit, resume_every_s
        self.params = list(trained(whole).values())
        self.start, self.losses = load_state(whole, optimizer, scratch, key=key, sft=sft)

    def run(self, examples: Sequence[Example], kept: Sequence[int], progress: Progress) -> Facts:
        """Take the steps that are left; checkpoints go to `scratch`."""
        sft = self.sft
        look = _LOOK[self.whole.body.device.split(":")[0]]
        pending = Pending(self.losses, sft, look=look, progress=progress)
        began = saved_at = time.monotonic()
        tokens = 0
        if self.start == 0 and 0 in sft.checkpoints:
            self._save_checkpoint(0)
        for step in range(self.start, sft.steps):
            names = [kept[i] for i in batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=step)]
            batch = [examples[i] for i in names]
            self._step(batch, names, step, pending)
            tokens += sum(len(e.ids) for e in batch)
            if step + 1 in sft.checkpoints:
                pending.settle()
                self._save_checkpoint(step + 1)
            if (step + 1) % look == 0 and step + 1 < sft.steps and self._due(saved_at):
                pending.settle()
                save_state(self.whole, self.optimizer, self.scratch, step=step + 1, key=self.key, losses=self.losses)
                saved_at = time.monotonic()
            pending.tell()
        stepping = time.monotonic() - began
        speed = {"tokens_processed": tokens, "tokens_per_second": round(tokens / max(stepping, 1e-9))}
        return {"resumed_from_step": self.start, "seconds_stepping": round(stepping, 3)} | speed

    def _due(self, saved_at: float) -> bool:
        """Whether it is time for a state, by the clock of the first process."""
        late = torch.tensor(float(time.monotonic() - saved_at > self.resume_every_s), device=self.whole.body.device)
        dist.broadcast(late, 0)
        return bool(late.item())

    def _save_checkpoint(self, step: int) -> None:
        save_checkpoint(self.whole, self.source, self.scratch, self.sft, step)

    def _step(self, batch: list[Example], names: list[int], step: int, pending: Pending) -> None:
        rate = rate_at(self.sft, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self._gradients(batch, terms_of(self.sft.objective, step))
        grads = [p.grad for p in self.params if p.grad is not None]
        norm: Any = get_total_norm(grads, foreach=True)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        clip_grads_with_norm_(self.params, self.sft.clip_norm, norm, foreach=True)
        pending.add(step, parts, norm, names, tokens=sum(int(e.mask[1:].sum()) for e in batch), rate=rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, batch: list[Example], terms: Mapping[str, Term]) -> dict[str, Tensor]:
        """Add up the gradients of this process' share; returns the whole batch's loss by term."""
        world, padded = dist.get_world_size(), self.whole.body.layout == "padded"
        total = sum(float(weights_of(e).sum()) for e in batch) or 1.0
        mine = passes([len(e.ids) for e in batch], world, self.limit, padded=padded)[dist.get_rank()]
        balance = balance_for(self.sft.objective, batch, mine, unit=total, count=self._count, add_up=_add_up)
        sums: list[Tensor] = []
        names: list[str] = []
        for part in mine:
            rows = [batch[i] for i in part]
            values = self.whole(lambda body, rows=rows: forward_loss(body, rows, terms, balance))
            names = list(values)
            # FSDP takes the mean over processes, and the batch's mean is their sum.
            sum_of([v * (world / total) for v in values.values()]).backward()
            sums.append(torch.stack([v.detach() / total for v in values.values()]))
        found = _add_up(torch.stack(sums).sum(0))
        return dict(zip(names, found.unbind(), strict=True))

    def _count(self, rows: list[Example]) -> Tensor:
        return self.whole.look(lambda body: count_choices(body, rows))


def _add_up(values: Tensor) -> Tensor:
    """The sum over processes."""
    dist.all_reduce(values)
    return values
