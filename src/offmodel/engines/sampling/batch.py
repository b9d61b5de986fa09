"""The decoding of requests in one batch, for one adapter or for several of one model side by side.

    S slots, L lanes (adapters), R rows; slot s stands in row s // L and belongs to lane s % L
    T tokens of the longest prompt of a pass, N tokens that a slot may write

A point alone leaves most of a GPU idle: its batch soon has few rows left, and a step takes as long as its launches
however few they are. With lanes, the rows of several adapters share each step. As rows finish, waiting requests take
their places; prompts of like length are read together. This module refuses to know which adapters there are. Invariant:
an answer is what its request and its lane's adapter make of it (up to floating point).
"""

from collections.abc import Sequence

import numpy as np
import torch

from offmodel.engines.sampling import Request, Sampling
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.draws import request_seeds, uniforms
from offmodel.store.recipe import Progress

# Steps between looks at which sequences have finished: each look waits for a GPU.
LOOK = {"cpu": 1, "cuda": 8}
# Tokens of one forward pass over prompts.
PROMPT_TOKENS = {"cpu": 4096, "cuda": 32768}
_NOBODY = -1


class Batch:
    """The decoding of what is not finished yet: busy rows stand in front, lane by lane.

    Args:
        decoder: with at least R x L slots.
        asked: the requests of each lane.
        sampling: temperature and seed.
        rows: R, how many requests of a lane decode at a time.
        finished: of each lane, tokens of finished requests by their places; taken up, and added to.
    """

    def __init__(
        self,
        decoder: Decoder,
        asked: Sequence[Sequence[Request]],
        sampling: Sampling,
        *,
        rows: int,
        finished: Sequence[dict[int, list[int]]],
    ):
        kind = decoder.device.split(":")[0]
        self._look, self._prompt_tokens = LOOK[kind], PROMPT_TOKENS[kind]
        self._decoder, self._asked, self._temperature = decoder, asked, sampling.temperature
        self._rows, self._lanes, self._finished = rows, len(asked), finished
        # On a GPU those that may write most come first: a step takes as long for a few rows as for hundreds, so that
        # what counts is when the longest answers begin.
        first = (lambda r: (-r.max_new_tokens, -len(r.ids))) if kind == "cuda" else (lambda r: -len(r.ids))
        self._waiting = [
            sorted((i for i in range(len(requests)) if i not in done), key=lambda i: first(requests[i]))
            for requests, done in zip(asked, finished, strict=True)
        ]
        self._seeds = [request_seeds([r.ids for r in requests], sampling.seed) for requests in asked]
        self._owner_RL = np.full((rows, self._lanes), _NOBODY)
        # What the decoder knows too, here so that no step has to ask it.
        self._lengths_RL, self._made_RL, self._limits_RL = (np.ones_like(self._owner_RL) for _ in range(3))

    @torch.inference_mode()
    def run(self, progress: Sequence[Progress]) -> None:
        """Finish all requests; `finished` then holds their tokens, with what may follow a stop token.

        Args:
            progress: of each lane, told of its finished requests.
        """
        while self._busy() or any(self._waiting):
            self._admit()
            self._decode()
            self._harvest(progress)

    def _busy(self) -> int:
        """How many rows hold anybody: up to the last that does."""
        held = np.flatnonzero((self._owner_RL != _NOBODY).any(1))
        return int(held[-1]) + 1 if len(held) else 0

    def _admit(self) -> None:
        """Write waiting prompts into free rows, once a quarter of them is free or nothing else runs."""
        busy = self._busy()
        if not any(self._waiting) or (busy and self._rows - busy < max(1, self._rows // 4)):
            return
        while any(self._waiting) and busy < self._rows:
            rows, width = self._next_pass(self._rows - busy)
            taken = [waiting[:rows] for waiting in self._waiting]
            self._waiting = [waiting[rows:] for waiting in self._waiting]
            self._prefill(slice(busy, busy + rows), taken, width)
            busy += rows
        self._close_gaps()

    def _next_pass(self, most: int) -> tuple[int, int]:
        """(rows, tokens of the longest prompt) of the next pass over prompts."""
        width = 1 if self._lanes == 1 else 2  # a pass of single tokens would be taken for a decoding step
        for rows in range(most):
            prompts = [len(r[w[rows]].ids) for r, w in zip(self._asked, self._waiting, strict=True) if rows < len(w)]
            wider = max([width, *prompts])
            if not prompts or (rows and (rows + 1) * wider * self._lanes > self._prompt_tokens):
                return rows, width
            width = wider
        return most, width

    def _prefill(self, span: slice, taken: Sequence[Sequence[int]], width: int) -> None:
        rows = span.stop - span.start
        most = max(self._asked[lane][i].max_new_tokens for lane, places in enumerate(taken) for i in places)
        ids_RLT = np.zeros((rows, self._lanes, width), dtype=np.int64)
        draws_RLN = np.zeros((rows, self._lanes, most), dtype=np.float32)
        self._owner_RL[span], self._lengths_RL[span], self._made_RL[span] = _NOBODY, 1, 1
        for lane, places in enumerate(taken):
            for row, i in enumerate(places):
                request = self._asked[lane][i]
                ids_RLT[row, lane, : len(request.ids)] = request.ids
                at = (span.start + row, lane)
                self._owner_RL[at], self._lengths_RL[at] = i, len(request.ids)
                self._limits_RL[at] = request.max_new_tokens
                if self._temperature > 0:
                    drawn = uniforms(self._seeds[lane][i], request.max_new_tokens)
                    draws_RLN[row, lane, : request.max_new_tokens] = drawn
        self._decoder.prefill(
            span.start * self._lanes,
            ids_RLT.reshape(-1, width),
            self._lengths_RL[span].reshape(-1),
            draws_RLN.reshape(-1, most),
            self._temperature,
            self._lanes,
        )

    def _decode(self) -> None:
        rows = self._busy()
        real = self._owner_RL[:rows] != _NOBODY
        longest = int((self._lengths_RL[:rows] + self._made_RL[:rows])[real].max())
        for step in range(self._look):
            self._decoder.step(rows * self._lanes, longest + step, self._temperature)
        self._made_RL[:rows] += self._look

    def _harvest(self, progress: Sequence[Progress]) -> None:
        """Take out finished rows, and close each lane's gaps with its last rows."""
        rows = self._busy()
        busy = slice(0, rows * self._lanes)
        stopped = self._decoder.done_S[busy].cpu().numpy().reshape(rows, self._lanes)
        ended = stopped | (self._made_RL[:rows] >= self._limits_RL[:rows])
        over_RL = ended & (self._owner_RL[:rows] != _NOBODY)
        if not over_RL.any():
            return
        picked = torch.from_numpy(over_RL.reshape(-1)).to(self._decoder.device)
        written = iter(self._decoder.out_SN[busy][picked].cpu().tolist())
        for row, lane in np.argwhere(over_RL).tolist():
            made = int(min(self._made_RL[row, lane], self._limits_RL[row, lane]))
            self._finished[lane][int(self._owner_RL[row, lane])] = next(written)[:made]
        self._owner_RL[:rows][over_RL] = _NOBODY
        self._close_gaps()
        for lane in np.flatnonzero(over_RL.any(0)).tolist():
            done, of = len(self._finished[lane]), len(self._asked[lane])
            progress[lane](done / of, f"{done} of {of} sampled")

    def _close_gaps(self) -> None:
        """Move each lane's last rows into its gaps, so that its busy rows stand in front."""
        source, target = list[int](), list[int]()
        for lane in range(self._lanes):
            kept = np.flatnonzero(self._owner_RL[:, lane] != _NOBODY)
            holes = np.flatnonzero(self._owner_RL[: len(kept), lane] == _NOBODY)
            last = kept[len(kept) - len(holes) :]
            for values_RL in (self._owner_RL, self._lengths_RL, self._made_RL, self._limits_RL):
                values_RL[holes, lane] = values_RL[last, lane]
            self._owner_RL[last, lane] = _NOBODY
            source += (last * self._lanes + lane).tolist()
            target += (holes * self._lanes + lane).tolist()
        if source:
            self._decoder.move(np.array(source), np.array(target))
