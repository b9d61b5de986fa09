"""Sampling with a transformers model and a decoding loop of our own.

Slots hold sequences that decode together; as some finish, waiting requests take their places. Prompts are taken in
order of length, so that little is padded. This module refuses to know conversations. Invariant: results stand in the
requests' order, and a request's tokens do not depend on its neighbours (up to floating point).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from offmodel.core.errors import ModelError, OutOfMemory
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling
from offmodel.engines.sampling.draws import pick, request_seeds, uniforms
from offmodel.engines.sampling.loaded import Loaded, obtain
from offmodel.engines.sampling.slots import Slots
from offmodel.store.recipe import Progress, Runtime

# Sequences that decode together. A CPU core gains nothing beyond 128; a GPU is bound by launches far longer.
_SLOTS = {"cpu": 128, "cuda": 3072}
# Steps between looks at which sequences have finished: each look waits for a GPU.
_LOOK = {"cpu": 1, "cuda": 8}
# Tokens of one forward pass over prompts.
_PROMPT_TOKENS = {"cpu": 4096, "cuda": 32768}
_CACHE_SHARE = 0.7


def complete(
    *,
    model: Path,
    model_key: str,
    adapter: Path | None,
    adapter_key: str | None,
    requests: Sequence[Request],
    sampling: Sampling,
    runtime: Runtime,
    progress: Progress,
) -> list[Generation]:
    """Complete prompts; see `offmodel.engines.sampling.sample`."""
    if not runtime.device.startswith("cuda"):
        torch.set_num_threads(runtime.threads)
    loaded = obtain(model, model_key, adapter, adapter_key, sampling.dtype, runtime.device)
    _check_requests(requests, loaded)
    slots = runtime.micro_batch or _affordable(loaded, requests)
    while True:
        try:
            rows = _Batch(loaded, requests, sampling, min(slots, len(requests))).run(progress)
            break
        except torch.OutOfMemoryError:
            if slots == 1:
                raise OutOfMemory(
                    "Not even one sequence fits into the device's memory for sampling; lower max_new_tokens."
                ) from None
        slots = max(1, slots // 2)
        torch.cuda.empty_cache()
    return _generations(rows, loaded.renderer)


def _check_requests(requests: Sequence[Request], loaded: Loaded) -> None:
    longest = max(len(r.ids) + r.max_new_tokens for r in requests)
    if not all(r.ids and r.max_new_tokens > 0 for r in requests):
        raise ModelError("A request needs at least one prompt token and room for one new token.")
    if loaded.positions is not None and longest > loaded.positions:
        raise ModelError(
            f"A prompt and its completion may take {longest} tokens, the model has {loaded.positions} positions; "
            "lower max_new_tokens or shorten the prompts."
        )


def _affordable(loaded: Loaded, requests: Sequence[Request]) -> int:
    """How many slots to use: the device's habit, or what its free memory holds."""
    slots = _SLOTS[loaded.device.split(":")[0]]
    if not loaded.device.startswith("cuda"):
        return slots
    free, _ = torch.cuda.mem_get_info(loaded.device)
    capacity = max(len(r.ids) + r.max_new_tokens for r in requests) + _LOOK["cuda"]
    return max(1, min(slots, int(free * _CACHE_SHARE / (capacity * loaded.cache_bytes))))


@dataclass(frozen=True, slots=True)
class _Row:
    """A finished request: its tokens, and whether a stop token ended it."""

    ids: list[int]
    stopped: bool


class _Batch:
    """The decoding of one call: slots in front are busy, `owner[s]` says with which request."""

    def __init__(self, loaded: Loaded, requests: Sequence[Request], sampling: Sampling, slots: int):
        kind = loaded.device.split(":")[0]
        self.loaded, self.requests, self.temperature = loaded, requests, sampling.temperature
        self.device, self.look, self.slots = loaded.device, _LOOK[kind], slots
        self.prompt_tokens = _PROMPT_TOKENS[kind]
        self.waiting = sorted(range(len(requests)), key=lambda i: -len(requests[i].ids))
        self.seeds = request_seeds([r.ids for r in requests], sampling.seed)
        most = max(r.max_new_tokens for r in requests)
        self.capacity = -(-(max(len(r.ids) + r.max_new_tokens for r in requests) + self.look) // 8) * 8
        self.cache = Slots(loaded.layers, slots, self.capacity)
        self.stops = torch.tensor(loaded.renderer.stop_ids, device=self.device)
        self.owner: list[int] = []
        self.finished: dict[int, _Row] = {}
        # A row decodes up to `look` steps beyond its end before that is seen.
        self.out_SN = torch.zeros(slots, most + self.look, dtype=torch.int64, device=self.device)
        self.draws_SN = torch.zeros(slots, most + self.look, device=self.device)
        self.next_S = torch.zeros(slots, dtype=torch.int64, device=self.device)
        self.done_S = torch.zeros(slots, dtype=torch.bool, device=self.device)
        self.lengths = np.zeros(slots, dtype=np.int64)
        self.made = np.zeros(slots, dtype=np.int64)

    @torch.inference_mode()
    def run(self, progress: Progress) -> list[_Row]:
        """All requests' rows, in order."""
        while self.owner or self.waiting:
            self._admit()
            for _ in range(self.look):
                self._advance()
            if self._harvest():
                done, of = len(self.finished), len(self.requests)
                progress(done / of, f"{done} of {of} sampled")
        return [self.finished[i] for i in range(len(self.requests))]

    def _admit(self) -> None:
        """Write waiting prompts into free slots, once a quarter of the slots is free or nothing else runs."""
        free = self.slots - len(self.owner)
        if not self.waiting or (self.owner and free < max(1, self.slots // 4)):
            return
        while self.waiting and len(self.owner) < self.slots:
            # The longest come first, so the first of a pass sets its width.
            width = len(self.requests[self.waiting[0]].ids)
            room = min(self.slots - len(self.owner), max(1, self.prompt_tokens // width))
            taken, self.waiting = self.waiting[:room], self.waiting[room:]
            self._prefill(taken, width)

    def _prefill(self, taken: list[int], width: int) -> None:
        first = len(self.owner)
        rows = torch.arange(first, first + len(taken), device=self.device)
        ids = np.zeros((len(taken), width), dtype=np.int64)
        draws = np.zeros((len(taken), self.draws_SN.shape[1]), dtype=np.float32)
        for row, draw, i in zip(ids, draws, taken, strict=True):
            prompt = self.requests[i].ids
            row[: len(prompt)] = prompt
            if self.temperature > 0:
                draw[: self.requests[i].max_new_tokens] = uniforms(self.seeds[i], self.requests[i].max_new_tokens)
        lengths = np.array([len(self.requests[i].ids) for i in taken])
        self.cache.fill(rows)
        hidden = self.loaded.hidden(torch.from_numpy(ids).to(self.device), None, self.cache)
        last = torch.from_numpy(lengths - 1).to(self.device)
        self.draws_SN[rows] = torch.from_numpy(draws).to(self.device)
        self.owner += taken
        span = slice(first, first + len(taken))
        self.lengths[span], self.made[span], self.done_S[span] = lengths, 0, False
        picked = self._pick(hidden[torch.arange(len(taken), device=self.device), last], span)
        self._take(picked, span)

    def _advance(self) -> None:
        """One token more for every busy slot."""
        busy = len(self.owner)
        at = self.lengths[:busy] + self.made[:busy] - 1
        at_R = torch.from_numpy(at).to(self.device)
        self.cache.decode(at_R, int(at.max()) + 1)
        hidden = self.loaded.hidden(self.next_S[:busy, None], at_R[:, None], self.cache)
        self._take(self._pick(hidden[:, 0], slice(0, busy)), slice(0, busy))

    def _pick(self, hidden_RD: Tensor, span: slice) -> Tensor:
        made = torch.from_numpy(self.made[span]).to(self.device)
        draws = self.draws_SN[span].gather(1, made[:, None])[:, 0]
        return pick(self.loaded.logits(hidden_RD), self.temperature, draws)

    def _take(self, picked_R: Tensor, span: slice) -> None:
        made = torch.from_numpy(self.made[span]).to(self.device)
        self.out_SN[span].scatter_(1, made[:, None], picked_R[:, None])
        self.next_S[span] = picked_R
        self.done_S[span] |= torch.isin(picked_R, self.stops)
        self.made[span] += 1

    def _harvest(self) -> bool:
        """Take out finished rows and close the gaps; whether there were any."""
        busy = len(self.owner)
        limits = np.array([self.requests[i].max_new_tokens for i in self.owner])
        over = self.done_S[:busy].cpu().numpy() | (self.made[:busy] >= limits)
        if not over.any():
            return False
        rows = self.out_SN[:busy][torch.from_numpy(over).to(self.device)].cpu().tolist()
        for slot, ids in zip(np.flatnonzero(over), rows, strict=True):
            i = self.owner[slot]
            self.finished[i] = _cut(ids[: min(self.made[slot], limits[slot])], set(self.loaded.renderer.stop_ids))
        self._close_gaps(np.flatnonzero(over), np.flatnonzero(~over))
        return True

    def _close_gaps(self, free: np.ndarray, kept: np.ndarray) -> None:
        """Move rows from the end into free slots, so that the busy ones stand in front."""
        source = kept[len(kept) - np.count_nonzero(free < len(kept)) :]
        target = free[: len(source)]
        for s, t in zip(source, target, strict=True):
            self.owner[t] = self.owner[s]
        self.owner = self.owner[: len(kept)]
        self.lengths[target], self.made[target] = self.lengths[source], self.made[source]
        a, b = torch.from_numpy(source).to(self.device), torch.from_numpy(target).to(self.device)
        self.cache.move(a, b)
        for tensor in (self.out_SN, self.draws_SN, self.next_S, self.done_S):
            tensor[b] = tensor[a]


def _cut(ids: list[int], stops: set[int]) -> _Row:
    for n, token in enumerate(ids):
        if token in stops:
            return _Row(ids[:n], True)
    return _Row(ids, False)


def _generations(rows: list[_Row], renderer: Renderer) -> list[Generation]:
    texts = renderer.decode_many([r.ids for r in rows])
    return [
        Generation(tuple(r.ids), text, "stop" if r.stopped else "length") for r, text in zip(rows, texts, strict=True)
    ]


def model_logits(loaded: Loaded, ids: Sequence[int]) -> Any:
    """Logits [T, V] of a sequence by the sampler's own path, for tests."""
    cache = Slots(loaded.layers, 1, len(ids))
    cache.fill(torch.zeros(1, dtype=torch.int64, device=loaded.device))
    return loaded.logits(loaded.hidden(torch.tensor([list(ids)], device=loaded.device), None, cache)[0])
