"""Tiny models and tokenizers, built in place: no weights are shipped for tests."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from offmodel.engines.objective import CROSS_ENTROPY
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Lora, Sft
from offmodel.store.recipe import Runtime
from tests.engines.vllm_stand_in import adapters, models, plainly, said_by_transformers, stand_in  # noqa: F401

TEMPLATES = Path(__file__).parent.parent / "fixtures" / "templates"
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<|begin_of_text|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<bos>", "<start_of_turn>", "<end_of_turn>",
]  # fmt: skip


def tokenizer(template: str | None, *, bos: str = "<|endoftext|>", eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """Bytes as tokens, with the special tokens of all families."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=bos,
        eos_token=eos,
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
    )
    made.chat_template = template
    return made


def save(model: torch.nn.Module, folder: Path) -> Path:
    """A model folder with tokenizer and template."""
    model.generation_config.eos_token_id = [tok_id("<|im_end|>")]
    model.generation_config.pad_token_id = tok_id("<|endoftext|>")
    model.save_pretrained(folder)
    tokenizer((TEMPLATES / "qwen2.5.jinja").read_text()).save_pretrained(folder)
    return folder


def tok_id(text: str) -> int:
    return tokenizer("x").convert_tokens_to_ids(text)


SIZES = {
    "vocab_size": 272,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    config = LlamaConfig(**SIZES, intermediate_size=64, num_hidden_layers=2, initializer_range=0.2)
    config.tie_word_embeddings = True
    return save(LlamaForCausalLM(config), tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def moe(tmp_path_factory) -> Path:
    torch.manual_seed(2)
    config = Qwen3MoeConfig(
        **SIZES, head_dim=8, intermediate_size=64, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2,
        num_hidden_layers=2, initializer_range=0.2, decoder_sparse_step=1, output_router_logits=True,
    )  # fmt: skip
    return save(Qwen3MoeForCausalLM(config), tmp_path_factory.mktemp("models") / "moe")


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(device="cpu", threads=1)


def silent(fraction: float, text: str = "") -> None:
    assert 0 <= fraction <= 1


def examples(n: int, *, seed: int = 0, longest: int = 24) -> list[Example]:
    """Random sequences with a target stretch at the end of each."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        length = int(rng.integers(5, longest))
        mask = np.zeros(length, dtype=bool)
        mask[int(rng.integers(2, length - 1)) :] = True
        found.append(Example(rng.integers(0, 250, length).astype(np.int32), mask))
    return found


BASE = Sft(
    learning_rate=1e-3, steps=6, batch_size=4, warmup_steps=2, seed=0, max_tokens=64, checkpoints=(3, 6), lora=None,
    weight_decay=0.0, beta1=0.9, beta2=0.999, clip_norm=1.0, compute_dtype="float32",
    optimizer="adamw",
    schedule="constant",
    objective=CROSS_ENTROPY,
)  # fmt: skip
LORA = Lora(rank=4, alpha=8, targets="all-linear")


@pytest.fixture(scope="session")
def gemma(tmp_path_factory):
    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=272, hidden_size=32, num_attention_heads=4, num_key_value_heads=1, head_dim=8, intermediate_size=64,
        num_hidden_layers=3, sliding_window=8, max_position_embeddings=512, initializer_range=0.3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    return save(Gemma3ForCausalLM(config), tmp_path_factory.mktemp("models") / "gemma")
