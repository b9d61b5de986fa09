"""Sampling with vLLM: one engine a base model, kept for the whole process, adapters handed over with each call.

Written against vLLM 0.24; imported only when a recipe asks for it. vLLM puts its engine into a process of its own. This
module refuses to know conversations. Invariant: an adapter's number is never used for another adapter, and nothing
cached for one base answers for another.
"""

import gc
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offmodel.core.errors import ModelError
from offmodel.engines.adapters import read_config
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling
from offmodel.engines.sampling.draws import request_seeds
from offmodel.store.recipe import Progress, Runtime

# Ranks that vLLM has kernels for.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# A training may hold the other half of the device meanwhile.
_MEMORY_SHARE = 0.45
_LEAST_LENGTH = 4096
_ADAPTER_NUMBERS = itertools.count(1)


@dataclass(slots=True, eq=False)
class _Engine:
    """A running engine.

    Attributes:
        rank: the largest adapter rank that it serves, 0 for none.
        length: the longest sequence that it serves.
        numbers: adapter number by content digest.
    """

    key: tuple[str, str]
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
) -> list[Generation]:
    """Complete prompts; see `offmodel.engines.sampling.sample`.

    Raises:
        ModelError: vLLM is not installed, or the device is not a GPU.
    """
    if not runtime.device.startswith("cuda"):
        raise ModelError("The sampler 'vllm-0' needs a CUDA device; use the sampler 'transformers-5' on this machine.")
    try:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise ModelError("The sampler 'vllm-0' needs vLLM; install the extra with pip install 'offmodel[vllm]'.") from e
    engine = _engine(model, model_key, adapter, requests, sampling.dtype)
    lora = None
    if adapter is not None and adapter_key is not None:
        number = engine.numbers.setdefault(adapter_key, next(_ADAPTER_NUMBERS))
        lora = LoRARequest(f"adapter-{number}", number, str(adapter))
    seeds = request_seeds([r.ids for r in requests], sampling.seed)
    stops = set(engine.renderer.stop_ids)
    params = [
        SamplingParams(
            temperature=sampling.temperature,
            seed=None if sampling.temperature == 0 else seed,
            max_tokens=request.max_new_tokens,
            stop_token_ids=sorted(stops),
            detokenize=False,
        )
        for request, seed in zip(requests, seeds, strict=True)
    ]
    prompts = [{"prompt_token_ids": list(r.ids)} for r in requests]
    outputs = engine.llm.generate(prompts, params, lora_request=lora, use_tqdm=False)
    progress(1.0, f"{len(requests)} of {len(requests)} sampled")
    return _generations([o.outputs[0] for o in outputs], engine.renderer, stops)


def forget() -> None:
    """End the running engine and give its memory back."""
    while _RUNNING:
        engine = _RUNNING.pop()
        engine.llm.llm_engine.engine_core.shutdown()
        del engine
    gc.collect()


def _engine(model: Path, model_key: str, adapter: Path | None, requests: Sequence[Request], dtype: str) -> _Engine:
    """The running engine if it serves this base, rank and length; else a new one."""
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    rank = 0 if adapter is None else next((r for r in _RANKS if r >= read_config(adapter)["r"]), _RANKS[-1])
    needed = max(len(r.ids) + r.max_new_tokens for r in requests)
    length = max(_LEAST_LENGTH, -(-needed // 1024) * 1024)
    key = (model_key, dtype)
    if _RUNNING and _RUNNING[0].key == key:
        if _RUNNING[0].rank >= rank and _RUNNING[0].length >= length:
            return _RUNNING[0]
        rank, length = max(rank, _RUNNING[0].rank), max(length, _RUNNING[0].length)
    forget()
    options: dict[str, Any] = {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1} if rank else {}
    llm = LLM(
        model=str(model),
        dtype=dtype,
        seed=0,
        max_model_len=length,
        gpu_memory_utilization=_MEMORY_SHARE,
        # Full-weight checkpoints are bases of their own: starting one would spend minutes compiling.
        enforce_eager=True,
        generation_config="vllm",
        trust_remote_code=False,
        **options,
    )
    _RUNNING.append(_Engine(key, rank, length, llm, Renderer.from_folder(model)))
    return _RUNNING[0]


def _generations(outputs: Sequence[Any], renderer: Renderer, stops: set[int]) -> list[Generation]:
    rows = [list(o.token_ids) for o in outputs]
    cut = [row[:-1] if row and row[-1] in stops else row for row in rows]
    texts = renderer.decode_many(cut)
    return [
        Generation(tuple(ids), text, "stop" if o.finish_reason == "stop" else "length")
        for ids, text, o in zip(cut, texts, outputs, strict=True)
    ]
