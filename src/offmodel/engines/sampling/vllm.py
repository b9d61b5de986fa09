"""Sampling with vLLM: one engine for a whole process, adapters handed over with each call, full weights reloaded in it.

Written against vLLM 0.24; imported only when a recipe asks for it. vLLM puts its engine into a process of its own; it
may hold a part of the device only, so that trainings go on beside it. Another model of the same shape is written over
the one in place. A version or a model that vLLM cannot serve falls back to the transformers sampler, and says so. This
module refuses to know conversations. Invariant: an adapter's number is never used for another adapter, and nothing
cached for one model answers for another.
"""

import gc
import importlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

from offmodel.core.errors import ModelError
from offmodel.engines.adapters import read_config
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling
from offmodel.engines.sampling.draws import request_seeds
from offmodel.store.recipe import Progress, Runtime

SUPPORTED = "0.24."
# Ranks that vLLM has kernels for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# A training may hold the other half of the device meanwhile.
_MEMORY_SHARE = 0.45
_LEAST_LENGTH = 4096
# Requests handed over at a time: if the engine dies, no more than these are sampled again.
_SUBMITTED = 4096
_DEATHS_ALLOWED = 1
# Captured decoding steps without compilation: most of the speed, without the minutes that compiling takes.
_GRAPHS = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
_ADAPTER_NUMBERS = itertools.count(1)


@final
class Unservable(Exception):
    """vLLM cannot serve this; the message is one line."""


@dataclass(slots=True, eq=False)
class _Engine:
    """A running engine.

    Attributes:
        key: content digest of the model in it, and dtype.
        shape: the model's configuration; another model of the same may be written over it.
        rank: the largest adapter rank that it serves, 0 for none.
        length: the longest sequence that it serves.
        numbers: adapter number by content digest.
    """

    key: tuple[str, str]
    shape: str
    rank: int
    length: int
    llm: Any
    renderer: Renderer
    numbers: dict[str, int] = field(default_factory=dict)


_RUNNING: list[_Engine] = []


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
    notice: Callable[[str], None] | None = None,
) -> list[Generation]:
    """Complete prompts; see `offmodel.engines.sampling.sample`.

    Raises:
        ModelError: vLLM is not installed, or the device is not a GPU.
    """
    _check_place(runtime)
    try:
        _check_version()
        rows = _all(model, model_key, adapter, adapter_key, requests, sampling, progress)
        return _generations(rows, Renderer.from_folder(model))
    except Unservable as reason:
        line = f"vLLM is not used: {reason}; sampled by transformers instead."
        progress(0.0, line)
        if notice is not None:
            notice(line)
        forget()
    from offmodel.engines.sampling.transformers import complete as plain

    return plain(
        model=model,
        model_key=model_key,
        adapter=adapter,
        adapter_key=adapter_key,
        requests=requests,
        sampling=sampling,
        runtime=runtime,
        progress=progress,
    )


def forget() -> None:
    """End the running engine and give its memory back."""
    while _RUNNING:
        engine = _RUNNING.pop()
        try:
            engine.llm.llm_engine.engine_core.shutdown()
        except _deaths():
            pass  # it has ended by itself
        del engine
    gc.collect()


def _check_place(runtime: Runtime) -> None:
    if not runtime.device.startswith("cuda"):
        raise ModelError("The sampler 'vllm-0' needs a CUDA device; use the sampler 'transformers-5' on this machine.")
    if _installed() is None:
        raise ModelError("The sampler 'vllm-0' needs vLLM; install the extra with pip install 'offmodel[vllm]'.")


def _installed() -> str | None:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return None


def _check_version() -> None:
    found = _installed() or ""
    if not found.startswith(SUPPORTED):
        raise Unservable(f"this is vLLM {found}, and offmodel is written for {SUPPORTED}x")


def _vllm(module: str = "vllm") -> Any:
    """A module of vLLM, whether or not it is installed where types are checked."""
    return importlib.import_module(module)


def _deaths() -> tuple[type[BaseException], ...]:
    """What a dead engine raises."""
    return (_vllm("vllm.v1.engine.exceptions").EngineDeadError,)


def _all(
    model: Path,
    model_key: str,
    adapter: Path | None,
    adapter_key: str | None,
    requests: Sequence[Request],
    sampling: Sampling,
    progress: Progress,
) -> list[tuple[list[int], str]]:
    """Tokens and finish reason of every request; an engine that dies is started again for what is unfinished."""
    seeds = request_seeds([r.ids for r in requests], sampling.seed)
    needed = max(len(r.ids) + r.max_new_tokens for r in requests)
    rows: list[tuple[list[int], str]] = []
    deaths = 0
    while len(rows) < len(requests):
        part = slice(len(rows), len(rows) + _SUBMITTED)
        try:
            engine = _engine(model, model_key, adapter, needed, sampling.dtype)
            lora = _lora(engine, adapter, adapter_key)
            rows += _submit(engine, lora, requests[part], seeds[part], sampling.temperature)
        except _deaths() as error:
            forget()
            deaths += 1
            if deaths > _DEATHS_ALLOWED:
                raise Unservable(f"its engine died {deaths} times ({_line(error)})") from error
            continue
        progress(len(rows) / len(requests), f"{len(rows)} of {len(requests)} sampled")
    return rows


def _lora(engine: _Engine, adapter: Path | None, adapter_key: str | None) -> Any:
    if adapter is None or adapter_key is None:
        return None
    number = engine.numbers.get(adapter_key) or engine.numbers.setdefault(adapter_key, next(_ADAPTER_NUMBERS))
    return _vllm("vllm.lora.request").LoRARequest(f"adapter-{number}", number, str(adapter))


def _submit(
    engine: _Engine, lora: Any, requests: Sequence[Request], seeds: Sequence[int], temperature: float
) -> list[tuple[list[int], str]]:
    params = [
        _vllm().SamplingParams(
            temperature=temperature,
            seed=None if temperature == 0 else seed,
            max_tokens=request.max_new_tokens,
            stop_token_ids=sorted(engine.renderer.stop_ids),
            # The stop tokens are ours; vLLM would add what it read beside the first model that it loaded.
            ignore_eos=True,
            detokenize=False,
        )
        for request, seed in zip(requests, seeds, strict=True)
    ]
    prompts = [{"prompt_token_ids": list(r.ids)} for r in requests]
    outputs = engine.llm.generate(prompts, params, lora_request=lora, use_tqdm=False)
    return [(list(o.outputs[0].token_ids), str(o.outputs[0].finish_reason)) for o in outputs]


def _engine(model: Path, model_key: str, adapter: Path | None, needed: int, dtype: str) -> _Engine:
    """The running engine if it serves this model, rank and length; or with the model written into it; or a new one."""
    rank = 0 if adapter is None else _rank(adapter)
    length = max(_LEAST_LENGTH, -(-needed // 1024) * 1024)
    key, shape = (model_key, dtype), _shape(model, dtype)
    if needed > (_positions(model) or needed):
        raise Unservable("a prompt and its completion are longer than the model's positions")
    if _RUNNING:
        engine = _RUNNING[0]
        if engine.rank >= rank and engine.length >= length:
            if engine.key == key:
                return engine
            # Adapters wrap the engine's layers, under names that no model's file has.
            if engine.shape == shape and engine.rank == 0 and _reload(engine, model, key):
                return engine
        if engine.key == key:
            rank, length = max(rank, engine.rank), max(length, engine.length)
    forget()
    llm = _start(model, dtype, rank, length)
    _RUNNING.append(_Engine(key, shape, rank, length, llm, Renderer.from_folder(model)))
    return _RUNNING[0]


def _rank(adapter: Path) -> int:
    config = read_config(adapter)
    special = [n for n in ("use_dora", "target_parameters", "rank_pattern", "modules_to_save") if config.get(n)]
    if special or config["r"] > _RANKS[-1]:
        raise Unservable(f"it serves no adapters of rank {config['r']} with {', '.join(special) or 'nothing special'}")
    return next(r for r in _RANKS if r >= config["r"])


def _shape(model: Path, dtype: str) -> str:
    """The configuration that two models share if one may be written over the other."""
    config = json.loads((model / "config.json").read_text())
    for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(name, None)
    return json.dumps([config, dtype], sort_keys=True)


def _reload(engine: _Engine, model: Path, key: tuple[str, str]) -> bool:
    """Write another model's weights over the engine's, and forget what was cached; False if that cannot be done."""
    engine.key = ("half written", "")
    try:
        engine.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
        if not engine.llm.reset_prefix_cache():
            return False
    except _deaths():
        raise
    except Exception:  # noqa: BLE001 -- whatever it is, a fresh engine has no old weights
        return False
    engine.key, engine.renderer = key, Renderer.from_folder(model)
    return True


def _start(model: Path, dtype: str, rank: int, length: int) -> Any:
    """A new engine; without captured steps if these cannot be had."""
    adapters: dict[str, Any] = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if rank else {}
    reasons = []
    for way in ({"compilation_config": dict(_GRAPHS)}, {"enforce_eager": True}):
        try:
            return _vllm().LLM(
                model=str(model),
                dtype=dtype,
                seed=0,
                max_model_len=min(length, _positions(model) or length),
                gpu_memory_utilization=_MEMORY_SHARE,
                enable_prefix_caching=True,
                generation_config="vllm",
                trust_remote_code=False,
                **way,
                **adapters,
            )
        except Exception as error:  # noqa: BLE001 -- vLLM raises all kinds for a model that it cannot serve
            reasons.append(_line(error))
            gc.collect()
    raise Unservable(f"it does not serve this model ({reasons[-1]})")


def _positions(model: Path) -> int | None:
    return json.loads((model / "config.json").read_text()).get("max_position_embeddings")


def _line(error: BaseException) -> str:
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {text[:200]}"


def _generations(rows: Sequence[tuple[list[int], str]], renderer: Renderer) -> list[Generation]:
    stops = set(renderer.stop_ids)
    cut = [ids[:-1] if ids and ids[-1] in stops else ids for ids, _ in rows]
    texts = renderer.decode_many(cut)
    return [
        Generation(tuple(ids), text, "stop" if finish == "stop" else "length")
        for ids, text, (_, finish) in zip(cut, texts, rows, strict=True)
    ]
