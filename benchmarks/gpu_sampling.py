"""Sampling on one GPU, side by side: ours with and without CUDA graphs, `generate`, and vLLM driven by hand.

A random model of Qwen2.5-0.5B's shape: the speed is that of the real one, no weights are needed. All prompts run to the
limit; medians of repeats after a warm-up; vLLM's start is timed apart. Each row is printed and written at once. Also
checked: a replayed graph gives the tokens that the same step gives when it is launched kernel by kernel, and adapters
side by side say what they say one after another. Whether our sampler and vLLM say the same is `gpu_vllm.py`'s question,
which needs trained weights.

    PYTHONPATH=src python benchmarks/gpu_sampling.py --out benchmarks/results/gpu_sampling.json --limit 420
    PYTHONPATH=src python benchmarks/gpu_sampling.py --toy          # a dry run on a CPU
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bench import Rows, median
from gpu_training import SETTINGS
from shapes import HALF_BILLION, TOY, build, examples

from offmodel.engines.sampling import Part, Request, Sampling, loaded, sample, sample_many
from offmodel.engines.sampling import parts as engine
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sft import train
from offmodel.store.recipe import Runtime

GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="bfloat16")


def requests(n: int, limit: int, vocabulary: int) -> list[Request]:
    """Prompts of random tokens, log-normal in length around 60."""
    rng = np.random.default_rng(n)
    lengths = np.clip(rng.lognormal(4.0, 0.5, n), 8, 300).astype(int)
    return [Request(tuple(rng.integers(10, vocabulary, k).tolist()), limit) for k in lengths]


def ours(folder: Path, asked: list[Request], device: str) -> list[tuple[int, ...]]:
    """Our sampler's tokens."""
    got = sample(
        model=folder, model_key="bench", adapter=None, adapter_key=None, requests=asked, sampling=GREEDY,
        runtime=Runtime(device=device), progress=lambda fraction, text="": None,
    )  # fmt: skip
    return [g.ids for g in got]


def timed(device: str, repeats: int, work: Callable[[], list[Any]]) -> tuple[list[float], list[Any]]:
    """Seconds of repeats after one that is not counted, and the last result."""
    result = work()
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize() if device == "cuda" else None
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def speed(seconds: list[float], tokens: int) -> dict[str, Any]:
    """Columns of a row."""
    took = median(seconds)
    peak = {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 1)} if torch.cuda.is_available() else {}
    return {
        "seconds": took,
        "tokens": tokens,
        "tokens_per_second": round(tokens / took),
        "repeats": len(seconds),
    } | peak


def graphed(folder: Path, asked: list[Request], device: str, repeats: int, *, compare: bool) -> dict[str, Any]:
    """Our sampler, and how many of its answers are those of steps launched kernel by kernel."""
    _clear(device)
    seconds, tokens = timed(device, repeats, lambda: ours(folder, asked, device))
    found = speed(seconds, sum(map(len, tokens)))
    if compare:
        plain = Decoder._capture
        Decoder._capture = lambda *_: None  # type: ignore[method-assign]
        loaded.forget()
        began = time.perf_counter()
        eager = ours(folder, asked, device)
        found["seconds_without_graphs_with_start"] = round(time.perf_counter() - began, 1)
        Decoder._capture = plain  # type: ignore[method-assign]
        found["same_without_graphs"] = sum(a == b for a, b in zip(tokens, eager, strict=True)) / len(asked)
    loaded.forget()
    return found


def generated(folder: Path, asked: list[Request], device: str, repeats: int) -> dict[str, Any]:
    """Transformers' `generate`, left-padded, in one batch."""
    from transformers import AutoModelForCausalLM

    _clear(device)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device)
    width = max(len(r.ids) for r in asked)
    ids = torch.zeros(len(asked), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, m, r in zip(ids, mask, asked, strict=True):
        row[-len(r.ids) :] = torch.tensor(r.ids)
        m[-len(r.ids) :] = 1
    ids, mask, limit = ids.to(device), mask.to(device), asked[0].max_new_tokens
    model.generation_config.eos_token_id = None
    options = {"max_new_tokens": limit, "min_new_tokens": limit, "do_sample": False}
    seconds, out = timed(
        device, repeats, lambda: model.generate(ids, attention_mask=mask, **options)[:, width:].tolist()
    )
    return speed(seconds, sum(map(len, out)))


def by_hand(folder: Path, sizes: list[tuple[int, int]], vocabulary: int, repeats: int, rows: Rows) -> dict[str, Any]:
    """What vLLM's own documentation does: default settings, compilation included."""
    import vllm

    _clear("cuda")
    began = time.perf_counter()
    llm = vllm.LLM(model=str(folder), dtype="bfloat16", seed=0, max_model_len=4096, gpu_memory_utilization=0.85)
    start = time.perf_counter() - began
    for n, limit in sizes:
        asked = requests(n, limit, vocabulary)
        prompts = [{"prompt_token_ids": list(r.ids)} for r in asked]
        params = vllm.SamplingParams(temperature=0.0, max_tokens=limit, ignore_eos=True, detokenize=False)

        def work(prompts: Any = prompts, params: Any = params) -> list[Any]:
            llm.reset_prefix_cache()  # else the repeats would find their prompts
            return llm.generate(prompts, params, use_tqdm=False)

        seconds, out = timed("cuda", repeats, work)
        tokens = sum(len(o.outputs[0].token_ids) for o in out)
        rows.add(name="vLLM by hand", n=n, limit=limit, **speed(seconds, tokens))
    llm.llm_engine.engine_core.shutdown()
    return {"start_s": round(start, 1)}


def profiled(folder: Path, asked: list[Request], device: str) -> dict[str, Any]:
    """What our sampler's time goes to: kernels by their own time over a whole call after a warm-up."""
    from torch.profiler import ProfilerActivity, profile

    _clear(device)
    ours(folder, asked, device)
    with profile(activities=[ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])) as watch:
        began = time.perf_counter()
        ours(folder, asked, device)
        wall = time.perf_counter() - began
    named: dict[str, list[float]] = {}
    for e in watch.events():
        if "CUDA" in str(e.device_type):
            named.setdefault(e.name[:90], []).append((e.time_range.end - e.time_range.start) / 1000)
    top = sorted(((n, round(sum(v), 2), len(v)) for n, v in named.items()), key=lambda x: -x[1])[:18]
    loaded.forget()
    return {
        "n": len(asked),
        "steps": asked[0].max_new_tokens,
        "wall_ms_profiled": round(1000 * wall, 1),
        "device_ms": round(sum(map(sum, named.values())), 1),
        "top_kernels_ms_calls": top,
    }


def lanes(folder: Path, shape: dict[str, Any], device: str, n: int, longest: int, work: Path) -> dict[str, Any]:
    """Adapters one after another and side by side: seconds of each way, and how many answers are the same.

    As in a study most answers are short and some long.
    """
    (work / "scratch").mkdir(parents=True)
    steps, most = (1, 2, 3, 4, 5, 6, 7, 8), engine.LANES[device]
    train(
        model=folder, adapter=None, examples=examples(32, shape["vocab_size"]), out=work / "out",
        scratch=work / "scratch", sft=replace(SETTINGS, steps=steps[-1], checkpoints=steps),
        runtime=Runtime(device=device), progress=lambda *_: None,
    )  # fmt: skip
    limits = np.clip(np.random.default_rng(0).lognormal(4.5, 0.8, n), 8, longest).astype(int)
    asked = [Request(r.ids, int(k)) for r, k in zip(requests(n, longest, shape["vocab_size"]), limits, strict=True)]
    paths = [work / "out" / f"step-{step:05d}" for step in steps]
    parts = [Part(adapter=p, adapter_key=p.name, requests=asked, progress=lambda *_: None) for p in paths]
    seconds: dict[int, list[float]] = {}
    answers: dict[int, list[list[tuple[int, ...]]]] = {}
    _clear(device)
    for side in (1, 1, 1, 4, 4, 4, 8, 8, 8):
        engine.LANES[device] = side
        began, found = time.perf_counter(), {}
        for some in sample_many(
            model=folder, model_key="bench", parts=parts, sampling=GREEDY, runtime=Runtime(device=device)
        ):
            found |= some
        seconds.setdefault(side, []).append(round(time.perf_counter() - began, 3))
        answers[side] = [[g.ids for g in found[i]] for i in range(len(parts))]
    engine.LANES[device] = most
    loaded.forget()
    tokens = sum(len(ids) for part in answers[1] for ids in part)
    took = {side: median(values[1:]) for side, values in seconds.items()}  # the first turn of each is the warm-up
    same = [
        sum(a == b for x, y in zip(answers[1], answers[side], strict=True) for a, b in zip(x, y, strict=True))
        for side in (4, 8)
    ]
    return {
        "adapters": len(parts),
        "prompts_each": n,
        "tokens": tokens,
        "seconds_by_lanes": {str(k): v for k, v in seconds.items()},
        "tokens_per_second_by_lanes": {str(k): round(tokens / v) for k, v in took.items()},
        "same_by_lanes": {str(k): round(v / (n * len(parts)), 4) for k, v in zip((4, 8), same, strict=True)},
    }


def _clear(device: str) -> None:
    loaded.forget()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> int:
    """Time all samplers at each size; 1 if a replayed graph gave other tokens than the plain steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=420.0, help="seconds; no row is begun that may not fit")
    parser.add_argument("--peers", default="generate,lanes,vllm", help="what to measure beside ours")
    args = parser.parse_args()
    peers = args.peers.split(",")
    device, shape = ("cpu", TOY) if args.toy else ("cuda", HALF_BILLION)
    sizes = [(8, 16), (16, 16)] if args.toy else [(256, 256), (1024, 256)]
    rows = Rows(args.out, device=device, limit=args.limit, shape=shape)
    with TemporaryDirectory() as temporary:
        folder = build(Path(temporary) / "model", shape)
        for n, limit in sizes:
            asked, about = requests(n, limit, shape["vocab_size"]), {"n": n, "limit": limit}
            work = lambda asked=asked, n=n: graphed(folder, asked, device, args.repeats, compare=n == sizes[0][0])  # noqa: E731
            rows.measure("offmodel", lambda about=about, work=work: about | work(), needs=25)
        for n, limit in sizes if "generate" in peers else []:
            asked, about = requests(n, limit, shape["vocab_size"]), {"n": n, "limit": limit}
            once = 1 if n > 256 else args.repeats
            rows.measure(
                "generate",
                lambda asked=asked, about=about, once=once: about | generated(folder, asked, device, once),
                needs=60,
            )
        if "generate" in peers:
            asked = requests(sizes[-1][0], 8 if args.toy else 32, shape["vocab_size"])
            rows.measure("profile", lambda: profiled(folder, asked, device), needs=20)
        if "lanes" in peers:
            few, limit = (6, 16) if args.toy else (384, 300)
            side = Path(temporary) / "lanes"
            rows.measure("adapters side by side", lambda: lanes(folder, shape, device, few, limit, side), needs=60)
        if device == "cuda" and "vllm" in peers:
            work = lambda: by_hand(folder, sizes, shape["vocab_size"], args.repeats, rows)  # noqa: E731
            rows.measure("vLLM's start", work, needs=60)
    same = [r["same_without_graphs"] for r in rows.found["rows"] if "same_without_graphs" in r]
    return 0 if all(s >= 0.95 for s in same) else 1


if __name__ == "__main__":
    sys.exit(main())
