"""Decodes the requests of several adapters of one model in one batch: a point alone leaves most of a GPU idle.

    L lanes, S slots (a multiple of L); slot s belongs to lane s % L

Most steps of a point's batch have few rows left, and a step takes as long as its launches however few they are. Here
the rows of up to eight adapters share each step. All requests are written before the first step, so lanes that run dry
are not filled again. This module refuses to know which adapters there are. Invariant: an answer is what its request and
its lane's adapter make of it (up to floating point).
"""

from collections.abc import Sequence

import numpy as np
import torch

from offmodel.engines.sampling import Request, Sampling
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.draws import request_seeds, uniforms
from offmodel.store.recipe import Progress

_NOBODY = -1


class Side:
    """The decoding of L lists of requests.

    Args:
        decoder: with at least L times as many slots as the longest list has requests, a multiple of L.
        asked: the requests of each lane.
        sampling: temperature and seed.
        look: steps between looks at which rows have finished.
        prompt_tokens: of one pass over prompts.
    """

    def __init__(
        self, decoder: Decoder, asked: Sequence[Sequence[Request]], sampling: Sampling, *, look: int, prompt_tokens: int
    ):
        self.decoder, self.asked, self.temperature = decoder, asked, sampling.temperature
        self.look, self.prompt_tokens, self.lanes = look, prompt_tokens, len(asked)
        rows = max(map(len, asked))
        self.owner_ML = np.full((rows, self.lanes), _NOBODY)
        self.limits_ML = np.zeros_like(self.owner_ML)
        for lane, requests in enumerate(asked):
            # The longest first, so that rows of one pass have like lengths.
            order = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
            self.owner_ML[: len(requests), lane] = order
            self.limits_ML[: len(requests), lane] = [requests[i].max_new_tokens for i in order]
        self.seeds = [request_seeds([r.ids for r in requests], sampling.seed) for requests in asked]
        self.lengths_ML, self.made_ML = np.ones_like(self.owner_ML), np.zeros_like(self.owner_ML)
        self.finished: list[dict[int, list[int]]] = [{} for _ in asked]

    @torch.inference_mode()
    def run(self, progress: Sequence[Progress]) -> list[list[list[int]]]:
        """Tokens of all requests, lane by lane and in the order in which they were asked; a stop token may be in them.

        Args:
            progress: of each lane, told of its finished requests.
        """
        self._prefill()
        self._harvest(progress)
        while rows := self._busy():
            for _ in range(self.look):
                real = self.owner_ML[:rows] != _NOBODY
                longest = int((self.lengths_ML[:rows] + self.made_ML[:rows])[real].max())
                self.decoder.step(rows * self.lanes, longest, self.temperature)
                self.made_ML[:rows] += 1
            self._harvest(progress)
        return [[done[i] for i in range(len(done))] for done in self.finished]

    def _busy(self) -> int:
        """Rows of the fullest lane; each lane's busy rows stand in front."""
        return int((self.owner_ML != _NOBODY).sum(0).max())

    def _prefill(self) -> None:
        first, rows = 0, len(self.owner_ML)
        while first < rows:
            # The first row of a pass holds the longest prompt of each lane.
            width = max(len(self.asked[lane][i].ids) for _, lane, i in _real(self.owner_ML[first : first + 1]))
            taken = min(rows - first, max(1, self.prompt_tokens // (width * self.lanes)))
            self._write(slice(first, first + taken), width)
            first += taken

    def _write(self, span: slice, width: int) -> None:
        owners = self.owner_ML[span]
        most = int(self.limits_ML[span].max())
        ids = np.zeros((*owners.shape, width), dtype=np.int64)
        draws = np.zeros((*owners.shape, most), dtype=np.float32)
        for row, lane, i in _real(owners):
            request = self.asked[lane][i]
            ids[row, lane, : len(request.ids)] = request.ids
            self.lengths_ML[span.start + row, lane] = len(request.ids)
            if self.temperature > 0:
                drawn = uniforms(self.seeds[lane][i], request.max_new_tokens)
                draws[row, lane, : request.max_new_tokens] = drawn
        self.decoder.prefill(
            span.start * self.lanes,
            ids.reshape(-1, width),
            self.lengths_ML[span].reshape(-1),
            draws.reshape(-1, most),
            self.temperature,
        )
        self.made_ML[span] = 1

    def _harvest(self, progress: Sequence[Progress]) -> None:
        """Take out finished rows, and close each lane's gaps with its last rows."""
        rows = self._busy()
        busy = slice(0, rows * self.lanes)
        stopped = self.decoder.done_S[busy].cpu().numpy().reshape(rows, self.lanes)
        ended = stopped | (self.made_ML[:rows] >= self.limits_ML[:rows])
        over = ended & (self.owner_ML[:rows] != _NOBODY)
        if not over.any():
            return
        picked = torch.from_numpy(over.reshape(-1)).to(self.decoder.device)
        written = iter(self.decoder.out_SN[busy][picked].cpu().tolist())
        for row, lane in np.argwhere(over).tolist():
            limit = int(min(self.made_ML[row, lane], self.limits_ML[row, lane]))
            self.finished[lane][int(self.owner_ML[row, lane])] = next(written)[:limit]
        self._close_gaps(over)
        for lane in np.flatnonzero(over.any(0)).tolist():
            done, of = len(self.finished[lane]), len(self.asked[lane])
            progress[lane](done / of, f"{done} of {of} sampled")

    def _close_gaps(self, over: np.ndarray) -> None:
        source, target = list[int](), list[int]()
        for lane in np.flatnonzero(over.any(0)).tolist():
            free = np.flatnonzero(over[:, lane])
            self.owner_ML[free, lane] = _NOBODY
            kept = np.flatnonzero(self.owner_ML[: len(over), lane] != _NOBODY)
            holes = free[free < len(kept)]
            last = kept[len(kept) - len(holes) :]
            for values in (self.owner_ML, self.limits_ML, self.lengths_ML, self.made_ML):
                values[holes, lane] = values[last, lane]
            self.owner_ML[last, lane] = _NOBODY
            source += (last * self.lanes + lane).tolist()
            target += (holes * self.lanes + lane).tolist()
        if source:
            self.decoder.move(np.array(source), np.array(target))


def _real(owners: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, lane, request) of the rows that are somebody's."""
    return [(int(r), int(k), int(owners[r, k])) for r, k in np.argwhere(owners != _NOBODY)]
