"""Variable-length attention for packed sequences, offered to transformers under a name of ours, and its check.

This module refuses to know training. torch's variable-length attention needs CUDA and 16-bit floats, and its signature
changed between versions; so it is used only after `varlen_works` has compared it with plain attention on the machine at
hand. On a CPU the sequences are laid side by side for the attention alone, which is a small part of a pass; all else
computes no padding. What a model asks of its attention beyond this is refused, not left out. Invariant: no position
attends to another sequence of the pack.
"""

import contextlib
import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from offmodel.engines.rows import Laid, Taken
from offmodel.engines.short_attention import short_attention, side_by_side

NAME = "offmodel_varlen"
# Biases, caps, sinks and chosen keys, as transformers' models name them for their attention.
_UNKNOWN = ("softcap", "s_aux", "sinks", "position_bias", "indices", "block_indices", "head_mask")
# Tokens of a longest sequence up to which plain products and a softmax take less time on a CPU than torch's fused
# attention: at 45 tokens a quarter less, forward and backward, at 78 a twelfth.
_SHORT = 96
_LISTENERS: list[list[int | None]] = []


def register() -> None:
    """Make the attention known to transformers as `NAME`; repeated calls do no harm."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)


def boundaries(lengths: list[int], device: str) -> dict[str, Any]:
    """The keyword arguments that tell the attention where sequences of a pack begin and end."""
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    ends = ends.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else ends
    longest = max(lengths)
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}


@contextlib.contextmanager
def windows() -> Iterator[list[int | None]]:
    """The windows that layers ask for while the context is open, one for each call of the attention."""
    heard: list[int | None] = []
    _LISTENERS.append(heard)
    try:
        yield heard
    finally:
        _LISTENERS.remove(heard)


def asks_for_windows(config: Any) -> bool:
    """Whether some layers of a model see a stretch of the text only, by its configuration."""
    names = ("sliding_window", "attention_chunk_size")
    kinds = getattr(config, "layer_types", None)
    some = kinds is None or any(k in ("sliding_attention", "chunked_attention") for k in kinds)
    return some and any(getattr(config, n, None) for n in names)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: [1, heads, T, D] in, [1, T, heads, D] out."""
    if attention_mask is not None:
        raise ValueError("variable-length attention takes no mask")
    if unknown := [n for n in _UNKNOWN if others.get(n) is not None]:
        raise ValueError(f"variable-length attention knows no {', '.join(unknown)}")
    for heard in _LISTENERS:
        heard.append(sliding_window)
    if query.device.type == "cpu":
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        return _side_by_side(q, k, v, cu_seq_lens_q, scaling, sliding_window)[None], None
    q, k, v = (x[0].transpose(0, 1).to(torch.bfloat16) for x in (query, key, value))
    out = _varlen(q, k, v, cu_seq_lens_q, max_length_q, scaling=scaling, window=sliding_window)
    return out.to(query.dtype).unsqueeze(0), None


def _varlen(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, longest: int, *, scaling: float | None, window: int | None
) -> Tensor:
    """Causal attention within sequences; q [T, H, D], k and v [T, Hkv, D], all bfloat16."""
    from torch.nn.attention.varlen import varlen_attn

    known = _known(varlen_attn)
    options: dict[str, Any] = {}
    if "window_size" in known:
        options["window_size"] = (-1 if window is None else window - 1, 0)
    elif window is None:
        options["is_causal"] = True
    else:
        raise NotImplementedError("this torch has no sliding window in variable-length attention")
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    else:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    # The kernel divides by the root of the head's size, as nearly all models do.
    factor = 1.0 if scaling is None else scaling * q.shape[-1] ** 0.5
    if abs(factor - 1) > 1e-9:
        q = q * factor
    attend: Any = varlen_attn
    return attend(q.contiguous(), k.contiguous(), v.contiguous(), ends, ends, longest, longest, **options)


def _side_by_side(
    q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, ends: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    """Causal attention within sequences, those of like length padded on the right to the longest: [T, H, D]."""
    plan = side_by_side(ends)
    scale = q_THD.shape[-1] ** -0.5 if scaling is None else scaling
    if q_THD.shape == k_TGD.shape == v_TGD.shape and plan.longest <= _SHORT and q_THD.dtype.itemsize >= 4:
        found: Any = short_attention(q_THD, k_TGD, v_TGD, plan, scale, window)
        return found
    laid = [Laid.apply(x, plan.at_T, sum(plan.sizes)).split(plan.sizes) for x in (q_THD, k_TGD, v_TGD)]
    parts = []
    for shape, *flat in zip(plan.shapes, *laid, strict=True):
        q, k, v = (x.unflatten(0, shape).transpose(1, 2) for x in flat)
        parts.append(_attention(q, k, v, scale, window))
    return Taken.apply(torch.cat(parts) if len(parts) > 1 else parts[0], plan.at_T)


def _attention(q_RHLD: Tensor, k_RGLD: Tensor, v_RGLD: Tensor, scale: float, window: int | None) -> Tensor:
    """Causal attention of padded rows: [R x L, H, D]."""
    longest, mask = q_RHLD.shape[2], None
    if window is not None and window < longest:
        mask = torch.ones(longest, longest, dtype=torch.bool).tril_().triu_(1 - window)
    grouped = q_RHLD.shape[1] != k_RGLD.shape[1]
    out = F.scaled_dot_product_attention(
        q_RHLD, k_RGLD, v_RGLD, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
    return out.transpose(1, 2).flatten(0, 1)


@lru_cache(maxsize=2)
def _known(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


@lru_cache(maxsize=8)
def varlen_works(device: str, heads: int, groups: int, head_dim: int) -> bool:
    """Whether variable-length attention equals plain attention on this device, outputs and gradients.

    Args:
        device: where; anything but CUDA is False.
        heads: query heads.
        groups: key and value heads.
        head_dim: size of a head.
    """
    if not device.startswith("cuda"):
        return False
    try:
        # Gradients are compared too, also where the question is asked within a pass without them.
        with torch.enable_grad():
            return _agrees(device, heads, groups, head_dim)
    except (ImportError, RuntimeError, TypeError, ValueError, NotImplementedError):
        return False


def _agrees(device: str, heads: int, groups: int, head_dim: int) -> bool:
    lengths = [7, 33, 20]
    generator = torch.Generator().manual_seed(0)
    shapes = [(sum(lengths), n, head_dim) for n in (heads, groups, groups)]
    ours, plain = (
        [x.clone().to(device, torch.bfloat16).requires_grad_() for x in raw]
        for raw in [[torch.randn(s, generator=generator) for s in shapes]] * 2
    )
    ends = boundaries(lengths, device)
    q_TH, k_TH, v_TH = ours
    out = _varlen(q_TH, k_TH, v_TH, ends["cu_seq_lens_q"], ends["max_length_q"], scaling=head_dim**-0.5, window=None)
    parts = []
    for q, k, v in zip(*(x.float().split(lengths) for x in plain), strict=True):
        k, v = (x.repeat_interleave(heads // groups, dim=1) for x in (k, v))
        rows = (x.transpose(0, 1)[None] for x in (q, k, v))
        parts.append(F.scaled_dot_product_attention(*rows, is_causal=True)[0].transpose(0, 1))
    expected = torch.cat(parts)
    for value in (out.float(), expected):
        value.sin().sum().backward()
    pairs = [(out, expected), *((a.grad, b.grad) for a, b in zip(ours, plain, strict=True))]
    return all(b is not None and torch.allclose(a.float(), b.float(), atol=3e-2, rtol=3e-2) for a, b in pairs)
