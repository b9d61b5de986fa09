"""Sampling with vLLM: prompts of several adapters of one base in one submission, so that slots stay full between them.

What vLLM cannot serve is sampled by transformers in the end, with a line that says so; a part that cannot be served, or
that ends the engine, takes no other with it. This module refuses to know how an engine is started. Invariant: every
part is handed out once and whole; its answers do not depend on what was submitted beside it (up to floating point).
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offmodel.core.errors import OffmodelError
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Part, Request, Sampling, by_transformers
from offmodel.engines.sampling.draws import request_seeds
from offmodel.engines.sampling.vllm import (
    Engine,
    Need,
    Unservable,
    check_place,
    check_version,
    deaths,
    engine_for,
    forget,
    line_of,
    load,
    positions_of,
    rank_for,
    submit,
)
from offmodel.store.recipe import Runtime

# Requests handed over at a time: if the engine dies, no more than these are sampled again, and no more answers than
# these wait in memory to be written.
_SUBMITTED = 4096
_DEATHS_ALLOWED = 1


@dataclass(slots=True, eq=False)
class _Waiting:
    """A part that is not answered whole.

    Attributes:
        rank: that an engine needs for it, 0 without adapter.
        length: of its longest sequence.
        rows: tokens and finish reason of the requests that are answered, from the first on.
        deaths: of engines, while they sampled it.
    """

    part: Part
    rank: int
    length: int
    seeds: list[int]
    rows: list[tuple[list[int], str]] = field(default_factory=list)
    deaths: int = 0

    @property
    def left(self) -> int:
        return len(self.part.requests) - len(self.rows)


@dataclass(slots=True, eq=False)
class _Desk:
    """What is still to be done, by place: `waiting` for the engine, `refused` by it (with the reason)."""

    waiting: dict[int, _Waiting]
    refused: dict[int, str]

    def refuse(self, place: int, reason: str) -> None:
        """Leave a part to the other sampler, from its first request on."""
        del self.waiting[place]
        self.refused[place] = reason


def complete_many(
    *, model: Path, model_key: str, parts: Mapping[int, Part], sampling: Sampling, runtime: Runtime
) -> Iterator[dict[int, list[Generation] | OffmodelError]]:
    """Complete prompts; see `offmodel.engines.sampling.sample_many`. Parts are named by their places.

    Raises:
        ModelError: vLLM is not installed, or the device is not a GPU.
    """
    check_place(runtime)
    desk = _open(model, parts, sampling)
    renderer = Renderer.from_folder(model)
    while desk.waiting:
        finished = _sample_next(desk, model, model_key, sampling)
        if finished:
            yield {place: _generations(w.rows, renderer) for place, w in finished.items()}
    if desk.refused:
        forget()
    for place, reason in desk.refused.items():
        yield {place: _plainly(parts[place], reason, model, model_key, sampling, runtime)}


def _open(model: Path, parts: Mapping[int, Part], sampling: Sampling) -> _Desk:
    """Sort out what vLLM cannot serve, before anything is started."""
    desk = _Desk({}, {})
    for place, part in parts.items():
        try:
            check_version()
            rank = 0 if part.adapter is None else rank_for(part.adapter)
            length = max(len(r.ids) + r.max_new_tokens for r in part.requests)
            if length > (positions_of(model) or length):
                raise Unservable("a prompt and its completion are longer than the model's positions")
        except Unservable as reason:
            desk.refused[place] = str(reason)
        else:
            seeds = request_seeds([r.ids for r in part.requests], sampling.seed)
            desk.waiting[place] = _Waiting(part, rank, length, seeds)
    return desk


def _sample_next(desk: _Desk, model: Path, model_key: str, sampling: Sampling) -> dict[int, _Waiting]:
    """Submit what comes next, and take out what it finished; an engine that dies is started again by the next call."""
    waiting, taken = desk.waiting, list[int]()
    try:
        engine = engine_for(model, model_key, _need(waiting.values()), sampling.dtype)
        taken = _together(waiting, engine.slots)
        loras: dict[int, Any] = {}
        for place in taken:
            try:
                loras[place] = load(engine, waiting[place].part.adapter, waiting[place].part.adapter_key)
            except Unservable as reason:
                desk.refuse(place, str(reason))
        _submit(engine, [(waiting[place], lora) for place, lora in loras.items()], sampling.temperature)
    except Unservable as reason:
        # Perhaps the largest adapters are what it cannot hold: the others are tried without them.
        largest = max(w.rank for w in waiting.values())
        for place in [p for p, w in waiting.items() if w.rank == largest]:
            desk.refuse(place, str(reason))
        return {}
    except deaths() as error:
        forget()
        for place in (p for p in taken if p in waiting):
            waiting[place].deaths += 1
            if waiting[place].deaths > _DEATHS_ALLOWED:
                desk.refuse(place, f"its engine died {waiting[place].deaths} times ({line_of(error)})")
        return {}
    return {place: waiting.pop(place) for place in loras if not waiting[place].left}


def _need(waiting: Collection[_Waiting]) -> Need:
    return Need(
        rank=max(w.rank for w in waiting),
        adapters=len({w.part.adapter_key for w in waiting} - {None}),
        length=max(w.length for w in waiting),
    )


def _together(waiting: Mapping[int, _Waiting], slots: int) -> list[int]:
    """The places of the next submission: as many adapters as the engine holds, until there are requests enough.

    What an engine has died of comes alone, so that it shows whose fault that was.
    """
    taken, adapters, n = list[int](), set[str | None](), 0
    alone = next(iter(waiting.values())).deaths > 0
    for place, w in waiting.items():
        more = adapters | {w.part.adapter_key} - {None}
        if n >= _SUBMITTED or (taken and (alone or w.deaths)):
            break
        if len(more) <= slots:
            taken.append(place)
            adapters, n = more, n + w.left
    return taken


def _submit(engine: Engine, parts: Sequence[tuple[_Waiting, Any]], temperature: float) -> None:
    """Sample the next requests of parts, each with its adapter, in one go, and keep their answers."""
    requests, seeds, loras, counts = list[Request](), list[int](), list[Any](), list[int]()
    for w, lora in parts:
        span = slice(len(w.rows), len(w.rows) + _SUBMITTED - len(requests))
        counts.append(len(w.seeds[span]))
        requests += w.part.requests[span]
        seeds += w.seeds[span]
        loras += [lora] * counts[-1]
    rows = iter(submit(engine, loras, requests, seeds, temperature) if requests else ())
    for (w, _), n in zip(parts, counts, strict=True):
        w.rows += itertools.islice(rows, n)
        of = len(w.part.requests)
        w.part.progress(len(w.rows) / of, f"{len(w.rows)} of {of} sampled")


def _plainly(
    part: Part, reason: str, model: Path, model_key: str, sampling: Sampling, runtime: Runtime
) -> list[Generation] | OffmodelError:
    """A part by the transformers sampler, and a line that says so."""
    line = f"vLLM is not used: {reason}; sampled by transformers instead."
    part.progress(0.0, line)
    if part.notice is not None:
        part.notice(line)
    try:
        return by_transformers(model, model_key, part, sampling, runtime)
    except OffmodelError as error:
        return error


def _generations(rows: Sequence[tuple[list[int], str]], renderer: Renderer) -> list[Generation]:
    stops = set(renderer.stop_ids)
    cut = [ids[:-1] if ids and ids[-1] in stops else ids for ids, _ in rows]
    texts = renderer.decode_many(cut)
    return [
        Generation(tuple(ids), text, "stop" if finish == "stop" else "length")
        for ids, text, (_, finish) in zip(cut, texts, rows, strict=True)
    ]
