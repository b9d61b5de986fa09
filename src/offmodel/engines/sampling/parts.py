"""The parts of one model through the transformers sampler: adapters side by side where that can be, or one by one.

On a GPU, adapters of one model that are asked little enough decode in one batch. This module refuses to know how rows
are decoded. Invariant: every part is handed out once and whole; its answers do not depend on what stood beside it (up
to floating point).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from offmodel.core.errors import ModelError, OffmodelError
from offmodel.engines.captures import is_memory
from offmodel.engines.sampling import Generation, Part, Request, Sampling, by_transformers
from offmodel.engines.sampling.batch import Batch
from offmodel.engines.sampling.inside import is_plain
from offmodel.engines.sampling.loaded import Loaded, lay_in, obtain_base
from offmodel.engines.sampling.transformers import SLOTS, check_requests, decoder_for, generations_of
from offmodel.store.recipe import Runtime

# Adapters that decode side by side, a power of two. On a CPU a batch's make-up could change bits, for little.
LANES = {"cpu": 1, "cuda": 8}


def complete_parts(
    *, model: Path, model_key: str, parts: Mapping[int, Part], sampling: Sampling, runtime: Runtime
) -> Iterator[dict[int, list[Generation] | OffmodelError]]:
    """Complete prompts of several adapters, side by side where that can be; see `sample_many`.

    What cannot stand side by side comes one adapter after another. Parts are named by their places.
    """
    waiting, most = list(parts), LANES[runtime.device.split(":")[0]]
    lanes = 0
    while waiting:
        lanes = _lanes([parts[i] for i in waiting], most, lanes, runtime)
        taken = waiting[:lanes]
        if lanes > 1:
            found = _side_by_side(model, model_key, [parts[i] for i in taken], lanes, sampling, runtime)
            if isinstance(found, int):
                lanes = most = found
                continue
            waiting = waiting[lanes:]
            yield dict(zip(taken, found, strict=True))
            continue
        waiting = waiting[1:]
        yield {taken[0]: by_transformers(model, model_key, parts[taken[0]], sampling, runtime)}


def _lanes(waiting: Sequence[Part], most: int, before: int, runtime: Runtime) -> int:
    """How many lanes the next batch has: a power of two, so that rows in multiples of 64 are multiples of it.

    As many as the batch before if they do: its graphs stay, and idle lanes cost less than capturing anew.
    """
    if runtime.micro_batch is not None:
        return 1
    slots = SLOTS[runtime.device.split(":")[0]]

    def fit(lanes: int) -> bool:
        few = waiting[:lanes]
        plain = all(part.adapter is None or _is_plain(part.adapter) for part in few)
        return lanes <= most and plain and lanes * max(len(part.requests) for part in few) <= slots

    if before > 1 and fit(before):
        return before
    lanes = 1
    while lanes < len(waiting) and fit(2 * lanes):
        lanes *= 2
    return lanes


def _is_plain(adapter: Path) -> bool:
    try:
        return is_plain(adapter)
    except (OSError, ValueError, ModelError):
        return False  # alone, it says what is wrong with it


def _side_by_side(
    model: Path, model_key: str, parts: Sequence[Part], lanes: int, sampling: Sampling, runtime: Runtime
) -> list[list[Generation]] | int:
    """Answers of each part; or how many lanes may be tried, where model, adapters or memory do not allow so many."""
    try:
        loaded = obtain_base(model, model_key, sampling.dtype, runtime.device)
    except ModelError:
        return 1  # alone, each part says for itself what is wrong
    if loaded.most_lanes is not None and lanes > loaded.most_lanes:
        return loaded.most_lanes
    try:
        found = _in_lanes(loaded, parts, lanes, sampling, runtime)
    except ModelError:
        found = 1
    except RuntimeError as error:
        found = lanes // 2 if is_memory(error) else 1
        if found == 1:  # the record says that each part came alone
            for part in parts:
                if part.notice is not None:
                    part.notice(f"Not sampled beside other adapters: {str(error).strip().splitlines()[0][:200]}")
    if isinstance(found, int):
        # Only now: inside `except`, the error's frames would still hold what did not fit.
        loaded.most_lanes, loaded.decoder = found, None
        torch.cuda.empty_cache()
    return found


def _in_lanes(
    loaded: Loaded, parts: Sequence[Part], lanes: int, sampling: Sampling, runtime: Runtime
) -> list[list[Generation]] | int:
    kind, idle = runtime.device.split(":")[0], lanes - len(parts)
    if kind == "cpu":
        torch.set_num_threads(runtime.threads)
    adapters = [*((part.adapter, part.adapter_key) for part in parts), *[(None, None)] * idle]
    asked = [*([*part.requests] for part in parts), *[list[Request]()] * idle]
    everything = [request for requests in asked for request in requests]
    check_requests(everything, loaded)
    rows = max(map(len, asked))
    wanted = lanes * rows
    # Slots first: what does not fit must not cost the layers that are in, nor their graphs.
    decoder = decoder_for(loaded, everything, None, least=wanted, multiple=lanes)
    if decoder.slots < wanted:
        return lanes // 2
    lay_in(loaded, adapters)
    finished = [dict[int, list[int]]() for _ in asked]
    batch = Batch(decoder, asked, sampling, rows=rows, finished=finished)
    batch.run([*(part.progress for part in parts), *[_silent] * idle])
    if kind == "cpu":
        loaded.decoder = None
    return [
        generations_of([found[i] for i in range(len(part.requests))], loaded.renderer)
        for part, found in zip(parts, finished, strict=False)
    ]


def _silent(fraction: float, text: str = "") -> None:
    return
