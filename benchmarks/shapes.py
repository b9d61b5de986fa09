"""Random models of real shapes, and random examples of real lengths: speed needs no weights and no texts.

Lengths are log-normal with a mean near 190 tokens, as Alpaca prompts with answers of a small model have. Invariant: the
same arguments give the same data.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

HALF_BILLION: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
"""Qwen2.5-0.5B."""
TOY = HALF_BILLION | {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def build(folder: Path, shape: dict[str, Any], seed: int = 0) -> Path:
    """A random bfloat16 model with the pocket student's tokenizer, which is asked for nothing but its stop tokens."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from offmodel import pocket

    shutil.copytree(Path(pocket.__file__).parent / "student", folder)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(seed)
    Qwen2ForCausalLM(Qwen2Config(**shape, eos_token_id=3)).to(torch.bfloat16).save_pretrained(folder)
    return folder


def examples(n: int, vocabulary: int, seed: int = 0) -> list[Any]:
    """Training examples: log-normal in length, the first third is a prompt without loss."""
    from offmodel.engines.rendering import Example

    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(5.07, 0.6, n), 16, 1024).astype(int)
    return [Example(rng.integers(10, vocabulary, k).astype(np.int32), np.arange(k) >= k // 3) for k in lengths.tolist()]
