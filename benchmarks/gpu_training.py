"""Training on one GPU, side by side: ours alone, our cohorts, TRL plain and packed, a plain loop with PEFT.

A random model of Qwen2.5-0.5B's shape, LoRA r64 on all linear layers, bfloat16, batches of 16 sequences. Real tokens
(without padding) per second, the median of stretches of steps after a first one that is not counted. The most telling
rows come first, and each is printed and written at once; a peer that is not installed or fails is a row that says so.
Checked: a member's losses in a cohort are those of its lone training, and the plain loop's and TRL's are ours.

    PYTHONPATH=src python benchmarks/gpu_training.py --out benchmarks/results/gpu_training.json --limit 360
    PYTHONPATH=src python benchmarks/gpu_training.py --toy          # a dry run on a CPU
"""

import argparse
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from bench import Rows
from peers import batches_of, plain_loop
from shapes import HALF_BILLION, TOY, build, examples

from offmodel.core.rows import read_rows
from offmodel.engines import loop
from offmodel.engines.cohort import Member, train_cohort
from offmodel.engines.objective import CROSS_ENTROPY
from offmodel.engines.sft import Layout, Lora, Sft, train
from offmodel.store.recipe import Runtime

# Frozen-base LoRA costs about 4 FLOP a parameter and token; at 40 % of 800 TFLOP/s (one H100, 0.49 G parameters).
CEILING = 150_000
SETTINGS = Sft(
    learning_rate=1e-4,
    steps=40,
    batch_size=16,
    warmup_steps=4,
    seed=0,
    max_tokens=1024,
    checkpoints=(),
    lora=Lora(rank=64, alpha=128, targets="all-linear"),
    weight_decay=0.0,
    beta1=0.9,
    beta2=0.999,
    clip_norm=1.0,
    compute_dtype="bfloat16",
    optimizer="adamw",
    schedule="constant",
    objective=CROSS_ENTROPY,
)


@dataclass
class Bench:
    """What all rows share."""

    model: Path
    vocabulary: int
    sft: Sft
    device: str
    work: Path
    losses: dict[str, list[float]] = field(default_factory=dict)
    runs: int = 0
    peaks: list[tuple[int, int]] = field(default_factory=list)
    graphs: Literal["off", "on"] = "off"

    @property
    def runtime(self) -> Runtime:
        """Where our trainers run, and whether they capture their passes."""
        return Runtime(device=self.device, graphs=self.graphs)

    @property
    def layout(self) -> Layout:
        """On a CPU only packed passes have fixed shapes."""
        return "packed" if self.graphs == "on" and self.device == "cpu" else "auto"

    def data(self, seed: int) -> list[Any]:
        """A member's own examples."""
        return examples(self.sft.steps * self.sft.batch_size, self.vocabulary, seed)

    def folders(self) -> dict[str, Path]:
        """Fresh `out` and `scratch`."""
        self.runs += 1
        here = self.work / f"run-{self.runs}"
        (here / "scratch").mkdir(parents=True)
        return {"out": here / "out", "scratch": here / "scratch"}

    def fresh(self) -> None:
        """Give memory back and count its peak anew."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        self.peaks.clear()

    def look(self) -> None:
        """Note the peaks of memory so far: our trainers count anew when they are done."""
        if self.device == "cuda":
            self.peaks.append((torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()))

    def columns(self, sft: Sft, tokens: list[int], marks: dict[int, float]) -> dict[str, Any]:
        """Speed between marks (step -> clock, the device at rest), the first stretch left out."""
        steps = sorted(marks)
        stretches = list(itertools.pairwise(steps))
        speeds = [sum(tokens[a:b]) / (marks[b] - marks[a]) for a, b in stretches]
        each = [1000 * (marks[b] - marks[a]) / (b - a) for a, b in stretches]
        found: dict[str, Any] = {
            "tokens_per_second": round(statistics.median(speeds)),
            "ms_a_step": round(statistics.median(each), 1),
            "stretches": len(speeds),
            "slowest": round(min(speeds)),
            "fastest": round(max(speeds)),
            "steps": sft.steps,
        }
        if self.device == "cuda":
            self.look()
            reserved, allocated = (max(values) for values in zip(*self.peaks, strict=True))
            found["reserved_gib"], found["peak_gib"] = round(reserved / 2**30, 1), round(allocated / 2**30, 1)
            found["share_of_ceiling"] = round(found["tokens_per_second"] / CEILING, 3)
        return found


def lengths_of(data: list[Any], sft: Sft) -> list[int]:
    """Real tokens of each step."""
    return [sum(len(e.ids) for e in batch) for batch in batches_of(data, sft)]


def marking(bench: Bench, sft: Sft, marks: dict[int, float]) -> Callable[..., None]:
    """A progress that notes when which step's loss was read, and the memory in use."""

    def told(fraction: float, text: str = "") -> None:
        marks.setdefault(round(fraction * sft.steps), time.perf_counter())
        bench.look()

    return told


def single(bench: Bench, look: int, steps: int | None = None) -> dict[str, Any]:
    """Our trainer, one adapter."""
    bench.fresh()
    sft = replace(bench.sft, steps=steps or bench.sft.steps)
    loop.LOOK[bench.device] = look
    marks: dict[int, float] = {}
    data, places = bench.data(0), bench.folders()
    facts = train(
        model=bench.model, adapter=None, examples=data, sft=sft, runtime=bench.runtime,
        progress=marking(bench, sft, marks), layout=bench.layout, **places,
    )  # fmt: skip
    losses = [r["loss"] for r in read_rows(places["out"] / "losses.jsonl")]
    apart = agreement(bench, losses)
    bench.losses.setdefault("single", losses)
    columns = bench.columns(sft, lengths_of(data, sft), marks)
    return columns | {n: facts[n] for n in ("layout", "graphs") if n in facts} | apart


def cohort(bench: Bench, k: int, steps: int, look: int, progress: Any = None) -> dict[str, Any]:
    """Our cohort: all of its members' tokens count."""
    bench.fresh()
    loop.LOOK[bench.device] = look
    sft = replace(bench.sft, steps=steps)
    marks: dict[int, float] = {}
    first = progress or marking(bench, sft, marks)
    members, tokens = [], [0] * steps
    for i in range(k):
        data = bench.data(i)
        mine = replace(sft, seed=i)
        tokens = [a + b for a, b in zip(tokens, lengths_of(data, mine), strict=True)]
        told = first if i == 0 else (lambda *_: None)
        members.append(Member(adapter=None, examples=data, sft=mine, progress=told, **bench.folders()))
    began = time.perf_counter()
    found = dict(train_cohort(model=bench.model, members=members, runtime=bench.runtime, layout=bench.layout))
    errors = [str(f) for f in found.values() if isinstance(f, Exception)]
    assert not errors, errors
    columns = bench.columns(sft, tokens, marks) if marks else {}
    columns |= {"members": k, "start_s": round(min(marks.values(), default=began) - began, 1)}
    kept = ("layout", "graphs", "cohort_held_at_a_time", "micro_batch_halved_to")
    columns |= {n: found[0][n] for n in kept if n in found[0]}
    losses = [r["loss"] for r in read_rows(members[0].out / "losses.jsonl")]
    return columns | agreement(bench, losses)


def agreement(bench: Bench, losses: list[float]) -> dict[str, float]:
    """How far losses of the same batches are from our single trainer's."""
    ours = bench.losses.get("single", [])
    pairs = list(zip(ours, losses, strict=False))
    return {"largest_loss_difference": round(max(abs(a - b) for a, b in pairs), 5)} if pairs else {}


def peft_loop(bench: Bench, steps: int, look: int) -> dict[str, Any]:
    """A plain padded loop."""
    bench.fresh()
    sft, data = replace(bench.sft, steps=steps), bench.data(0)
    marks: dict[int, float] = {}
    losses = plain_loop(
        bench.model, None, data, sft, None, bench.device,
        told=lambda step, clock: marks.update({step: clock} if step % look == 0 else {}),
    )  # fmt: skip
    return bench.columns(sft, lengths_of(data, sft), marks) | agreement(bench, losses)


def trl(bench: Bench, steps: int, look: int, *, packed: tuple[int, int] | None) -> dict[str, Any]:
    """TRL's SFTTrainer; `packed` is (tokens of a row, rows of a step)."""
    from trl_peer import run_trl

    bench.fresh()
    sft, data = replace(bench.sft, steps=steps), bench.data(0)
    marks, tokens, losses = run_trl(bench.model, data, sft, bench.device, bench.work, look=look, packed=packed)
    found = bench.columns(sft, tokens, marks)
    if packed is not None:
        return found | {"tokens_a_step": round(statistics.mean(tokens))}
    # TRL logs the mean over a few steps.
    each = sft.steps // len(losses)
    ours = bench.losses.get("single", [])
    whole = [ours[i : i + each] for i in range(0, each * len(losses), each)]
    pairs = [(statistics.mean(a), b) for a, b in zip(whole, losses, strict=True) if len(a) == each]
    return found | {"largest_loss_difference": round(max(abs(a - b) for a, b in pairs), 5)}


def profiled(bench: Bench, k: int, steps: int = 4) -> dict[str, Any]:
    """What one step's time goes to: kernels by their own time, and the share of the step in which the device worked."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.device == "cuda" else [])
    watch = profile(activities=kinds)
    clocks: list[float] = []

    def told(fraction: float, text: str = "") -> None:
        clocks.append(time.perf_counter())
        if len(clocks) == steps - 1:
            watch.start()
            clocks[-1] = time.perf_counter()
        if len(clocks) == steps:
            watch.stop()

    facts = cohort(bench, k, steps, 1, progress=told)
    wall = 1000 * (clocks[-1] - clocks[-2])
    events = watch.key_averages()
    own = [(e.key, e.self_device_time_total / 1000, e.count) for e in events if e.self_device_time_total > 0]
    # Ranges such as autograd's nodes are also listed with their kernels' time; kernels alone add up to the device's.
    kernels = [
        (e.name, (e.time_range.end - e.time_range.start) / 1000)
        for e in watch.events()
        if "CUDA" in str(e.device_type) and not getattr(e, "is_user_annotation", False)
    ]
    busy = sum(ms for _, ms in kernels)
    named: dict[str, list[float]] = {}
    for name, ms in kernels:
        named.setdefault(name[:90], []).append(ms)
    top = sorted(((n, round(sum(v), 2), len(v)) for n, v in named.items()), key=lambda x: -x[1])[:18]
    operators = sorted(own, key=lambda x: -x[1])[:12]
    return {n: facts[n] for n in ("graphs",) if n in facts} | {
        "members": k,
        "wall_ms_profiled": round(wall, 1),
        "kernels": len(kernels),
        "device_ms": round(busy, 1),
        "top_kernels_ms_calls": top,
        "top_operators_ms_calls": [(n[:60], round(ms, 2), c) for n, ms, c in operators],
    }


def main() -> int:
    """Measure; 1 if a cohort's or a loop's losses are not the single trainer's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=float, default=360.0, help="seconds; no row is begun that may not fit")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    device, toy = ("cpu" if args.toy else "cuda"), args.toy
    shape, sft = (
        (TOY, replace(SETTINGS, compute_dtype="float32", steps=8, batch_size=2)) if toy else (HALF_BILLION, SETTINGS)
    )
    rows = Rows(args.out, device=device, limit=args.limit, ceiling=CEILING, shape=shape)
    # (steps, steps between looks) of short rows, and of cohorts of some sizes.
    short = (8, 4) if toy else (24, 4)
    cohorts = {3: (4, 2), 2: (4, 2), 1: (4, 2)} if toy else {16: (15, 3), 64: (8, 2), 4: short, 1: short}
    first, *others = cohorts
    with TemporaryDirectory() as temporary:
        bench = Bench(build(Path(temporary) / "model", shape), shape["vocab_size"], sft, device, Path(temporary))
        captured = replace(bench, graphs="on", work=Path(temporary) / "captured")
        rows.measure("ours, one adapter", lambda: single(bench, 2 if toy else 8, 8 if toy else 16), needs=20)
        rows.measure("ours, one adapter, captured", lambda: single(captured, 2 if toy else 8), needs=20)
        rows.measure(f"ours, cohort of {first}, captured", lambda: cohort(captured, first, *cohorts[first]), needs=40)
        rows.measure("TRL", lambda: trl(bench, *short, packed=None), needs=30)
        rows.measure(
            "TRL, packed 4 x 1024", lambda: trl(bench, *short, packed=(128, 4) if toy else (1024, 4)), needs=30
        )
        rows.measure(
            "TRL, packed 16 x 1024", lambda: trl(bench, *short, packed=(128, 8) if toy else (1024, 16)), needs=40
        )
        rows.measure(f"ours, cohort of {first}", lambda: cohort(bench, first, *cohorts[first]), needs=45)
        rows.measure(
            f"profile, cohort of {first}, captured", lambda: profiled(captured, first, 4 if toy else 8), needs=40
        )
        rows.measure(f"profile, cohort of {first}", lambda: profiled(bench, first), needs=40)
        rows.measure("profile, one adapter", lambda: profiled(bench, 1), needs=20)
        for k in others:
            rows.measure(f"ours, cohort of {k}", lambda k=k: cohort(bench, k, *cohorts[k]), needs=20 + 1.4 * k)
        rows.measure("plain loop with PEFT", lambda: peft_loop(bench, *short), needs=25)
    apart = max((r.get("largest_loss_difference", 0.0) for r in rows.found["rows"]), default=0.0)
    rows.note(largest_loss_difference=apart)
    print(f"losses differ by at most {apart}", flush=True)
    return 0 if apart < (1e-3 if toy else 5e-2) else 1


if __name__ == "__main__":
    sys.exit(main())
