"""Training on several GPUs: the same losses as on one, speed, memory beside the plan's estimate, and a kill on the way.

Random models of known shapes: the speed is that of the real ones, no weights are needed. Passes are plain on one GPU
too, where LoRA passes would else be captured. Four parts, each a key of the result: `equal` (20 steps on one and on N
GPUs, dense and mixture, all weights and LoRA), `speed` (0.5B on one and on N: tokens a second, scaling, peak memory),
`large` (8 billion parameters, all weights, float32 master weights, on one where it holds them and on N), and `kill`
(killed on N after some steps, gone on with on one).

    PYTHONPATH=src python benchmarks/gpu_fsdp.py --gpus 2 --out benchmarks/results/gpu_fsdp.json
    PYTHONPATH=src python benchmarks/gpu_fsdp.py --gpus 2 --toy          # a dry run on a CPU, in minutes
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3MoeConfig

from offmodel import pocket
from offmodel.core.errors import OffmodelError
from offmodel.engines.batches import batch_indices
from offmodel.engines.footprint import GIB, shape_of, training_memory
from offmodel.engines.objective import CROSS_ENTROPY
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Lora, Sft, train
from offmodel.engines.sharded import launch
from offmodel.engines.sharded.split import deal
from offmodel.store.recipe import Runtime

SFT = Sft(
    learning_rate=1e-4, steps=20, batch_size=16, warmup_steps=2, seed=1, max_tokens=2048, checkpoints=(20,), lora=None,
    weight_decay=0.0, beta1=0.9, beta2=0.999, clip_norm=1.0, compute_dtype="bfloat16", optimizer="adamw",
    schedule="constant", objective=CROSS_ENTROPY,
)  # fmt: skip
LORA = Lora(rank=64, alpha=64, targets="all-linear")
EXPERTS = Lora(rank=8, alpha=8, targets="all-linear+experts")
TINY: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 512, "max_position_embeddings": 4096,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "dense": LlamaConfig(**TINY),
    "mixture": Qwen3MoeConfig(**TINY, moe_intermediate_size=128, num_experts=16, num_experts_per_tok=4),
    "0.5B": Qwen2Config(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
    ),
    "8B": LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=4096,
    ),
}  # fmt: skip


def build(root: Path, name: str, device: str) -> Path:
    """A random model of a shape, in bfloat16, with the pocket student's tokenizer."""
    folder = root / name
    if folder.exists():
        return folder
    shutil.copytree(Path(pocket.__file__).parent / "student", folder)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPES[name], dtype=torch.bfloat16)
    model.save_pretrained(folder)
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder


def rows(n: int, vocabulary: int, mean: int) -> list[Example]:
    """Random sequences, log-normal in length around `mean`; the second half of each is trained."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(mean), 0.5, n), 8, 2048).astype(int)
    return [Example(rng.integers(0, vocabulary, t).astype(np.int32), np.arange(t) >= t // 2) for t in lengths]


def largest_pass(sft: Sft, gpus: int, *, mean: int) -> int:
    """Tokens of the largest forward pass on a GPU, where each step is one pass."""
    lengths = np.array([len(e.ids) for e in rows(64, 1000, mean)])
    steps = [
        lengths[batch_indices(64, batch_size=sft.batch_size, seed=sft.seed, step=step)] for step in range(sft.steps)
    ]
    return max(int(step[share].sum()) for step in steps for share in deal(step.tolist(), gpus))


def go(folder: Path, sft: Sft, device: str, gpus: int, *, mean: int, scratch: Path | None = None, **options: Any):
    """Facts and losses of a training on so many GPUs."""
    root = Path(mkdtemp(dir=folder.parent)) if scratch is None else scratch
    (root / "scratch").mkdir(parents=True, exist_ok=True)
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    told = options.pop("progress", lambda fraction, text="": None)
    runtime = Runtime(device=device, processes=gpus, recompute=options.pop("recompute", False), graphs="off")
    facts = train(
        model=folder, adapter=None, examples=rows(64, min(vocabulary, 1000), mean), sft=sft, out=root / "out",
        scratch=root / "scratch", progress=told, runtime=runtime, **options,
    )  # fmt: skip
    losses = [json.loads(line)["loss"] for line in (root / "out" / "losses.jsonl").read_text().splitlines()]
    shutil.rmtree(root, ignore_errors=True)
    return facts, losses


def equal(root: Path, device: str, gpus: int, toy: bool) -> dict[str, Any]:
    """The largest relative difference of a loss between one GPU and several."""
    found = {}
    for name in ("dense", "mixture"):
        folder = build(root, name, device)
        ways = {"all weights": None, "LoRA": replace(LORA, rank=8)} | (
            {"experts": EXPERTS} if name == "mixture" else {}
        )
        for way, lora in ways.items():
            sft = replace(SFT, lora=lora, steps=4 if toy else 20, checkpoints=())
            one, several = (go(folder, sft, device, n, mean=40 if toy else 190)[1] for n in (1, gpus))
            worst = max(abs(a - b) / a for a, b in zip(one, several, strict=True))
            found[f"{name}, {way}"] = {"steps": len(one), "largest_relative_difference": worst}
            print(name, way, f"{worst:.2e}", flush=True)
    return found


def speed(root: Path, device: str, gpus: int, toy: bool) -> dict[str, Any]:
    """Tokens a second on one GPU and on several, at the same batch for each GPU."""
    name, found = ("dense" if toy else "0.5B"), {}
    folder = build(root, name, device)
    for way, lora in (("all weights", None), ("LoRA", LORA)):
        by_gpus = {}
        for n in (1, gpus):
            sft = replace(SFT, lora=lora, batch_size=32 * n, steps=3 if toy else 30, checkpoints=())
            facts, _ = go(folder, sft, device, n, mean=40 if toy else 190)
            by_gpus[n] = {
                k: facts.get(k) for k in ("tokens_per_second", "seconds_stepping", "peak_memory_gib", "layout")
            }
        first, last = (by_gpus[n]["tokens_per_second"] for n in (1, gpus))
        found[way] = {**{str(n): v for n, v in by_gpus.items()}, "efficiency": last / (first * gpus)}
        print(name, way, found[way], flush=True)
    return found


def large(root: Path, device: str, gpus: int, toy: bool) -> dict[str, Any]:
    """All weights of 8 billion parameters on one GPU and on several: speed of later steps, memory beside the estimate.

    One GPU takes the sharded engine too, so that both do the same work; where it does not hold the model, the others
    are measured all the same.
    """
    name = "dense" if toy else "8B"
    folder = build(root, name, device)
    shape = shape_of(json.loads((folder / "config.json").read_text()), name)
    found: dict[str, Any] = {}
    for recompute in (True, False):
        by_gpus: dict[str, Any] = {}
        for n in sorted({1, gpus}):
            sft = replace(SFT, batch_size=16 * n, steps=3 if toy else 32, checkpoints=())
            most = largest_pass(sft, n, mean=40 if toy else 190)
            planned = training_memory(shape, sft, processes=n, recompute=recompute, pass_tokens=most)
            about: dict[str, Any] = {"planned_peak_gib": round(planned.peak / GIB, 2)}
            try:
                about |= stretch(folder, sft, device, n, mean=40 if toy else 190, recompute=recompute)
            except OffmodelError as error:  # the figure is then that it does not fit
                about["refused"] = str(error)
            by_gpus[str(n)] = about
            print(name, "recompute" if recompute else "kept", n, about, flush=True)
        speeds = [row.get("tokens_per_second") for row in by_gpus.values()]
        if gpus > 1 and all(speeds):
            by_gpus["efficiency"] = speeds[-1] / (speeds[0] * gpus)
        found["recompute" if recompute else "kept"] = by_gpus
        print(name, found, flush=True)
    return found


def stretch(folder: Path, sft: Sft, device: str, gpus: int, *, mean: int, recompute: bool) -> dict[str, Any]:
    """A training by the sharded engine; its speed from the first look at the losses to the last one."""
    marks: dict[int, float] = {}
    root = Path(mkdtemp(dir=folder.parent))
    (root / "scratch").mkdir()
    data = rows(64, 1000, mean)
    facts = launch.run(
        model=folder, adapter=None, examples=data, sft=sft, out=root / "out", scratch=root / "scratch",
        progress=lambda fraction, text="": marks.setdefault(round(fraction * sft.steps), time.perf_counter()),
        runtime=Runtime(device=device, processes=gpus, recompute=recompute, graphs="off"), layout="auto",
        resume_every_s=1e9,
    )  # fmt: skip
    shutil.rmtree(root, ignore_errors=True)
    lengths = np.array([len(e.ids) for e in data])
    first, last = min(step for step in marks if step > 0), max(marks)
    steps = range(first, last)
    tokens = sum(int(lengths[batch_indices(64, batch_size=sft.batch_size, seed=sft.seed, step=i)].sum()) for i in steps)
    kept = {k: facts.get(k) for k in ("peak_memory_gib", "micro_batch_halved_to", "layout", "seconds_stepping")}
    if last == first:
        return kept
    took = marks[last] - marks[first]
    return kept | {
        "tokens_per_second": round(tokens / took),
        "ms_a_step": round(1000 * took / len(steps), 1),
        "steps": f"{first + 1} to {last}",
    }


def kill(root: Path, device: str, gpus: int, toy: bool) -> dict[str, Any]:
    """A training killed on several GPUs goes on with one; its losses beside an uninterrupted one's."""
    folder = build(root, "dense", device)
    sft = replace(SFT, steps=32, checkpoints=(32,))
    scratch = root / "killed"

    def shoot(fraction: float, text: str = "") -> None:
        if fraction < 0.5 or fraction == 1:
            return
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"offmodel.engines.sharded.process" in words and b"torch.distributed.run" not in words:
                os.kill(int(process.name), signal.SIGKILL)

    try:
        go(folder, sft, device, gpus, mean=40, scratch=scratch, progress=shoot, resume_every_s=0.0)
    except OffmodelError as error:
        print("killed:", str(error)[:100], flush=True)
    facts, losses = go(folder, sft, device, 1, mean=40, scratch=scratch)
    _, whole = go(folder, sft, device, 1, mean=40)
    worst = max(abs(a - b) / a for a, b in zip(whole, losses, strict=True))
    return {"resumed_from_step": facts["resumed_from_step"], "largest_relative_difference": worst}


def main() -> None:
    """Measure, and write what was measured after each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--parts", default="equal,kill,speed,large")
    wanted = parser.parse_args()
    device = "cpu" if wanted.toy else "cuda"
    root = Path(mkdtemp())
    found: dict[str, Any] = {"gpus": wanted.gpus, "torch": torch.__version__, "command": " ".join(sys.argv)}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
    for part in wanted.parts.split(","):
        found[part] = {"equal": equal, "kill": kill, "speed": speed, "large": large}[part](
            root, device, wanted.gpus, wanted.toy
        )
        if wanted.out:
            wanted.out.parent.mkdir(parents=True, exist_ok=True)
            wanted.out.write_text(json.dumps(found, indent=1) + "\n")
    shutil.rmtree(root)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
