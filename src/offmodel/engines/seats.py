"""One member's place in a cohort: its row, optimizer, schedule, losses, states and checkpoints.

This module refuses to know other members. Invariant: what a seat writes, checkpoints, losses and states, has the form
that a lone training of the same settings writes.
"""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from offmodel.engines import adapters
from offmodel.engines.bank import Bank
from offmodel.engines.batches import Limit, batch_indices
from offmodel.engines.cohort_pass import Factors
from offmodel.engines.forward import Body, asked_of, weights_of
from offmodel.engines.ledger import Pending
from offmodel.engines.loop import LOOK, found_state, key_of
from offmodel.engines.optimizers import rate_at
from offmodel.engines.outcome import checkpoint_path, counts_of, facts_of, publish, whole
from offmodel.engines.rendering import Example
from offmodel.engines.resume import save_state
from offmodel.engines.starts import Starts
from offmodel.engines.support import supported
from offmodel.store.recipe import Facts

if TYPE_CHECKING:
    from offmodel.engines.cohort import Member

_MOMENTS = ("exp_avg", "exp_avg_sq")
# Checkpoints are written beside the next steps, those of several members at a time.
_WRITERS = ThreadPoolExecutor(4, thread_name_prefix="checkpoint")


@final
class Seat:
    """A member, which will sit in a row of the bank.

    Args:
        index: its place in the list of members.
        member: what to train.
        kept: indices of the examples to train on.
        body: the base.
        bank: the adapters.
        starts: of adapters on the base.
        limit: of a forward pass that weighs tokens.
    """

    def __init__(
        self, index: int, member: "Member", kept: list[int], body: Body, bank: Bank, starts: Starts, limit: Limit
    ):
        assert member.sft.lora is not None
        self.index, self.member, self.kept, self.sft, self.lora = index, member, kept, member.sft, member.sft.lora
        self.bank, self.row = bank, -1
        self.examples = list(member.examples)
        if self.sft.objective.support is not None:
            with bank.off():
                self.examples = supported(body, member.examples, kept, self.sft.objective.support, limit)
        with bank.out():
            self.names, self.config, tensors = starts.of(member.adapter, self.sft)
        self.scale = adapters.scale_of(json.loads(self.config))
        self.key = key_of(member.examples, kept, self.sft)
        found = found_state(member.scratch, self.key, self.sft.checkpoints)
        self.step, self.losses, self._state = found or (0, [], {f"{i}.weight": t for i, t in enumerate(tensors)})
        self.start = self.step
        look = LOOK[body.device.split(":")[0]]
        self.pending = Pending(self.losses, self.sft, look=look, progress=member.progress)
        self.began = self.saved_at = time.monotonic()
        self.tokens = 0
        self._writing: Future[None] | None = None
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        return self.step >= self.sft.steps

    def sit(self, row: int) -> None:
        """Take a row: write the start into it and make the optimizer of it."""
        self.row = row
        self.bank.write(self.bank.flat_CP[row], self._of_state("weight"))
        self.bank.grad_CP[row].zero_()
        p, s = self.bank.row(row), self.sft
        groups = [{"params": [p], "weight_decay": s.weight_decay}]
        self.optimizer = torch.optim.AdamW(groups, lr=s.learning_rate, betas=(s.beta1, s.beta2), eps=1e-8, fused=True)
        if "0.step" in self._state:
            state = {"step": self._state["0.step"].to(p.device)}
            for name in _MOMENTS:
                state[name] = torch.zeros_like(p, requires_grad=False)
                self.bank.write(state[name], self._of_state(name))
            self.optimizer.state[p] = state
        self._state = {}
        if self.step == 0 and 0 in self.sft.checkpoints:
            self._checkpoint()

    def _of_state(self, name: str) -> list[Tensor]:
        return [self._state[f"{i}.{name}"] for i in range(len(self.names))]

    def move(self, row: int) -> None:
        """Go to another row, into which the weights were copied."""
        optimizer = self._optimizer()
        old, new = optimizer.param_groups[0]["params"][0], self.bank.row(row)
        self.row = row
        optimizer.param_groups[0]["params"] = [new]
        if old in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)

    def _optimizer(self) -> torch.optim.Optimizer:
        assert self.optimizer is not None, "seated"
        return self.optimizer

    def draw(self) -> tuple[list[Example], list[int]]:
        """The examples of the next step, and their names."""
        s = self.sft
        indices = batch_indices(len(self.kept), batch_size=s.batch_size, seed=s.seed, step=self.step)
        names = [self.kept[i] for i in indices]
        return [self.examples[i] for i in names], names

    def factors(self) -> Factors:
        """The weights of the objective's terms at the next step."""
        objective = self.sft.objective
        found = {"cross_entropy": objective.cross_entropy} if objective.cross_entropy else {}
        kl = objective.kl
        if kl is not None and (kl.steps is None or self.step < kl.steps):
            found[f"{kl.direction}_kl"] = kl.weight
        return found

    def step_on(self, parts: dict[str, Tensor], norm: Tensor, batch: tuple[list[Example], list[int]]) -> None:
        """Let the optimizer use the row's gradient, and book the step."""
        rate = rate_at(self.sft, self.step)
        optimizer = self._optimizer()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        rows, names = batch
        self.tokens += sum(len(e.ids) for e in rows)
        tokens = sum(len(asked_of(e).at) for e in rows)
        self.pending.note(self.step, parts, norm, names, tokens=tokens, rate=rate)
        self.step += 1

    def look_and_save(self, resume_every_s: float) -> None:
        """Read the losses if it is time; write what is due.

        Raises:
            NonFiniteLoss: a step was not finite.
        """
        due = self.step in self.sft.checkpoints
        save = time.monotonic() - self.saved_at > resume_every_s and not self.done
        if due or self.done or self.pending.full:
            self.pending.settle()
        if due:
            self._checkpoint()
        if save:
            self.save()
        self.pending.tell()

    def save(self) -> None:
        """Write the state from which this member, alone or in company, goes on.

        Raises:
            NonFiniteLoss: a step was not finite; a state without its row would hide that.
        """
        self.pending.settle()
        self._written()
        weights = self.bank.read(self.bank.flat_CP[self.row], self.lora.rank)
        tensors = {f"{i}.weight": t for i, t in enumerate(weights)}
        optimizer = self._optimizer()
        state = optimizer.state.get(optimizer.param_groups[0]["params"][0], {})
        for name in _MOMENTS if state else ():
            tensors |= {f"{i}.{name}": t for i, t in enumerate(self.bank.read(state[name], self.lora.rank))}
        tensors |= {f"{i}.step": state["step"].clone() for i in range(len(weights)) if state}
        save_state(self.member.scratch, step=self.step, key=self.key, losses=self.losses, tensors=tensors)
        self.saved_at = time.monotonic()

    def publish(self, body: Body) -> Facts:
        """Move the checkpoints to their place; gives the facts of a lone training, with times of the company."""
        self._written()
        publish(self.member.scratch, self.member.out, self.losses, self.sft.checkpoints)
        seconds = time.monotonic() - self.began
        parameters = sum(t.numel() for t in self.bank.read(self.bank.flat_CP[self.row], self.lora.rank))
        facts = facts_of(body, self.sft, self.losses, parameters=parameters)
        facts |= counts_of(self.sft, kept=len(self.kept), of=len(self.member.examples))
        if self.sft.objective.support is not None:
            facts["target_tokens_left_out"] = sum(int((weights_of(self.examples[i]) == 0).sum()) for i in self.kept)
        speed = {"tokens_processed": self.tokens, "tokens_per_second": round(self.tokens / max(seconds, 1e-9))}
        return facts | {"resumed_from_step": self.start, "seconds_in_cohort": round(seconds, 3)} | speed

    def _checkpoint(self) -> None:
        self._written()
        flat_P = self.bank.flat_CP[self.row].to("cpu", copy=True)
        self._writing = _WRITERS.submit(self._write, self.step, self.bank.read(flat_P, self.lora.rank))

    def _write(self, step: int, tensors: list[Tensor]) -> None:
        with whole(checkpoint_path(self.member.scratch, step)) as partial:
            adapters.write_adapter(partial, dict(zip(self.names, tensors, strict=True)), self.config)

    def rest(self) -> None:
        """Wait until nothing is written any more, whatever became of it: for a member that is not published."""
        wait([self._writing] if self._writing is not None else [])

    def _written(self) -> None:
        """Wait for the last checkpoint; raises what its writing raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
