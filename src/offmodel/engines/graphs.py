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

Terms = tuple[str, ...]
"""Names of loss terms, sorted: members with the same ones share passes."""

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
        body: the frozen base, with the reference of the members' divergences.
        bank: the adapters; its rows may change owners, but not their addresses (see `forget`).
        longest: tokens of the longest sequence.

    Attributes:
        off: why passes are no longer captured; None while they are.
        drops: how often graphs and buffers were dropped because memory ran out or a capture failed.
    """

    def __init__(self, body: Body, bank: Bank, longest: int):
        self._body, self._bank, self._longest = body, bank, -(-longest // 64) * 64
        self._cuda = body.device.startswith("cuda")
        self.off: str | None = None
        self._began_anew = 0
        self._captured = self._replayed = self._plain = self._steps = 0
        self._seconds = 0.0
        self.drops = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew: the bank's memory moved, and has other rows."""
        self._sums_C: dict[Terms, dict[str, Tensor]] = {}
        self._let_go()

    def _let_go(self) -> None:
        """Drop all graphs and what they write to, but for the losses, to which a step's later passes still add."""
        self._passes: dict[tuple[Terms, Shape], tuple[StaticPass, Any]] = {}
        self._stages: dict[int, Stage] = {}
        # The memory of a pool is given back with its last graph; another capture cannot use it again.
        self._pool: Any = None
        self._aside: Any = None

    def summed(
        self,
        entries: Sequence["Entry"],
        scales: Sequence[float],
        factors: Sequence[Mapping[str, float]],
        limit: Limit,
    ) -> dict[str, Tensor]:
        """Add the gradients of some members' losses to the bank; gives each row's loss by term, [C] each.

        Args:
            entries: the sequences of a step, of members with the same terms.
            scales: alpha / rank of each row.
            factors: each row's terms.
            limit: of one pass.
        """
        self._steps += 1
        ordered = sorted(entries, key=lambda e: e.row)
        names = tuple(sorted(factors[ordered[0].row]))
        rows = self._bank.flat_CP.shape[0]
        if names not in self._sums_C:
            zeros = torch.zeros(rows, dtype=self._body.master, device=self._body.device)
            self._sums_C[names] = {name: zeros.clone() for name in names}
        sums = self._sums_C[names]
        for total_C in sums.values():
            total_C.zero_()
        for part in split_evenly([len(e.example.ids) for e in ordered], limit.tokens):
            try:
                self._pass([ordered[i] for i in part], scales, factors, names)
            except RuntimeError as error:
                if is_memory(error):
                    self._make_room()
                raise
        return {name: total_C.clone() for name, total_C in sums.items()}

    def facts(self) -> Facts:
        """One line for a record."""
        done = f"{self._captured} captured in {self._seconds:.1f} s, {self._replayed} replays, {self._plain} plain"
        loss = ", fused loss" if any(p.fused for p, _ in self._passes.values()) else ""
        return {"graphs": f"{done}{loss}" if self.off is None else f"off, {self.off} ({done})"}

    def _pass(
        self, part: list["Entry"], scales: Sequence[float], factors: Sequence[Mapping[str, float]], names: Terms
    ) -> None:
        key = names, self._shape_for(need_of(part), names)
        found, graph = self._passes.get(key) or (self._made(*key), None)
        found.fill(part, scales, factors)
        if graph is not None:
            graph.replay()
            self._replayed += 1
            return
        # The plain pass counts, and is the warm-up that a capture needs; capturing runs nothing.
        found.run()
        self._plain += 1
        self._passes[key] = (found, None)
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

    def _shape_for(self, need: Shape, names: Terms) -> Shape:
        """The tightest shape so far that serves, or a new one."""
        serving = [s for n, s in self._passes if n == names and s.serves(need, self._longest)]
        return min(serving, key=lambda s: (s.tokens, s.targets, s.members)) if serving else need.roomy(self._longest)

    def _made(self, names: Terms, shape: Shape) -> StaticPass:
        if shape.members not in self._stages:
            way = "grouped" if self._cuda else "loop"
            self._stages[shape.members] = Stage(self._bank, shape.members, self._body.compute, way)
        stage = self._stages[shape.members]
        return StaticPass(self._body, self._bank, stage, shape, self._longest, self._sums_C[names])

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
        self._passes[one.names, one.shape] = (one, graph)
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
        self.drops += 1
        self._let_go()
        if self._cuda:
            torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
