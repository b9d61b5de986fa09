"""What a model of a given shape takes: parameters, bytes of memory, floating-point operations. Arithmetic only.

The shape is read from a model's config.json, before anything is loaded. This module refuses to know machines and
speeds. Invariant: counts of parameters are exact for Llama-, Qwen- and Qwen-MoE-like decoders; memory is an estimate
that stands beside measured runs in docs/scale.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from offmodel.core.errors import ModelError
from offmodel.engines.sft import Lora, Sft

GIB = 2**30
# Memory in use over bytes of the tensors that autograd keeps, which were counted with its hooks; set on four measured
# trainings of 0.5B (studies/scale/calibration.json), all of which it meets within 2 %.
KEPT = 1.08
# Tensors of the hidden size in 16 bits that a layer's norms and inputs leave behind. Under autocast the residual stream
# of trained float32 weights is float32, and each linear layer casts its input for itself.
_WIDTHS = {"lora": 6, "sharded": 8, "autocast": 13}
PASS_TOKENS = 8192  # of one forward pass on a GPU; see engines.loop
_LOGITS = 3 * 4 * 2**27  # logits of a chunk in float32, their softmax and its gradient; see engines.forward
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
        kept: numbers that one token leaves behind in one layer for the backward pass, but for those of hidden size.
        cache: key and value numbers of one token in one layer.
        linear: sizes (in, out) of a layer's linear modules that "all-linear" adapters reach.
        experts: how many a layer has; 0 where it is no mixture.
        fused: sizes (in, out) of one expert's matrices, as "all-linear+experts" adapters reach them.
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
    experts: int
    fused: tuple[tuple[int, int], ...]
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

    def adapter(self, lora: Lora) -> int:
        """Parameters of an adapter; with experts, each expert has an update of this rank."""
        reached = self.linear + (self.fused * self.experts if lora.targets.endswith("+experts") else ())
        return self.layers * sum(lora.rank * (i + o) for i, o in reached)


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
    # Qwen3 normalizes queries and keys, in float32.
    normed = 3 if str(text.get("model_type", "")).startswith("qwen3") else 0
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
        kept=2 * heads * head
        + 2 * groups * head
        + normed * (heads + groups) * head
        + chosen * (4 * inner + (2 * hidden if experts else 0)),
        cache=2 * groups * head,
        linear=projections if experts else (*projections, *gates),
        experts=experts,
        fused=((hidden, 2 * inner), (inner, hidden)) if experts else (),
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on each GPU. A step has two high moments, and the peak is the larger.

    At the end of a forward pass its activations are whole. Gradients, which `zero_grad` sets to None, are not there yet
    in a step's first pass. At the end of the backward pass gradients are whole, and activations are gone.

    Attributes:
        state: weights, gradients and optimizer, this GPU's part.
        gradients: of these, what is not there yet while activations are; 0 where a step has several passes.
        gathered: weights of whole layers, or their 16-bit copies, while activations are there.
        activations: kept for the backward pass, with logits.
        summing: what the last gradients take before they are summed over GPUs, beside the state.
    """

    state: float
    gradients: float
    gathered: float
    activations: float
    summing: float

    @property
    def peak(self) -> float:
        """What torch allocates at most: "peak_memory_gib" of a training's facts."""
        return max(self.state - self.gradients + self.gathered + self.activations, self.state + self.summing)

    @property
    def total(self) -> float:
        """The peak, with what CUDA itself takes."""
        return self.peak + _CONTEXT


def training_memory(
    shape: Shape, sft: Sft, *, processes: int, recompute: bool, pass_tokens: int, passes: int = 1, frozen: int = 0
) -> Memory:
    """Memory of a training on each of its GPUs.

    Args:
        shape: the model.
        sft: how it is trained.
        processes: GPUs that train it together.
        recompute: activation checkpointing.
        pass_tokens: tokens of the largest forward pass on one GPU; 0 leaves activations out.
        passes: forward passes of a step on each GPU.
        frozen: parameters of a second model that the objective refers to, which is held in float32.
    """
    wide = 2 if sft.compute_dtype != "float32" else 4
    trained = shape.parameters if sft.lora is None else shape.adapter(sft.lora)
    moments = {"adamw": 8, "sgd": 4, "adafactor": 0}[sft.optimizer]
    state = trained * (4 + 4 + moments) + (0 if sft.lora is None else shape.parameters * wide) + 4 * frozen
    gathered, summing = _moments(shape, sft, processes, wide, first=passes == 1)
    way = "lora" if sft.lora else "sharded" if processes > 1 else "autocast"
    a_layer = KEPT * wide * (shape.kept + _WIDTHS[way] * shape.hidden) * pass_tokens
    kept = wide * shape.hidden * pass_tokens * shape.layers + a_layer if recompute else a_layer * shape.layers
    return Memory(
        state=state / processes,
        gradients=4 * trained / processes if passes == 1 else 0.0,
        gathered=gathered,
        activations=kept + min(_LOGITS, 3 * 4 * shape.vocabulary * pass_tokens),
        summing=summing,
    )


def _moments(shape: Shape, sft: Sft, processes: int, wide: int, *, first: bool) -> tuple[float, float]:
    """What is there for a moment: (with the activations, with the last gradients)."""
    head = shape.vocabulary * shape.hidden  # its 16-bit gradient is the first, and there until the last
    if processes == 1:
        # Autocast keeps 16-bit copies of trained weights; the embeddings' gradient comes whole, beside the sum.
        copied = wide * (shape.parameters + head) if sft.lora is None and wide == 2 else 0
        return copied, 4 * head if sft.lora is None else 0
    gathered = wide * (2 * shape.layer + shape.outer)
    if sft.lora is not None:
        return gathered, gathered
    # FSDP sums in float32. Last come embeddings and output together, while the last layer's sum is still there: their
    # 16-bit gradients, the sum's input, less the share of the sum that is not there yet. Before that a layer may need
    # more: its gradients, the input of its sum and of the last, and the next layer's weights.
    last = (wide + 4) * shape.outer + 4 * shape.layer
    a_layer = wide * (shape.outer + head) + (2 * wide + 8) * shape.layer
    return gathered + wide * head, max(last, a_layer) - (4 * shape.outer / processes if first else 0)


def sampling_memory(shape: Shape) -> float:
    """Bytes of sampling on one GPU before any row: bfloat16 weights and what CUDA itself takes."""
    return 2.0 * shape.parameters + _CONTEXT
