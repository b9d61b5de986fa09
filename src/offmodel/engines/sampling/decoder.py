"""The decoding step: one token more for every busy slot, as a captured CUDA graph where there is a GPU.

    S slots, R rows of a step (the first slots, busy or not), N tokens that a slot may write, D hidden size

A small model's step is some thousand kernels that each run for microseconds: launched one by one they take 55 ms at
0.5B on an H100, whatever the batch; replayed as a graph they take what the arithmetic takes. A graph belongs to a
number of rows and a width of attention, so both are rounded up, and rows beyond the busy ones compute what nobody
reads. All that a step reads and writes has one address for the decoder's life. This module refuses to know requests.
Invariant: a replayed step does to the busy slots what the plain step does.
"""

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from offmodel.engines.captures import captured, is_memory
from offmodel.engines.losses import Head
from offmodel.engines.sampling.draws import pick
from offmodel.engines.sampling.slots import Slots

# Sixteen sizes of batch at most, each a multiple of 64 rows; attention in multiples of 64 positions.
_ROW_SIZES, _UNIT = 16, 64

Hidden = Callable[[Tensor, Tensor | None, Slots], Tensor]


@final
class Decoder:
    """S slots and what they hold: a resource of one loaded model.

    Attributes:
        capacity: tokens of a slot, prompt and completion together.
        most: tokens that a slot may write.
        graphed: whether steps are rounded up and captured.
        starved: whether steps are no longer captured because memory ran out.
    """

    def __init__(
        self,
        hidden: Hidden,
        head: Head,
        stop_ids: tuple[int, ...],
        *,
        layers: int,
        slots: int,
        capacity: int,
        most: int,
        device: str,
        graphed: bool,
    ):
        self._hidden, self._head = hidden, head
        self.slots, self.capacity, self.most, self.graphed = slots, capacity, most, graphed
        self.cache = Slots(layers, slots, capacity)
        self.device = device
        self.stops = torch.tensor(stop_ids, device=device)
        self.out_SN = torch.zeros(slots, most, dtype=torch.int64, device=device)
        self.draws_SN = torch.zeros(slots, most, device=device)
        self.next_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self.done_S = torch.zeros(slots, dtype=torch.bool, device=device)
        self.lengths_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self.made_S = torch.zeros(slots, dtype=torch.int64, device=device)
        self._graphs: dict[tuple[int, int, float], Any] = {}
        self._pool: Any = None
        self._aside: Any = None
        self._failures = 0
        self.starved = False

    def prefill(
        self,
        first: int,
        ids_RT: np.ndarray,
        lengths: np.ndarray,
        draws_RN: np.ndarray,
        temperature: float,
        lanes: int = 1,
    ) -> None:
        """Write prompts, padded on the right, into the slots from `first` on, and pick each one's first token.

        With several lanes slot s belongs to lane s % lanes, and T is at least 2.
        """
        span = slice(first, first + len(ids_RT))
        lengths_R = torch.from_numpy(lengths).to(self.device)
        self.cache.fill(span, lanes)
        # The pass takes the rows lane after lane.
        order = torch.arange(len(ids_RT)).view(-1, lanes).T.flatten()
        hidden = self._hidden(torch.from_numpy(ids_RT)[order].to(self.device), None, self.cache)
        self.draws_SN[span, : draws_RN.shape[1]] = torch.from_numpy(draws_RN).to(self.device)
        self.lengths_S[span] = lengths_R
        self.made_S[span] = 0
        self.done_S[span] = False
        last = hidden[torch.argsort(order).to(self.device), lengths_R - 1]
        self._take(last, span, temperature)

    def step(self, busy: int, longest: int, temperature: float) -> None:
        """One token more for the first `busy` slots, the longest of which then holds `longest` tokens."""
        rows, width = self.shape(busy, longest)
        key = (rows, width, temperature)
        if key in self._graphs:
            self._graphs[key].replay()
            return
        # The step that is done in the plain way is the warm-up that a capture needs; capturing runs nothing.
        self._forward(rows, width, temperature)
        if self.graphed and self.device.startswith("cuda"):
            self._capture(key)

    def shape(self, busy: int, longest: int) -> tuple[int, int]:
        """(rows, positions) that a step computes."""
        if not self.graphed:
            return busy, longest
        unit = -(-self.slots // (_ROW_SIZES * _UNIT)) * _UNIT
        return min(self.slots, -(-busy // unit) * unit), min(self.capacity, -(-longest // _UNIT) * _UNIT)

    def move(self, source: np.ndarray, target: np.ndarray) -> None:
        """Copy some slots over others."""
        a, b = torch.from_numpy(source).to(self.device), torch.from_numpy(target).to(self.device)
        self.cache.move(a, b)
        for tensor in (self.out_SN, self.draws_SN, self.next_S, self.done_S, self.lengths_S, self.made_S):
            tensor[b] = tensor[a]

    def drop_graphs(self) -> None:
        """Forget what was captured: the model's layers changed."""
        self._graphs.clear()
        # The memory of a pool is given back with its last graph; another capture cannot use it again.
        self._pool = None

    def _forward(self, rows: int, width: int, temperature: float) -> None:
        span = slice(0, rows)
        at_R = (self.lengths_S[span] + self.made_S[span] - 1).clamp_(0, self.capacity - 1)
        self.cache.decode(at_R, width)
        hidden = self._hidden(self.next_S[span, None], at_R[:, None], self.cache)
        self._take(hidden[:, 0], span, temperature)

    def _take(self, hidden_RD: Tensor, span: slice, temperature: float) -> None:
        made_R1 = self.made_S[span].clamp(max=self.most - 1)[:, None]
        if temperature == 0:
            picked_R = self._head.likeliest(hidden_RD)
        else:
            picked_R = pick(self._head.logits(hidden_RD), temperature, self.draws_SN[span].gather(1, made_R1)[:, 0])
        self.out_SN[span].scatter_(1, made_R1, picked_R[:, None])
        self.next_S[span] = picked_R
        self.done_S[span] |= (picked_R[:, None] == self.stops).any(1)
        self.made_S[span] += 1

    def _capture(self, key: tuple[int, int, float]) -> None:
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        self._aside = self._aside or torch.cuda.Stream(self.device)
        try:
            graph = captured(lambda: self._forward(*key), pool=self._pool, stream=self._aside, device=self.device)
        except RuntimeError as error:
            # Out of memory: once, the graphs so far make room. Else a model that looks at its own values (a mixture
            # that asks which experts are wanted) refuses.
            self._failures += 1
            self.graphed = is_memory(error) and self._failures == 1
            self.starved = is_memory(error) and not self.graphed
        else:
            self._graphs[key] = graph
            return
        self.drop_graphs()
        torch.cuda.empty_cache()
