"""Captured training passes on one GPU: do they compute what plain ones compute, how fast, and what their time goes to.

First the gradients of one step, the same sequences four times: by plain passes, by padded ones, while capturing, by a
replay. Then whole trainings, plain and captured, one adapter and cohorts: losses side by side, speed, memory, seconds
of capturing. Then the kernels of one replayed step. Model and data are those of `gpu_training.py`. Each row is printed
and written at once; a row that fails prints its traceback and the next one begins.

    PYTHONPATH=src python benchmarks/gpu_graphs.py --out benchmarks/results/gpu_graphs.json --limit 300
    PYTHONPATH=src python benchmarks/gpu_graphs.py --toy          # a dry run on a CPU, where nothing is captured
"""

import argparse
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from bench import Rows
from gpu_training import CEILING, SETTINGS, Bench, cohort, profiled, single
from shapes import HALF_BILLION, TOY, build, examples

from offmodel.engines import adapters, norms
from offmodel.engines.bank import Bank
from offmodel.engines.batches import Limit
from offmodel.engines.cohort_pass import Entry, summed_losses
from offmodel.engines.graphs import Graphs, serves
from offmodel.engines.preparation import prepare_frozen
from offmodel.engines.stage import grouped_works
from offmodel.store.recipe import Runtime

# bfloat16 rounds each product to 1 part in 256; sums over tokens lie nearer.
_NEAR = 3e-2


def told(work: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The same work, which prints its traceback before it fails."""

    def run() -> dict[str, Any]:
        try:
            return work()
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            raise

    return run


def one_step(bench: Bench, members: int, *, fused: bool) -> dict[str, Any]:
    """Gradients and losses of one step by every way, compared with plain passes; milliseconds of each way."""
    bench.fresh()
    device, dtype = bench.device, bench.sft.compute_dtype
    body = prepare_frozen(bench.model, dtype, Runtime(device=device), "packed" if device == "cpu" else "auto")
    bank = Bank(body.base, adapters.linear_targets(body.base), capacity=members, rank=64, dtype=body.master)
    bank.flat_CP.normal_(std=0.02, generator=torch.Generator(device).manual_seed(0))
    bank.use(members)
    found: dict[str, Any] = {"layout": body.layout, "serves": serves(body, bank)}
    found["grouped_works"] = grouped_works(device, body.compute)
    entries = [
        Entry(k, e, 2000.0) for k in range(members) for e in examples(bench.sft.batch_size, bench.vocabulary, seed=k)
    ]
    longest = max(len(e.example.ids) for e in entries)
    scales, factors = [2.0] * members, [{"cross_entropy": 1.0}] * members
    limit = Limit(rows=None, tokens=8192)
    found["tokens"] = sum(len(e.example.ids) for e in entries)

    def go(static: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
        bank.grad_CP.zero_()
        began = clock(device)
        values = summed_losses(body, bank, entries, scales, factors, limit, static)
        milliseconds = 1000 * (clock(device) - began)
        losses = torch.stack([values[k]["cross_entropy"][k] for k in range(members)])
        return losses, bank.grad_CP.clone(), milliseconds

    go(None)
    expected = go(None)
    graphs = Graphs(body, bank, longest)
    found["norms_fused"] = norms.fuse(body.base) if fused else 0
    names = ("padded", "capturing", *(f"replay {i}" for i in range(4)))
    ways = {name: go(graphs.summed) for name in names}
    found["ms"] = {"plain": round(expected[2], 1)} | {n: round(w[2], 1) for n, w in ways.items()}
    norm = expected[1].norm()
    found["gradient_apart"] = {n: round(float((w[1] - expected[1]).norm() / norm), 5) for n, w in ways.items()}
    found["loss_apart"] = {n: round(float((w[0] - expected[0]).abs().max()), 6) for n, w in ways.items()}
    return found | graphs.facts()


def clock(device: str) -> float:
    """Seconds, the device at rest."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def training(bench: Bench, k: int, steps: int, look: int) -> dict[str, Any]:
    """A whole training of one adapter (k = 0: by `train`) or of a cohort."""
    return cohort(bench, k, steps, look) if k else single(bench, look, steps)


def main() -> int:
    """Measure; 1 if a way's gradients or losses are not the plain passes'."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds; no row is begun that may not fit")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    device, toy = ("cpu" if args.toy else "cuda"), args.toy
    shape, sft = (
        (TOY, replace(SETTINGS, compute_dtype="float32", steps=8, batch_size=2)) if toy else (HALF_BILLION, SETTINGS)
    )
    rows = Rows(args.out, device=device, limit=args.limit, ceiling=CEILING, shape=shape)
    # (members, steps plain, steps captured, steps between looks); 0 members: one adapter by `train`.
    plan = [(0, 4, 4, 2), (2, 4, 4, 2)] if toy else [(0, 24, 64, 4), (16, 9, 18, 3), (4, 12, 32, 4), (64, 6, 9, 3)]
    with TemporaryDirectory() as temporary:
        plain = Bench(build(Path(temporary) / "model", shape), shape["vocab_size"], sft, device, Path(temporary))
        captured = replace(plain, graphs="on", work=Path(temporary) / "captured")
        for k in (1, 3 if toy else 8):
            for fused in (False, True):
                name = f"one step, {k} adapters{', fused norms' if fused else ''}"
                rows.measure(name, told(lambda k=k, fused=fused: one_step(plain, k, fused=fused)), needs=15)
        for k, before, after, look in plan:
            name = f"cohort of {k}" if k else "one adapter"
            rows.measure(
                f"{name}, plain", told(lambda k=k, n=before, m=look: training(plain, k, n, m)), needs=20 + 1.5 * k
            )
            rows.measure(
                f"{name}, captured", told(lambda k=k, n=after, m=look: training(captured, k, n, m)), needs=20 + 1.5 * k
            )
            if k in (0, 2, 16):
                steps = 4 if toy else 8
                rows.measure(
                    f"{name}, a captured step's kernels",
                    told(lambda k=k, n=steps: profiled(captured, max(k, 1), n)), needs=20 + k,
                )  # fmt: skip
    apart = [x for r in rows.found["rows"] for x in r.get("gradient_apart", {}).values()]
    losses = [r["largest_loss_difference"] for r in rows.found["rows"] if "largest_loss_difference" in r]
    failed = [r["name"] for r in rows.found["rows"] if "failed" in r]
    rows.note(largest_gradient_difference=max(apart, default=0.0), largest_loss_difference=max(losses, default=0.0))
    print(f"gradients apart {sorted(apart)[-3:]}, losses apart {losses}, failed {failed}", flush=True)
    if apart:
        print(f"median of gradients apart {statistics.median(apart)}", flush=True)
    return 0 if max(apart, default=0.0) < _NEAR and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
