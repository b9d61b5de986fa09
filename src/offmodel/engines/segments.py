"""Low-rank updates of several adapters in one pass: tokens stand sorted by member, each stretch meets its own matrices.

    T tokens of a pass, K members, R rank, D inputs, O outputs of a linear layer

Three ways: a loop over stretches (CPU), torch's grouped matrix product (CUDA, 16 bit), and stretches padded to one
length for a batched product (elsewhere). This module refuses to know models. Invariant: a token's update depends on its
member's matrices alone, values and gradients; a way is used only after it was compared with the loop on the machine.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

Way = Literal["loop", "grouped", "padded"]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Which tokens of a pass are whose.

    Attributes:
        lengths: tokens of each member, in the members' order; 0 for a member without any.
        way: how to multiply.
        ends_K: int32, where each stretch ends ("grouped").
        scale_T1: each token's alpha / rank.
        at_KM: for "padded", the tokens of each member, filled up with T, a row of zeros.
        back_T: for "padded", where each token stands in the padded layout.
    """

    lengths: tuple[int, ...]
    way: Way
    ends_K: Tensor
    scale_T1: Tensor
    at_KM: Tensor | None
    back_T: Tensor | None


def segments_of(lengths: list[int], scales: list[float], way: Way, device: str, dtype: torch.dtype) -> Segments:
    """Segments of a pass whose tokens are sorted by member.

    Args:
        lengths: tokens of each member.
        scales: alpha / rank of each member.
        way: how to multiply.
        device: where.
        dtype: of the scales.
    """
    counts = torch.tensor(lengths)
    ends = list(accumulate(lengths))
    scale = torch.repeat_interleave(torch.tensor(scales, dtype=torch.float64), counts)[:, None]
    at, back = None, None
    if way == "padded":
        width, total = max(lengths), sum(lengths)
        grid = torch.arange(width)[None].expand(len(lengths), -1)
        starts = torch.tensor([0, *ends[:-1]])[:, None]
        at = torch.where(grid < counts[:, None], starts + grid, total)
        back = torch.cat([k * width + torch.arange(n) for k, n in enumerate(lengths)])
        at, back = at.to(device, non_blocking=True), back.to(device, non_blocking=True)
    return Segments(
        lengths=tuple(lengths),
        way=way,
        ends_K=torch.tensor(ends, dtype=torch.int32).to(device, non_blocking=True),
        scale_T1=scale.to(device, dtype, non_blocking=True),
        at_KM=at,
        back_T=back,
    )


def low_rank(x_TD: Tensor, a_KRD: Tensor, b_KOR: Tensor, segments: Segments) -> Tensor:
    """Each token's scaled update [T, O] by its member's matrices."""
    if segments.way == "grouped":
        multiply: Any = getattr(torch, "_grouped_mm")  # noqa: B009 -- torch does not export it yet
        h_TR = multiply(x_TD, a_KRD.transpose(1, 2), offs=segments.ends_K) * segments.scale_T1
        return multiply(h_TR, b_KOR.transpose(1, 2), offs=segments.ends_K)
    if segments.way == "padded" and segments.at_KM is not None and segments.back_T is not None:
        x_KMD = torch.cat([x_TD, x_TD.new_zeros(1, x_TD.shape[1])])[segments.at_KM]
        out_KMO = torch.bmm(torch.bmm(x_KMD, a_KRD.transpose(1, 2)), b_KOR.transpose(1, 2))
        return out_KMO.flatten(0, 1)[segments.back_T] * segments.scale_T1
    # split and unbind, not slices and indices: their backward passes write each gradient once.
    stretches = zip(x_TD.split(segments.lengths), a_KRD.unbind(0), b_KOR.unbind(0), strict=True)
    parts = [(x @ a.T) @ b.T for x, a, b in stretches if len(x)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)) * segments.scale_T1


@lru_cache(maxsize=8)
def right_way(device: str, dtype: torch.dtype) -> Way:
    """The fastest way that equals the loop on this machine."""
    if not device.startswith("cuda"):
        return "loop"
    for way in ("grouped", "padded"):
        if agrees(way, device, dtype):
            return way
    return "loop"


def agrees(way: Way, device: str, dtype: torch.dtype) -> bool:
    """Whether a way gives the loop's values and gradients, an empty stretch included."""
    lengths, scales = [16, 0, 40, 8], [1.0, 2.0, 0.5, 1.0]
    generator = torch.Generator().manual_seed(0)
    raw = [torch.randn(s, generator=generator) for s in ((64, 32), (4, 16, 32), (4, 48, 16))]
    found: list[list[Tensor]] = []
    try:
        for each in (way, "loop"):
            leaves = [x.clone().to(device, dtype).requires_grad_() for x in raw]
            x_TD, a_KRD, b_KOR = leaves
            out = low_rank(x_TD, a_KRD, b_KOR, segments_of(lengths, scales, each, device, dtype))
            out.float().sin().sum().backward()
            found.append([out.detach(), *(x.grad for x in leaves if x.grad is not None)])
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False
    tolerance = 5e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-4
    ours, loop = found
    return len(ours) == len(loop) == 4 and all(
        float((a - b).abs().max()) <= tolerance * float(b.abs().max()) for a, b in zip(ours, loop, strict=True)
    )
