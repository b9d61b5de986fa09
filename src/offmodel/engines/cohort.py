"""Many LoRA trainings of one base in one batch: forward and backward passes are shared, all else is each member's own.

Data, order, learning rate, warm-up, steps, objective, rank, seed and optimizer belong to a member. Members start from
zero, from an earlier adapter or from the state that a kill left; who is done leaves, and who waits takes the place. A
member's state has the form of a lone training's, so either can go on from the other's. This module refuses to know what
members are for. Invariant: a member's result equals that of training it alone, up to the rounding of floating point.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from offmodel.core.errors import OffmodelError, OutOfMemory, RecipeError
from offmodel.engines import adapters, norms
from offmodel.engines.bank import Bank, numbers
from offmodel.engines.batches import Limit
from offmodel.engines.captures import is_memory
from offmodel.engines.cohort_pass import Entry, passes_of, summed_losses
from offmodel.engines.forward import Body, Reference, asked_of
from offmodel.engines.graphs import RANKS, Graphs, serves, wanted
from offmodel.engines.loop import first_limit, settle_in, usable
from offmodel.engines.memory import available_bytes
from offmodel.engines.preparation import prepare_frozen
from offmodel.engines.rendering import Example
from offmodel.engines.seats import Seat
from offmodel.engines.sft import Layout, Sft
from offmodel.engines.starts import Starts
from offmodel.store.recipe import Facts, Progress, Runtime

# Of the memory that is free once the base is there; the rest is for activations.
_SHARE_FOR_ADAPTERS = 0.5
# Weights, gradients and two moments in float32, and the 16-bit copy of a pass with its gradient.
_BYTES_A_NUMBER = 20
# Most tokens of a pass that is enlarged: beyond this a GPU gains nothing from more.
_MOST_TOKENS = 16384
# Of the memory that is free beside a pass; allocations leave gaps.
_SHARE_FOR_A_PASS = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One training of a cohort; the fields are those of `sft.train`, and `sft.lora` is not None."""

    adapter: Path | None
    examples: Sequence[Example]
    sft: Sft
    out: Path
    scratch: Path
    progress: Progress


Result = tuple[int, Facts | OffmodelError]
"""A member's place in the list, and its facts, or why it was stopped."""


def train_cohort(
    *,
    model: Path,
    members: Sequence[Member],
    runtime: Runtime,
    layout: Layout = "auto",
    resume_every_s: float = 300.0,
    room: int | None = None,
) -> Iterator[Result]:
    """Train adapters together; yields each member as it is done, or stopped for a reason of its own.

    Args:
        model: Hugging Face folder of the base, also the frozen reference of the members' objectives.
        members: what to train.
        runtime: device, threads, micro-batch (sequences in one forward pass, of all members).
        layout: see `sft.train`; "auto" takes no packing that one member's infinities could cross.
        resume_every_s: seconds between the states written to the members' `scratch`.
        room: most members at a time; None takes as many as the free memory holds.

    Raises:
        RecipeError: the members differ in targets or compute dtype, or one has no adapter.
        OutOfMemory: a single sequence of a single member does not fit.
    """
    _check(members)
    settle_in(runtime)
    results: list[Result] = []
    kept: dict[int, list[int]] = {}
    for i, member in enumerate(members):
        try:
            found = usable(member.examples, member.sft)
            if member.adapter is not None and member.sft.lora is not None:
                config = adapters.read_config(member.adapter)
                adapters.check_fits(config, member.sft.lora)
                adapters.check_plain(config, "target_parameters")
            kept[i] = found
        except OffmodelError as error:
            results.append((i, error))
    yield from results
    if kept:
        yield from _Cohort(model, members, kept, runtime, layout, resume_every_s, room).run()
    settle_in(runtime)


def _check(members: Sequence[Member]) -> None:
    kinds = {(None if m.sft.lora is None else m.sft.lora.targets, m.sft.compute_dtype) for m in members}
    if len(kinds) != 1:
        raise RecipeError(
            f"The members of a cohort share LoRA targets and compute dtype, not {sorted(map(str, kinds))}."
        )
    if others := sorted({m.sft.optimizer for m in members} - {"adamw"}):
        raise RecipeError(f"A cohort trains with adamw, not with {', '.join(others)}; train these members alone.")
    if any(m.sft.objective.load_balancing for m in members):
        raise RecipeError("A cohort's passes mix batches, so it balances no experts' load; train these members alone.")
    ((targets, _),) = kinds
    if targets != "all-linear":
        raise RecipeError(f"A cohort trains adapters on 'all-linear', not on '{targets}'; train these members alone.")


@final
class _Cohort:
    """A base with its bank; `seats[k]` is the member in row k."""

    def __init__(
        self,
        model: Path,
        members: Sequence[Member],
        kept: dict[int, list[int]],
        runtime: Runtime,
        layout: Layout,
        resume_every_s: float,
        room: int | None,
    ):
        self.members, self.kept, self.resume_every_s = members, kept, resume_every_s
        body = prepare_frozen(model, members[0].sft.compute_dtype, runtime, layout)
        self.targets, self.starts = adapters.linear_targets(body.base), Starts(body.base)
        rank = max(members[i].sft.lora.rank for i in kept)  # type: ignore[union-attr] -- checked
        rank = -(-rank // RANKS) * RANKS if wanted(runtime) else rank
        size = numbers([body.base.get_submodule(name) for name in self.targets], rank)
        fits = max(1, int(_SHARE_FOR_ADAPTERS * available_bytes(runtime.device) / (_BYTES_A_NUMBER * size)))
        self.room = min(len(kept), fits if room is None else room)
        self.notice = {} if self.room == len(kept) else {"cohort_held_at_a_time": self.room}
        self.bank = Bank(body.base, self.targets, capacity=self.room, rank=rank, dtype=body.master)
        self.body: Body = replace(body, reference=Reference(decoder=body.decoder, head=body.head, switch=self.bank.off))
        self.waiting = deque(sorted(kept))
        self.seats: list[Seat] = []
        self.limit = self.first_limit = first_limit(runtime)
        self.graphs: Graphs | None = None
        if wanted(runtime) and runtime.micro_batch is None and serves(body, self.bank):
            longest = max(len(members[i].examples[j].ids) for i, places in kept.items() for j in places)
            self.graphs = Graphs(self.body, self.bank, longest)
            if runtime.device.startswith("cuda"):
                norms.fuse(body.base)

    def run(self) -> Iterator[Result]:
        """All members, as they get done."""
        try:
            while self.waiting or self.seats:
                yield from self._admit()
                yield from self._finish(self._tick())
        finally:
            for seat in self.seats:
                seat.rest()

    def _admit(self) -> list[Result]:
        """Seat those who wait, as far as there is room; gives those who cannot be seated."""
        fresh: list[Seat] = []
        refused: list[Result] = []
        while self.waiting and len(self.seats) + len(fresh) < self.room:
            i = self.waiting.popleft()
            try:
                fresh.append(Seat(i, self.members[i], self.kept[i], self.body, self.bank, self.starts, self.limit))
            except OffmodelError as error:
                refused.append((i, error))
        for seat in fresh:
            self.seats.append(seat)
            self.bank.use(len(self.seats))
            seat.sit(len(self.seats) - 1)
        return refused

    def _tick(self) -> list[Result]:
        """One step of every member that has one left; gives those that are done or stopped."""
        results: list[Result] = []
        while True:
            active = [s for s in self.seats if not s.done]
            try:
                self._gradients(active)
                break
            except OutOfMemory:
                if len(self.seats) == 1:
                    raise
            results += self._send_back()
        for seat in self.seats:
            try:
                if seat in active:
                    seat.look_and_save(self.resume_every_s)
            except OffmodelError as error:
                results.append((seat.index, error))
                continue
            if seat.done:
                results.append((seat.index, self._facts(seat)))
        return results

    def _gradients(self, active: list[Seat]) -> None:
        """Forward, backward, clipping and the optimizers' steps."""
        if not active:
            return
        batches = {seat.row: seat.draw() for seat in active}
        before = self._allocated()
        values = self._passes(active, batches)
        self._enlarge(before, batches)
        grad_KP = self.bank.grad_CP[: self.bank.used]
        norms_K = torch.linalg.vector_norm(grad_KP, dim=1)
        clips_K = torch.tensor([s.sft.clip_norm for s in self.seats], dtype=norms_K.dtype)
        factors_K = (clips_K.to(norms_K.device, non_blocking=True) / (norms_K + 1e-6)).clamp(max=1.0)
        grad_KP.mul_(factors_K[:, None])
        # A row that is not finite is stopped at the next look; until then its weights stay what they were.
        grad_KP.masked_fill_(~torch.isfinite(norms_K)[:, None], 0.0)
        for seat in active:
            parts = {name: sums_K[seat.row] for name, sums_K in values[seat.row].items()}
            seat.step_on(parts, norms_K[seat.row], batches[seat.row])
        grad_KP.zero_()

    def _passes(
        self, active: list[Seat], batches: dict[int, tuple[list[Example], list[int]]]
    ) -> dict[int, dict[str, Tensor]]:
        """Add up all gradients; gives the loss terms of each row, as vectors over rows."""
        entries: list[Entry] = []
        for seat in active:
            rows = batches[seat.row][0]
            total = sum(asked_of(e).total for e in rows) or 1.0
            entries += [Entry(seat.row, e, total) for e in rows]
        scales = [s.scale for s in self.seats]
        factors = [s.factors() for s in self.seats]
        while True:
            static = self.graphs.summed if self.graphs is not None and self.graphs.off is None else None
            drops = self._drops()
            try:
                return summed_losses(self.body, self.bank, entries, scales, factors, self.limit, static)
            except RuntimeError as error:
                if not is_memory(error):
                    raise
            self._shrink(entries, lighter=self._drops() > drops)

    def _drops(self) -> int:
        return 0 if self.graphs is None else self.graphs.drops

    def _allocated(self) -> int:
        return torch.cuda.memory_allocated(self.body.device) if self.body.device.startswith("cuda") else 0

    def _enlarge(self, before: int, batches: dict[int, tuple[list[Example], list[int]]]) -> None:
        """After the first passes on a GPU: larger ones, as far as memory was seen to hold them."""
        if self.graphs is not None and self.graphs.capturing:
            return
        held = sum(len(e.ids) for rows, _ in batches.values() for e in rows)
        if not before or self.limit != self.first_limit or self.limit.rows is not None or held <= self.limit.tokens:
            return
        peak = torch.cuda.max_memory_allocated(self.body.device) - before
        # A captured pass keeps its memory, beside which the next shape runs plainly once.
        share = _SHARE_FOR_A_PASS if self.graphs is None else _SHARE_FOR_A_PASS / 2
        moments = 2 * self.bank.grad_CP[0].nbytes * sum(s.step == s.start for s in self.seats)
        free = available_bytes(self.body.device) - moments
        tokens = int(share * free * self.limit.tokens / max(peak, 1))
        if tokens > self.limit.tokens:
            self.limit = self.first_limit = replace(self.limit, tokens=min(tokens, _MOST_TOKENS))

    def _shrink(self, entries: list[Entry], *, lighter: bool) -> None:
        """Smaller passes after memory ran out; or, if dropped graphs made it `lighter`, the smallest once more."""
        self.bank.grad_CP.zero_()
        self.bank.segments = None
        if self.body.device.startswith("cuda"):
            torch.cuda.empty_cache()
        padded = self.body.layout == "padded"
        before = len(passes_of(entries, self.limit, padded=padded))
        if before == len(entries):
            if lighter:
                return
            raise OutOfMemory(
                "A single sequence does not fit into memory beside this cohort; lower max_tokens, or give the cohort "
                f"less than {self.room} members."
            )
        while len(passes_of(entries, self.limit, padded=padded)) == before:
            longest = max(len(e.example.ids) for e in entries)
            self.limit = replace(self.limit, tokens=min(self.limit.tokens, 2 * longest * len(entries))).halved()

    def _send_back(self) -> list[Result]:
        """Half of the members wait until the others are done; their states are kept. Gives those that are stopped."""
        self.room = len(self.seats) // 2
        stopped: list[Result] = []
        for seat in self.seats[self.room :]:
            try:
                seat.save()
            except OffmodelError as error:
                stopped.append((seat.index, error))
                continue
            self.waiting.append(seat.index)
            self.members[seat.index].progress(seat.step / seat.sft.steps, "waits: memory holds fewer members at a time")
        del self.seats[self.room :]
        self.bank.resize(self.room)
        if self.graphs is not None:
            self.graphs.forget()
        self.bank.use(self.room)
        for seat in self.seats:
            seat.move(seat.row)
        self.limit = self.first_limit
        self.notice = {"cohort_held_at_a_time": self.room}
        return stopped

    def _facts(self, seat: Seat) -> Facts | OffmodelError:
        changed: Facts = {} if self.limit == self.first_limit else {"micro_batch_halved_to": _plain(self.limit)}
        changed |= {} if self.graphs is None else self.graphs.facts()
        return seat.publish(self.body) | changed | self.notice | {"cohort": len(self.kept)}

    def _finish(self, results: list[Result]) -> Iterator[Result]:
        """Free the rows of those who leave: the last row moves into the gap."""
        gone = {i for i, _ in results}
        for seat in [s for s in self.seats if s.index in gone]:
            seat.rest()
            last = self.seats.pop()
            if last is not seat:
                self.bank.move(last.row, seat.row)
                last.move(seat.row)
                self.seats[seat.row] = last
        if gone:
            self.bank.use(len(self.seats))
        yield from results


def _plain(limit: Limit) -> dict[str, int | None]:
    return {"rows": limit.rows, "tokens": limit.tokens}
