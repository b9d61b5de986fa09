"""The parts of one model through the transformers sampler: adapters side by side where that can be, or one by one.

On a GPU, adapters of one model that are asked little enough decode in one batch. This module refuses to know how rows
are decoded. Invariant: every part is handed out once and whole; its answers do not depend on what stood beside it (up
to floating point).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from offmodel.core.errors import ModelError, OffmodelError
from offmodel.engines.captures import is_memory
from offmodel.engines.sampling import Generation, Part, Request, Sampling, by_transformers
from offmodel.engines.sampling.batch import Batch
from offmodel.engines.sampling.inside import is_plain
from offmodel.engines.sampling.lanes import NoLanes
from offmodel.engines.sampling.loaded import Loaded, lay_in, obtain_base
from offmodel.engines.sampling.transformers import SLOTS, check_requests, decoder_for, generations_of, has_room
from offmodel.store.recipe import Runtime

# Adapters that decode side by side, a power of two. On a CPU a batch's make-up could change bits, for little.
LANES = {"cpu": 1, "cuda": 8}
# Rows a request: lanes that are idle or shorter than others are computed too.
_MOST_ROWS = 4

_Finished = dict[int, list[int]]


def complete_parts(
    *, model: Path, model_key: str, parts: Mapping[int, Part], sampling: Sampling, runtime: Runtime
) -> Iterator[dict[int, list[Generation] | OffmodelError]]:
    """Complete prompts of several adapters, side by side where that can be; see `sample_many`.

    What cannot stand side by side comes one adapter after another. Parts are named by their places.
    """
    waiting, most = list(parts), LANES[runtime.device.split(":")[0]]
    kept: dict[int, _Finished] = defaultdict(dict)  # what a batch had finished when memory ran out
    lanes = 0
    while waiting:
        lanes = _lanes([parts[i] for i in waiting], most, lanes, runtime)
        taken, found = {i: parts[i] for i in waiting[:lanes]}, None
        if lanes > 1:
            found = _side_by_side(model, model_key, taken, kept, lanes, sampling, runtime)
        if isinstance(found, int):
            most = found
            continue
        waiting = waiting[lanes:]
        if found is not None:
            yield found
            continue
        for i, part in taken.items():
            yield {i: _alone(model, model_key, part, kept[i], sampling, runtime)}


def _alone(
    model: Path, model_key: str, part: Part, finished: _Finished, sampling: Sampling, runtime: Runtime
) -> list[Generation] | OffmodelError:
    try:
        return by_transformers(model, model_key, part, sampling, runtime, finished)
    except OffmodelError as error:
        return error


def _lanes(waiting: Sequence[Part], most: int, before: int, runtime: Runtime) -> int:
    """How many lanes the next batch has: a power of two, so that rows in multiples of 64 are multiples of it.

    As many as the batch before if they do: its graphs stay, and a few idle lanes cost less than capturing anew.
    """
    if runtime.micro_batch is not None:
        return 1

    def fit(lanes: int) -> bool:
        few = waiting[:lanes]
        asked = [len(part.requests) for part in few]
        plain = all(part.adapter is None or _is_plain(part.adapter) for part in few)
        return plain and lanes <= most and lanes * max(asked) <= _MOST_ROWS * sum(asked)

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
    model: Path,
    model_key: str,
    parts: Mapping[int, Part],
    kept: Mapping[int, _Finished],
    lanes: int,
    sampling: Sampling,
    runtime: Runtime,
) -> dict[int, list[Generation] | OffmodelError] | int | None:
    """Answers of each part; or how many lanes may be tried; or None where one of these parts is at fault."""
    try:
        loaded = obtain_base(model, model_key, sampling.dtype, runtime.device)
    except ModelError:
        return None
    if loaded.most_lanes is not None and lanes > loaded.most_lanes:
        return loaded.most_lanes
    try:
        found = _in_lanes(loaded, parts, kept, lanes, sampling, runtime)
        if found == 1:
            _tell(parts, "no memory for several")
        return found
    except NoLanes as error:
        found, reason = 1, error
    except ModelError:
        return None  # alone, each part says for itself what is wrong
    except RuntimeError as error:
        found, reason = lanes // 2 if is_memory(error) else 1, error
    if found == 1:  # the record says that each part came alone
        _tell(parts, (str(reason).strip() or type(reason).__name__).splitlines()[0])
    # Only now: inside `except`, the error's frames would still hold what did not fit.
    del reason
    loaded.most_lanes, loaded.decoder = found, None
    torch.cuda.empty_cache()
    return found


def _tell(parts: Mapping[int, Part], reason: str) -> None:
    for part in parts.values():
        if part.notice is not None:
            part.notice(f"Not sampled beside other adapters: {reason[:200]}")


def _in_lanes(
    loaded: Loaded,
    parts: Mapping[int, Part],
    kept: Mapping[int, _Finished],
    lanes: int,
    sampling: Sampling,
    runtime: Runtime,
) -> dict[int, list[Generation] | OffmodelError] | int:
    kind, idle = runtime.device.split(":")[0], lanes - len(parts)
    if kind == "cpu":
        torch.set_num_threads(runtime.threads)
    everything = [request for part in parts.values() for request in part.requests]
    check_requests(everything, loaded)
    longest = max(len(part.requests) for part in parts.values())
    rows = min(longest, SLOTS[kind] // lanes)
    # Before the decoder at hand is given up, and its graphs with it.
    while not has_room(loaded, everything, lanes * rows):
        rows = 3 * rows // 4  # those that find no row wait for one
        if rows < longest / 4:
            return lanes // 2
    decoder = decoder_for(loaded, everything, lanes * rows, least=lanes * rows, multiple=lanes)
    lay_in(loaded, [*((part.adapter, part.adapter_key) for part in parts.values()), *[(None, None)] * idle])
    asked = [*([*part.requests] for part in parts.values()), *[list[Request]()] * idle]
    finished = [*(kept[i] for i in parts), *(_Finished() for _ in range(idle))]
    batch = Batch(decoder, asked, sampling, rows=rows, finished=finished)
    batch.run([*(part.progress for part in parts.values()), *[_silent] * idle])
    if kind == "cpu":
        loaded.decoder = None
    return {
        i: generations_of([done[n] for n in range(len(part.requests))], loaded.renderer)
        for (i, part), done in zip(parts.items(), finished, strict=False)
    }


def _silent(fraction: float, text: str = "") -> None:
    return
