"""What a model of a given shape takes: parameters, bytes of memory, floating-point operations. Arithmetic only.

The shape is read from a model's config.json, before anything is loaded. This module refuses to know machines and
speeds. Invariant: counts of parameters are exact for Llama-, Qwen- and Qwen-MoE-like decoders; memory is an estimate,
whose one free factor was set on a measured run (docs/scale.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offmodel.core.errors import ModelError
from offmodel.engines.sft import Sft

GIB = 2**30
# Bytes kept for the backward pass over bytes of the tensors that a layer's own formula names; set so that one adapter
# on a 0.5B model, 16 padded sequences, comes to the 17 GiB that were measured (docs/scale.md).
KEPT = 1.5
PASS_TOKENS = 8192  # of one forward pass on a GPU; see engines.loop
_LOGITS = 3 * 4 * 2**27  # logits of a chunk in float32, their softmax and its gradient
_CONTEXT = 1.5 * GIB  # CUDA, NCCL and the allocator's slack


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A decoder's shape.

    Attributes:
        name: for messages.
        layers, hidden, vocabulary: sizes.
        attention: parameters of one layer's attention.
        feed: parameters of one layer's feed-forward part, all experts.
        feed_active: those that one token passes.
        kept: numbers that one token leaves behind in one layer for the backward pass.
        cache: key and value numbers of one token in one layer.
        linear: sizes (in, out) of a layer's linear modules that "all-linear" adapters reach.
        tied: whether the output matrix is the embeddings.
    """

    name: str
    layers: int
    hidden: int
    vocabulary: int
    attention: int
    feed: int
    feed_active: int
    kept: int
    cache: int
    linear: tuple[tuple[int, int], ...]
    tied: bool

    @property
    def layer(self) -> int:
        """Parameters of a layer."""
        return self.attention + self.feed + 2 * self.hidden

    @property
    def outer(self) -> int:
        """Parameters of embeddings and output."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer + self.outer

    @property
    def active(self) -> int:
        """Parameters that one token is multiplied with, the output included."""
        return self.layers * (self.attention + self.feed_active) + self.vocabulary * self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of an "all-linear" adapter."""
        return self.layers * sum(rank * (i + o) for i, o in self.linear)


def shape_of(config: Mapping[str, Any], name: str) -> Shape:
    """The shape that a config.json describes.

    Raises:
        ModelError: the config lacks a size.
    """
    text = config.get("text_config", config)
    try:
        hidden, heads, layers = text["hidden_size"], text["num_attention_heads"], text["num_hidden_layers"]
        groups = text.get("num_key_value_heads") or heads
        head = text.get("head_dim") or hidden // heads
        vocabulary = text["vocab_size"]
        experts = text.get("num_experts") or text.get("num_local_experts") or 0
        inner = text["moe_intermediate_size"] if experts else text["intermediate_size"]
        chosen = text["num_experts_per_tok"] if experts else 1
    except KeyError as error:
        raise ModelError(f"The config of '{name}' does not say {error}; its needs cannot be estimated.") from error
    projections = ((hidden, heads * head), (hidden, groups * head), (hidden, groups * head), (heads * head, hidden))
    gates = ((hidden, inner), (hidden, inner), (inner, hidden))
    feed = 3 * hidden * inner
    return Shape(
        name=name,
        layers=layers,
        hidden=hidden,
        vocabulary=vocabulary,
        attention=sum(i * o for i, o in projections),
        feed=feed * max(experts, 1) + hidden * experts,
        feed_active=feed * chosen + hidden * experts,
        kept=6 * hidden + (heads + 2 * groups) * head + heads * head + 3 * inner * chosen + 2 * hidden * chosen,
        cache=2 * groups * head,
        linear=projections if experts else (*projections, *gates),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on each GPU.

    Attributes:
        state: weights, gradients and optimizer, this GPU's part.
        gathered: weights of whole layers that are there for a moment, and what autocast keeps.
        activations: kept for the backward pass, with logits.
    """

    state: float
    gathered: float
    activations: float

    @property
    def total(self) -> float:
        """All of it, with what CUDA itself takes."""
        return self.state + self.gathered + self.activations + _CONTEXT


def training_memory(shape: Shape, sft: Sft, *, processes: int, recompute: bool, pass_tokens: int) -> Memory:
    """Memory of a training on each of its GPUs.

    Args:
        shape: the model.
        sft: how it is trained.
        processes: GPUs that train it together.
        recompute: activation checkpointing.
        pass_tokens: tokens of one forward pass on one GPU.
    """
    wide = 2 if sft.compute_dtype != "float32" else 4
    trained = shape.parameters if sft.lora is None else shape.adapter(sft.lora.rank)
    moments = {"adamw": 8, "sgd": 4, "adafactor": 0}[sft.optimizer]
    state = trained * (4 + 4 + moments)
    if sft.lora is not None:
        state += shape.parameters * wide
    if processes == 1:
        gathered = float(shape.parameters * wide if sft.lora is None and wide == 2 else 0)
    else:
        # Two layers in turn, embeddings and output throughout; where they are trained, their gradients before the sum.
        gathered = wide * (2 * shape.layer + shape.outer) + (0 if sft.lora else 4 * (shape.layer + shape.outer))
    a_layer = KEPT * wide * shape.kept * pass_tokens
    between = 4 * shape.hidden * pass_tokens * shape.layers
    kept = between + a_layer if recompute else a_layer * shape.layers
    return Memory(state=state / processes, gathered=gathered, activations=kept + _LOGITS)


def sampling_memory(shape: Shape) -> float:
    """Bytes of sampling on one GPU before any row: bfloat16 weights and what CUDA itself takes."""
    return 2.0 * shape.parameters + _CONTEXT
