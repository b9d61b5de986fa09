"""Passes of a cohort, or of one adapter, as captured CUDA graphs: a step then costs its arithmetic, not its launches.

A pass over a small model is some thousand kernels of microseconds each, and Python needs longer to launch them than a
GPU to run them. Passes are rounded up to a few shapes; each shape runs plainly once, is captured then, and is replayed
from then on. Without a GPU the same padded passes run as they are. This module refuses to know optimizers.
Invariant: what a replay adds to gradients and losses is what the plain pass adds.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from offmodel.engines.bank import Bank
from offmodel.engines.batches import Limit
from offmodel.engines.buckets import Shape, split_evenly
from offmodel.engines.captures import captured, is_memory
from offmodel.engines.forward import Body
from offmodel.engines.stage import Stage, grouped_works
from offmodel.engines.static_pass import StaticPass, need_of
from offmodel.store.recipe import Facts, Runtime

if TYPE_CHECKING:
    from offmodel.engines.cohort_pass import Entry

# Each keeps its kernels' arguments; more shapes than these are run plainly.
_MOST_GRAPHS = 12
# Graphs are dropped for want of memory, and captured again, so many times.
_MOST_BEGINNINGS = 2
# Grouped products want rows of 16 bytes.
RANKS = 8


def wanted(runtime: Runtime) -> bool:
    """Whether passes are to be captured: by the runtime, else as OFFMODEL_GRAPHS says (1 or 0), else on a GPU."""
    if runtime.graphs != "auto":
        return runtime.graphs == "on"
    said = os.environ.get("OFFMODEL_GRAPHS")
    return said == "1" if said in ("0", "1") else runtime.device.startswith("cuda")


def serves(body: Body, bank: Bank) -> bool:
    """Whether this base and bank can be captured on this device: packed, and several adapters by grouped products."""
    if not body.device.startswith("cuda"):
        return body.layout != "padded"
    return body.layout == "varlen" and (bank.flat_CP.shape[0] == 1 or grouped_works(body.device, body.compute))


@final
class Graphs:
    """The captured passes of one bank: a resource that holds memory until it is dropped.

    Args:
        body: the frozen base.
        bank: the adapters; its rows may change owners, but not their addresses (see `forget`).
        longest: tokens of the longest sequence.

    Attributes:
        off: why passes are no longer captured; None while they are.
    """

    def __init__(self, body: Body, bank: Bank, longest: int):
        self._body, self._bank, self._longest = body, bank, -(-longest // 64) * 64
        self._cuda = body.device.startswith("cuda")
        self.off: str | None = None
        self._began_anew = 0
        self._captured = self._replayed = self._plain = self._steps = 0
        self._seconds = 0.0
        self._sums_C = torch.zeros(0, dtype=body.master, device=body.device)
        self.forget()

    def forget(self) -> None:
        """Drop all graphs: the bank's memory moved, or is needed."""
        self._passes: dict[Shape, tuple[StaticPass, Any]] = {}
        self._stages: dict[int, Stage] = {}
        # The memory of a pool is given back with its last graph; another capture cannot use it again.
        self._pool: Any = None
        self._aside: Any = None
        if len(self._sums_C) != self._bank.flat_CP.shape[0]:
            self._sums_C = self._sums_C.new_zeros(self._bank.flat_CP.shape[0])

    def summed(
        self,
        entries: Sequence["Entry"],
        scales: Sequence[float],
        factors: Sequence[Mapping[str, float]],
        limit: Limit,
    ) -> Tensor:
        """Add the gradients of cross-entropy to the bank; gives each row's loss, [C].

        Args:
            entries: the sequences of a step.
            scales: alpha / rank of each row.
            factors: each row's terms.
            limit: of one pass.
        """
        self._steps += 1
        self._sums_C.zero_()
        ordered = sorted(entries, key=lambda e: e.row)
        for part in split_evenly([len(e.example.ids) for e in ordered], limit.tokens):
            try:
                self._pass([ordered[i] for i in part], scales, factors)
            except torch.OutOfMemoryError:
                self._make_room()
                raise
        return self._sums_C.clone()

    def facts(self) -> Facts:
        """One line for a record."""
        done = f"{self._captured} captured in {self._seconds:.1f} s, {self._replayed} replays, {self._plain} plain"
        loss = ", fused loss" if any(p.fused for p, _ in self._passes.values()) else ""
        return {"graphs": f"{done}{loss}" if self.off is None else f"off, {self.off} ({done})"}

    def _pass(self, part: list["Entry"], scales: Sequence[float], factors: Sequence[Mapping[str, float]]) -> None:
        need = need_of(part)
        shape = self._shape_for(need)
        found, graph = self._passes.get(shape) or (self._made(shape), None)
        found.fill(part, scales, factors)
        if graph is not None:
            graph.replay()
            self._replayed += 1
            return
        # The plain pass counts, and is the warm-up that a capture needs; capturing runs nothing.
        found.run()
        self._plain += 1
        self._passes[shape] = (found, None)
        # The first step is plain: memory is measured then, and passes may become larger after it.
        if self._cuda and self.off is None and self._steps > 1 and self._held < _MOST_GRAPHS:
            self._capture(found)

    @property
    def _held(self) -> int:
        return sum(graph is not None for _, graph in self._passes.values())

    @property
    def capturing(self) -> bool:
        """Whether graphs hold memory."""
        return self._held > 0

    def _shape_for(self, need: Shape) -> Shape:
        """The tightest shape so far that serves, or a new one."""
        serving = [s for s in self._passes if s.serves(need, self._longest)]
        return min(serving, key=lambda s: (s.tokens, s.targets, s.members)) if serving else need.roomy(self._longest)

    def _made(self, shape: Shape) -> StaticPass:
        if shape.members not in self._stages:
            way = "grouped" if self._cuda else "loop"
            self._stages[shape.members] = Stage(self._bank, shape.members, self._body.compute, way)
        stage = self._stages[shape.members]
        return StaticPass(self._body, self._bank, stage, shape, self._longest, self._sums_C)

    def _capture(self, one: StaticPass) -> None:
        began = time.monotonic()
        torch.cuda.synchronize(self._body.device)
        # What the plain pass left unused would be held beside the graph's own memory.
        torch.cuda.empty_cache()
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._aside = self._aside or torch.cuda.Stream(self._body.device)
        failed: RuntimeError | None = None
        try:
            graph = captured(one.run, pool=self._pool, stream=self._aside, device=self._body.device)
        except RuntimeError as error:
            failed, graph = error.with_traceback(None), None  # else its frames would hold what the pass made
        if failed is not None:
            if is_memory(failed):
                self._make_room()
            else:
                self._give_up(f"a capture failed: {_first_line(failed)}")
            return
        self._passes[one.shape] = (one, graph)
        self._captured += 1
        self._seconds += time.monotonic() - began

    def _make_room(self) -> None:
        """Memory ran out: drop the graphs and begin anew, or plain passes have to do."""
        if self.capturing and self._began_anew < _MOST_BEGINNINGS:
            self._began_anew += 1
            self._drop()
        else:
            self._give_up("memory ran out")

    def _give_up(self, why: str) -> None:
        self.off = why
        self._drop()

    def _drop(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._body.device)
        self.forget()
        if self._cuda:
            torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
