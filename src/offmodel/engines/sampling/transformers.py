"""Sampling with a transformers model and a decoding loop of our own (`batch`): what memory allows, and no more.

This module refuses to know conversations. Invariant: results stand in the requests' order, and a request's tokens do
not depend on its neighbours (up to floating point).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from offmodel.core.errors import ModelError, OutOfMemory
from offmodel.engines.captures import is_memory
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling
from offmodel.engines.sampling.batch import LOOK, Batch
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.loaded import Loaded, obtain
from offmodel.engines.sampling.slots import Slots
from offmodel.store.recipe import Progress, Runtime

# Sequences that decode together. A CPU core gains nothing beyond 128; a GPU is bound by launches far longer.
SLOTS = {"cpu": 128, "cuda": 4096}
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
    finished: dict[int, list[int]] | None = None,
) -> list[Generation]:
    """Complete prompts; see `offmodel.engines.sampling.sample`, and `by_transformers` for `finished`."""
    if not runtime.device.startswith("cuda"):
        torch.set_num_threads(runtime.threads)
    loaded = obtain(model, model_key, adapter, adapter_key, sampling.dtype, runtime.device)
    check_requests(requests, loaded)
    slots, finished = runtime.micro_batch, {} if finished is None else finished
    while len(finished) < len(requests):
        decoder = decoder_for(loaded, requests, slots)
        slots = min(slots or decoder.slots, decoder.slots, len(requests))
        try:
            Batch(decoder, [requests], sampling, rows=slots, finished=[finished]).run([progress])
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
    capacity = capacity_for(loaded, requests)
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
        affordable = int(free * _CACHE_SHARE / _slot_bytes(loaded, capacity))
        wanted = wanted if slots else max(1, min(wanted, affordable))
        # In eights, so that adapters side by side find whole rows of lanes.
        wanted = -(-wanted // 8) * 8 if wanted >= 8 else wanted
    loaded.decoder = Decoder(
        loaded.hidden,
        loaded.head,
        loaded.renderer.stop_ids,
        layers=loaded.layers,
        slots=wanted,
        capacity=capacity,
        most=most,
        device=loaded.device,
        graphed=kind == "cuda",
    )
    return loaded.decoder


def capacity_for(loaded: Loaded, requests: Sequence[Request]) -> int:
    """Tokens that a slot must hold: also those that are written before anybody looks, but none beyond the model's."""
    longest = max(len(r.ids) + r.max_new_tokens for r in requests) + LOOK[loaded.device.split(":")[0]]
    # Kernels want rows of masks aligned to 8 elements.
    return min(-(-longest // 8) * 8, loaded.positions or longest + 8)


def has_room(loaded: Loaded, requests: Sequence[Request], slots: int) -> bool:
    """Whether a decoder of so many slots would fit into a GPU, if the one at hand were gone."""
    if not loaded.device.startswith("cuda"):
        return True
    free, _ = torch.cuda.mem_get_info(loaded.device)
    kept = torch.cuda.memory_reserved(loaded.device) - torch.cuda.memory_allocated(loaded.device)
    old = loaded.decoder
    taken = old.slots * old.capacity * loaded.cache_bytes if old is not None else 0
    return slots * _slot_bytes(loaded, capacity_for(loaded, requests)) <= (free + kept + taken) * _CACHE_SHARE


def _slot_bytes(loaded: Loaded, capacity: int) -> int:
    # Beside its cache a slot has logits, which drawing turns into float32 twice, and a captured step keeps.
    return capacity * loaded.cache_bytes + 16 * loaded.head.weight_VD.shape[0]


def generations_of(rows: Sequence[Sequence[int]], renderer: Renderer) -> list[Generation]:
    """Requests' tokens up to the first stop token, with their text."""
    stops = set(renderer.stop_ids)
    kept = [tuple(ids[: _end(ids, stops)]) for ids in rows]
    return [
        Generation(cut, text, "stop" if len(cut) < len(ids) else "length")
        for ids, cut, text in zip(rows, kept, renderer.decode_many(kept), strict=True)
    ]


def _end(ids: Sequence[int], stops: set[int]) -> int:
    """Where the first stop token stands; the length if there is none."""
    return next((n for n, token in enumerate(ids) if token in stops), len(ids))


def model_logits(loaded: Loaded, ids: Sequence[int]) -> Any:
    """Logits [T, V] of a sequence by the sampler's own path, for tests."""
    cache = Slots(loaded.layers, 1, len(ids))
    cache.fill(slice(0, 1))
    return loaded.logits(loaded.hidden(torch.tensor([list(ids)], device=loaded.device), None, cache)[0])
