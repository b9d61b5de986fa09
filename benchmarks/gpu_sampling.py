"""Sampling on one GPU, side by side: our sampler with and without CUDA graphs, and transformers' `generate`.

A random model of Qwen2.5-0.5B's shape: the speed is that of the real one, no weights are needed. Medians of repeats
after a warm-up; all prompts run to the limit. Also checked: a replayed graph gives the tokens that the same step gives
when it is launched kernel by kernel.

    PYTHONPATH=src python benchmarks/gpu_sampling.py --out benchmarks/results/gpu_sampling.json
    PYTHONPATH=src python benchmarks/gpu_sampling.py --toy          # a dry run on a CPU
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from offmodel import pocket
from offmodel.engines.sampling import Request, Sampling, loaded, sample
from offmodel.engines.sampling import transformers as engine
from offmodel.engines.sampling.decoder import Decoder
from offmodel.store.recipe import Runtime

SHAPE = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
TOY = SHAPE | {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def build(folder: Path, shape: dict) -> Path:
    """A random model with the pocket student's tokenizer, which is asked for nothing but its stop tokens."""
    shutil.copytree(Path(pocket.__file__).parent / "student", folder)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**shape, eos_token_id=3)).to(torch.bfloat16).save_pretrained(folder)
    return folder


def requests(n: int, limit: int, vocabulary: int) -> list[Request]:
    """Prompts of random tokens, log-normal in length around 60."""
    rng = np.random.default_rng(n)
    lengths = np.clip(rng.lognormal(4.0, 0.5, n), 8, 300).astype(int)
    return [Request(tuple(rng.integers(10, vocabulary, k).tolist()), limit) for k in lengths]


def ours(folder: Path, asked: list[Request], device: str) -> list[tuple[int, ...]]:
    """Our sampler's tokens."""
    got = sample(
        model=folder, model_key="bench", adapter=None, adapter_key=None, requests=asked, runtime=Runtime(device=device),
        sampling=Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="bfloat16"),
        progress=lambda fraction, text="": None,
    )  # fmt: skip
    return [g.ids for g in got]


def generated(folder: Path, asked: list[Request], device: str) -> tuple[float, list[tuple[int, ...]]]:
    """Seconds and tokens of `generate`, left-padded, in one batch."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": device})
    width = max(len(r.ids) for r in asked)
    ids = torch.zeros(len(asked), width, dtype=torch.int64, device=device)
    mask = torch.zeros_like(ids)
    for row, m, r in zip(ids, mask, asked, strict=True):
        row[-len(r.ids) :] = torch.tensor(r.ids)
        m[-len(r.ids) :] = 1
    limit = asked[0].max_new_tokens
    model.generation_config.eos_token_id = None
    start = time.perf_counter()
    out = model.generate(ids, attention_mask=mask, max_new_tokens=limit, min_new_tokens=limit, do_sample=False)
    seconds = time.perf_counter() - start
    return seconds, [tuple(r) for r in out[:, width:].tolist()]


def clocked(repeats: int, work) -> tuple[float, list]:
    """Median seconds of repeats after one that is not counted, and the last result."""
    work()
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize() if torch.cuda.is_available() else None
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def main() -> int:
    """Time all samplers at each size; 1 if a replayed graph gave other tokens than the plain steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    device = "cpu" if args.toy else "cuda"
    shape, sizes = (TOY, ((8, 16), (16, 16))) if args.toy else (SHAPE, ((256, 256), (1024, 256), (3000, 256)))
    rows, same = [], True
    with TemporaryDirectory() as temporary:
        folder = build(Path(temporary) / "model", shape)
        for n, limit in sizes:
            asked = requests(n, limit, shape["vocab_size"])
            loaded.forget()
            seconds, tokens = clocked(args.repeats, lambda asked=asked: ours(folder, asked, device))
            made = sum(map(len, tokens))
            rows.append({"sampler": "offmodel", "n": n, "limit": limit, "seconds": seconds, "tokens": made})
            plain = Decoder._capture
            Decoder._capture = lambda *_: None
            loaded.forget()
            seconds, eager = clocked(1, lambda asked=asked: ours(folder, asked, device))
            Decoder._capture = plain
            rows.append({"sampler": "offmodel, no graphs", "n": n, "limit": limit, "seconds": seconds, "tokens": made})
            equal = sum(a == b for a, b in zip(tokens, eager, strict=True)) / n
            rows[-2]["same_as_no_graphs"] = equal
            same &= equal >= 0.95
            loaded.forget()
            if n <= 1024:
                seconds, other = generated(folder, asked, device)
                made = sum(map(len, other))
                rows.append({"sampler": "generate", "n": n, "limit": limit, "seconds": seconds, "tokens": made})
                torch.cuda.empty_cache() if device == "cuda" else None
    for row in rows:
        row["tokens_per_second"] = round(row["tokens"] / row["seconds"])
        print(row)
    if args.out:
        machine = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        facts = {"machine": machine, "torch": torch.__version__, "command": " ".join(sys.argv), "rows": rows}
        args.out.write_text(json.dumps(facts, indent=1) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    assert engine.Decoder is Decoder
    sys.exit(main())
