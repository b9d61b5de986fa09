"""vLLM's engine: one for a whole process, which holds several adapters at a time, full weights reloaded in it.

Written against vLLM 0.24; imported only when a recipe asks for it. vLLM puts its engine into a process of its own; it
may hold a part of the device only, so that trainings go on beside it. Another model of the same shape is written over
the one in place. What it cannot serve is `Unservable`. This module refuses to know conversations, and what is submitted
together. Invariant: an adapter's number is never used for another adapter, and nothing cached for one model answers for
another.
"""

import gc
import importlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

from offmodel.core.errors import ModelError
from offmodel.engines.adapters import read_config
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Request
from offmodel.store.recipe import Runtime

SUPPORTED = "0.24."
# Ranks that vLLM has kernels for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# A training may hold the other half of the device meanwhile.
_MEMORY_SHARE = 0.45
_LEAST_LENGTH = 4096
# Adapters that the engine holds at a time. vLLM keeps room on the device for each, at the largest rank, beside every
# linear layer: some 0.1 GB each for rank 64 on 0.5B, 0.4 GB on 8B.
_MOST_SLOTS = 8
# Captured decoding steps without compilation: most of the speed, without the minutes that compiling takes.
_GRAPHS = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
_ADAPTER_NUMBERS = itertools.count(1)


@final
class Unservable(Exception):
    """vLLM cannot serve this; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an engine has to serve.

    Attributes:
        rank: the largest rank of an adapter, 0 for no adapters.
        adapters: how many different ones are waiting.
        length: of the longest sequence.
    """

    rank: int
    adapters: int
    length: int

    def rounded(self) -> "Need":
        """Sizes in steps, so that an engine is not started anew for every little more."""
        slots = 1 << (self.adapters - 1).bit_length() if self.adapters else 0
        length = max(_LEAST_LENGTH, -(-self.length // 1024) * 1024)
        return Need(rank=self.rank, adapters=min(slots, _MOST_SLOTS), length=length)

    def within(self, other: "Need") -> bool:
        """Whether an engine for the other can serve this."""
        return self.rank <= other.rank and self.adapters <= other.adapters and self.length <= other.length

    def joined(self, other: "Need") -> "Need":
        """What serves both."""
        return Need(
            rank=max(self.rank, other.rank),
            adapters=max(self.adapters, other.adapters),
            length=max(self.length, other.length),
        )


@dataclass(slots=True, eq=False)
class Engine:
    """A running engine.

    Attributes:
        key: content digest of the model in it, and dtype.
        shape: the model's configuration; another model of the same may be written over it.
        asked: what it was started for.
        slots: adapters that it holds at a time: fewer than asked for where memory did not allow more, 0 for none.
        numbers: adapter number by content digest.
    """

    key: tuple[str, str]
    shape: str
    asked: Need
    slots: int
    llm: Any
    renderer: Renderer
    numbers: dict[str, int] = field(default_factory=dict)


_RUNNING: list[Engine] = []


def forget() -> None:
    """End the running engine and give its memory back."""
    while _RUNNING:
        engine = _RUNNING.pop()
        try:
            engine.llm.llm_engine.engine_core.shutdown()
        except deaths():
            pass  # it has ended by itself
        del engine
    gc.collect()


def check_place(runtime: Runtime) -> None:
    """Raises `ModelError` where there is no GPU or no vLLM."""
    if not runtime.device.startswith("cuda"):
        raise ModelError("The sampler 'vllm-0' needs a CUDA device; use the sampler 'transformers-5' on this machine.")
    if _installed() is None:
        raise ModelError("The sampler 'vllm-0' needs vLLM; install the extra with pip install 'offmodel[vllm]'.")


def _installed() -> str | None:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return None


def check_version() -> None:
    """Raises `Unservable` unless the installed vLLM is the one that this is written for."""
    found = _installed() or ""
    if not found.startswith(SUPPORTED):
        raise Unservable(f"this is vLLM {found}, and offmodel is written for {SUPPORTED}x")


def _vllm(module: str = "vllm") -> Any:
    """A module of vLLM, whether or not it is installed where types are checked."""
    return importlib.import_module(module)


def deaths() -> tuple[type[BaseException], ...]:
    """What a dead engine raises."""
    return (_vllm("vllm.v1.engine.exceptions").EngineDeadError,)


def load(engine: Engine, adapter: Path | None, adapter_key: str | None) -> Any:
    """An adapter, in the engine's memory, as requests name it; None without one.

    Loaded by the first step that needs it, one that cannot be loaded would end the engine and all that it samples.

    Raises:
        Unservable: it cannot be loaded.
    """
    if adapter is None or adapter_key is None:
        return None
    number = engine.numbers.get(adapter_key) or engine.numbers.setdefault(adapter_key, next(_ADAPTER_NUMBERS))
    named = _vllm("vllm.lora.request").LoRARequest(f"adapter-{number}", number, str(adapter))
    try:
        engine.llm.llm_engine.add_lora(named)
    except deaths():
        raise
    except Exception as error:  # the engine hands on whatever it was as a plain Exception
        # Half loaded, it would pass for loaded when its number is named again.
        del engine.numbers[adapter_key]
        raise Unservable(f"it cannot load this adapter ({line_of(error)})") from error
    return named


def submit(
    engine: Engine, loras: Sequence[Any], requests: Sequence[Request], seeds: Sequence[int], temperature: float
) -> list[tuple[list[int], str]]:
    """Tokens and finish reason of each request.

    Args:
        engine: holds the adapters.
        loras: what `load` gave, for each request.
        requests: prompts as tokens.
        seeds: of each request's draws.
        temperature: 0 for greedy.
    """
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
    outputs = engine.llm.generate(prompts, params, lora_request=list(loras), use_tqdm=False)
    return [(list(o.outputs[0].token_ids), str(o.outputs[0].finish_reason)) for o in outputs]


def engine_for(model: Path, model_key: str, need: Need, dtype: str) -> Engine:
    """The running engine if it serves what is needed; or with the model written into it; or a new one.

    Raises:
        Unservable: none can be started.
    """
    need = need.rounded()
    key, shape = (model_key, dtype), _shape(model, dtype)
    if _RUNNING:
        engine = _RUNNING[0]
        if need.within(engine.asked):
            if engine.key == key:
                return engine
            # Adapters wrap the engine's layers, under names that no model's file has.
            if engine.shape == shape and engine.asked.rank == 0 and _reload(engine, model, key):
                return engine
        if engine.key == key:
            need = need.joined(engine.asked)
    forget()
    llm, slots = _start(model, dtype, need)
    _RUNNING.append(Engine(key, shape, need, slots, llm, Renderer.from_folder(model)))
    return _RUNNING[0]


def rank_for(adapter: Path) -> int:
    """The rank that an engine needs for an adapter.

    Raises:
        Unservable: vLLM serves no adapters of this kind, or this is none.
    """
    try:
        config = read_config(adapter)
    except (OSError, ValueError, ModelError) as error:
        raise Unservable(f"it cannot read this adapter ({line_of(error)})") from error
    unknown = ("use_dora", "target_parameters", "rank_pattern", "alpha_pattern", "modules_to_save")
    special = [n for n in unknown if config.get(n)]
    if special or config["r"] > _RANKS[-1]:
        raise Unservable(f"it serves no adapters of rank {config['r']} with {', '.join(special) or 'nothing special'}")
    return next(r for r in _RANKS if r >= config["r"])


def _shape(model: Path, dtype: str) -> str:
    """The configuration that two models share if one may be written over the other."""
    config = json.loads((model / "config.json").read_text())
    for name in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
        config.pop(name, None)
    return json.dumps([config, dtype], sort_keys=True)


def _reload(engine: Engine, model: Path, key: tuple[str, str]) -> bool:
    """Write another model's weights over the engine's, and forget what was cached; False if that cannot be done."""
    engine.key = ("half written", "")
    try:
        engine.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(model)})
        if not engine.llm.reset_prefix_cache():
            return False
    except deaths():
        raise
    except Exception:  # noqa: BLE001 -- whatever it is, a fresh engine has no old weights
        return False
    engine.key, engine.renderer = key, Renderer.from_folder(model)
    return True


def _start(model: Path, dtype: str, need: Need) -> tuple[Any, int]:
    """A new engine and how many adapters it holds.

    If it does not start, once more with a cache of a fixed size: vLLM measures how much memory is left for it, and
    fails where others on the device take or give some meanwhile. Then with one adapter, then without captured steps.
    """
    # Its kernels for top-k and top-p, which nobody here asks for, take two minutes to compile on a new machine.
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    # A forked engine cannot use the GPU once anyone here has asked whether there is one, which vLLM does not notice.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    reasons = []
    graphs, eager = {"compilation_config": dict(_GRAPHS)}, {"enforce_eager": True}
    fewer = [(graphs, 1)] if need.adapters > 1 else []
    for way, slots in ((graphs, need.adapters), (graphs, need.adapters), *fewer, (eager, min(need.adapters, 1))):
        adapters = {"enable_lora": True, "max_lora_rank": need.rank, "max_loras": slots} if slots else {}
        try:
            llm = _vllm().LLM(
                model=str(model),
                dtype=dtype,
                seed=0,
                max_model_len=min(need.length, positions_of(model) or need.length),
                **_room(measured=not reasons),
                enable_prefix_caching=True,
                generation_config="vllm",
                trust_remote_code=False,
                **way,
                **adapters,
            )
        except Exception as error:  # noqa: BLE001 -- vLLM raises all kinds for a model that it cannot serve
            reasons.append(line_of(error))
            gc.collect()
        else:
            return llm, slots
    raise Unservable(f"it does not serve this model ({reasons[-1]})")


def _room(*, measured: bool) -> dict[str, Any]:
    """What the engine may take: a share, in which vLLM measures its cache's room, or a quarter of what is free."""
    import torch

    if measured or not torch.cuda.is_available():
        return {"gpu_memory_utilization": _MEMORY_SHARE}
    free, total = torch.cuda.mem_get_info()
    return {"gpu_memory_utilization": min(_MEMORY_SHARE, 0.7 * free / total), "kv_cache_memory_bytes": free // 4}


def positions_of(model: Path) -> int | None:
    """The longest sequence that a model is made for, if its configuration says so."""
    return json.loads((model / "config.json").read_text()).get("max_position_embeddings")


def line_of(error: BaseException) -> str:
    """An error in one line."""
    text = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {text[:200]}"
