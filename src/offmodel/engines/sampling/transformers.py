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

from offmodel.core.errors import ModelError, OutOfMemory
from offmodel.engines.captures import is_memory
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.draws import request_seeds, uniforms
from offmodel.engines.sampling.loaded import Loaded, obtain
from offmodel.engines.sampling.slots import Slots
from offmodel.store.recipe import Progress, Runtime

# Sequences that decode together. A CPU core gains nothing beyond 128; a GPU is bound by launches far longer.
SLOTS = {"cpu": 128, "cuda": 4096}
# Steps between looks at which sequences have finished: each look waits for a GPU.
LOOK = {"cpu": 1, "cuda": 8}
# Tokens of one forward pass over prompts.
PROMPT_TOKENS = {"cpu": 4096, "cuda": 32768}
# Of the memory that is free; the rest is for a training between two calls, and for logits.
_CACHE_SHARE = 0.5


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
    check_requests(requests, loaded)
    slots, finished = runtime.micro_batch, dict[int, _Row]()
    while len(finished) < len(requests):
        decoder = decoder_for(loaded, requests, slots)
        slots = min(slots or decoder.slots, decoder.slots, len(requests))
        try:
            _Batch(loaded, decoder, requests, sampling, slots, finished).run(progress)
        except RuntimeError as error:
            if not is_memory(error):
                raise
            if slots == 1:
                raise OutOfMemory(
                    "Not even one sequence fits into the device's memory for sampling; lower max_new_tokens."
                ) from None
            slots = max(1, slots // 2)
        else:
            break
        # Only now: inside `except`, the error's frames would still hold what did not fit.
        loaded.decoder = decoder = None
        torch.cuda.empty_cache()
    if runtime.device == "cpu":
        # A cache of another size could mean other bits; on a GPU it is worth keeping, with its graphs.
        loaded.decoder = None
    return generations_of([finished[i] for i in range(len(requests))], loaded.renderer)


def check_requests(requests: Sequence[Request], loaded: Loaded) -> None:
    """Raises `ModelError` if a request is empty or longer than the model's positions."""
    longest = max(len(r.ids) + r.max_new_tokens for r in requests)
    if not all(r.ids and r.max_new_tokens > 0 for r in requests):
        raise ModelError("A request needs at least one prompt token and room for one new token.")
    if loaded.positions is not None and longest > loaded.positions:
        raise ModelError(
            f"A prompt and its completion may take {longest} tokens, the model has {loaded.positions} positions; "
            "lower max_new_tokens or shorten the prompts."
        )


def decoder_for(
    loaded: Loaded, requests: Sequence[Request], slots: int | None, *, least: int = 0, multiple: int = 1
) -> Decoder:
    """The decoder at hand if it holds these requests, else a new one.

    Args:
        loaded: the model.
        requests: prompts and limits.
        slots: how many at most; None for what is best here.
        least: slots that are wanted even if there are fewer requests.
        multiple: of which the slots must be.
    """
    kind = loaded.device.split(":")[0]
    capacity = max(len(r.ids) + r.max_new_tokens for r in requests) + LOOK[kind]
    most = max(r.max_new_tokens for r in requests) + LOOK[kind]
    wanted = max(least, min(slots or SLOTS[kind], len(requests)))
    old = loaded.decoder
    fits = old is not None and old.capacity >= capacity and old.most >= most and old.slots >= wanted
    if old is not None and fits and old.slots % multiple == 0 and not old.starved:
        return old
    loaded.decoder = old = None
    if kind == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(loaded.device)
        # Beside its cache a row has logits, which drawing turns into float32 twice, and a captured step keeps.
        row_bytes = capacity * loaded.cache_bytes + 16 * loaded.head.weight_VD.shape[0]
        affordable = int(free * _CACHE_SHARE / row_bytes)
        wanted = wanted if slots else max(1, min(wanted, affordable))
        # In eights, so that adapters side by side find whole rows of lanes.
        wanted = -(-wanted // 8) * 8 if wanted >= 8 else wanted
    loaded.decoder = Decoder(
        loaded.hidden,
        loaded.logits,
        loaded.renderer.stop_ids,
        layers=loaded.layers,
        slots=wanted,
        # Kernels want rows of masks aligned to 8 elements.
        capacity=-(-capacity // 8) * 8,
        most=most,
        device=loaded.device,
        graphed=kind == "cuda",
    )
    return loaded.decoder


@dataclass(frozen=True, slots=True)
class _Row:
    """A finished request: its tokens, and whether a stop token ended it."""

    ids: list[int]
    stopped: bool


class _Batch:
    """The decoding of what is not finished yet: slots in front are busy, `owner[s]` says with which request."""

    def __init__(
        self,
        loaded: Loaded,
        decoder: Decoder,
        requests: Sequence[Request],
        sampling: Sampling,
        slots: int,
        finished: dict[int, _Row],
    ):
        kind = loaded.device.split(":")[0]
        self.decoder, self.requests, self.temperature = decoder, requests, sampling.temperature
        self.look, self.slots, self.prompt_tokens = LOOK[kind], slots, PROMPT_TOKENS[kind]
        self.stops = set(loaded.renderer.stop_ids)
        left = (i for i in range(len(requests)) if i not in finished)
        self.waiting = sorted(left, key=lambda i: -len(requests[i].ids))
        self.seeds = request_seeds([r.ids for r in requests], sampling.seed)
        self.owner: list[int] = []
        self.finished = finished
        # What the decoder knows too, here so that no step has to ask it.
        self.lengths = np.zeros(slots, dtype=np.int64)
        self.made = np.zeros(slots, dtype=np.int64)

    @torch.inference_mode()
    def run(self, progress: Progress) -> None:
        """Finish all requests."""
        while self.owner or self.waiting:
            self._admit()
            for _ in range(self.look):
                busy = len(self.owner)
                self.decoder.step(busy, int((self.lengths[:busy] + self.made[:busy]).max()), self.temperature)
                self.made[:busy] += 1
            if self._harvest():
                done, of = len(self.finished), len(self.requests)
                progress(done / of, f"{done} of {of} sampled")

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
        most = max(self.requests[i].max_new_tokens for i in taken)
        ids = np.zeros((len(taken), width), dtype=np.int64)
        draws = np.zeros((len(taken), most), dtype=np.float32)
        for row, draw, i in zip(ids, draws, taken, strict=True):
            prompt = self.requests[i].ids
            row[: len(prompt)] = prompt
            if self.temperature > 0:
                draw[: self.requests[i].max_new_tokens] = uniforms(self.seeds[i], self.requests[i].max_new_tokens)
        lengths = np.array([len(self.requests[i].ids) for i in taken])
        self.decoder.prefill(first, ids, lengths, draws, self.temperature)
        self.owner += taken
        span = slice(first, first + len(taken))
        self.lengths[span], self.made[span] = lengths, 1

    def _harvest(self) -> bool:
        """Take out finished rows and close the gaps; whether there were any."""
        busy = len(self.owner)
        limits = np.array([self.requests[i].max_new_tokens for i in self.owner])
        over = self.decoder.done_S[:busy].cpu().numpy() | (self.made[:busy] >= limits)
        if not over.any():
            return False
        picked = torch.from_numpy(over).to(self.decoder.device)
        rows = self.decoder.out_SN[:busy][picked].cpu().tolist()
        for slot, ids in zip(np.flatnonzero(over), rows, strict=True):
            i = self.owner[slot]
            self.finished[i] = cut(ids[: min(self.made[slot], limits[slot])], self.stops)
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
        self.decoder.move(source, target)


def cut(ids: list[int], stops: set[int]) -> _Row:
    """A request's tokens up to the first stop token."""
    for n, token in enumerate(ids):
        if token in stops:
            return _Row(ids[:n], True)
    return _Row(ids, False)


def generations_of(rows: list[_Row], renderer: Renderer) -> list[Generation]:
    """Finished requests with their text."""
    texts = renderer.decode_many([r.ids for r in rows])
    return [
        Generation(tuple(r.ids), text, "stop" if r.stopped else "length") for r, text in zip(rows, texts, strict=True)
    ]


def model_logits(loaded: Loaded, ids: Sequence[int]) -> Any:
    """Logits [T, V] of a sequence by the sampler's own path, for tests."""
    cache = Slots(loaded.layers, 1, len(ids))
    cache.fill(torch.zeros(1, dtype=torch.int64, device=loaded.device))
    return loaded.logits(loaded.hidden(torch.tensor([list(ids)], device=loaded.device), None, cache)[0])
