"""Variable-length attention for packed sequences, offered to transformers under a name of ours, and its check.

This module refuses to know training. torch's variable-length attention needs CUDA and 16-bit floats, and its signature
changed between versions; so it is used only after `varlen_works` has compared it with plain attention on the machine at
hand. Invariant: no position attends to another sequence of the pack.
"""

import inspect
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "offmodel_varlen"


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
    **_: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: [1, heads, T, D] in, [1, T, heads, D] out."""
    if attention_mask is not None:
        raise ValueError("variable-length attention takes no mask")
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
