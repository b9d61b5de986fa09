"""Cross-entropy and its gradient by one kernel of liger-kernel, where that is installed and agrees with plain torch.

    N target positions, V vocabulary

Plain cross-entropy reads and writes logits six times, four of them in float32; the kernel reads 16-bit logits twice and
leaves the gradient in their place. It is called directly, since liger's own function waits for the device, which a
captured pass must not. This module refuses to know heads and weights. Invariant: it is used only after it gave plain
torch's numbers on this machine.
"""

from functools import lru_cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# No target has this number: nothing is left out.
_IGNORED = -100
# The kernel's own choice for a GPU of this generation.
_WARPS, _BLOCK = 32, 32768


def cross_entropy_in_place(logits_NV: Tensor, ids_N: Tensor) -> Tensor:
    """Negative log-likelihoods, float32 [N]; the logits become their gradient, softmax minus one at the target.

    Args:
        logits_NV: 16-bit, without gaps; overwritten.
        ids_N: int64, the targets.
    """
    import triton

    n, v = logits_NV.shape
    losses_N = torch.zeros(n, dtype=torch.float32, device=logits_NV.device)
    kernel: Any = import_module("liger_kernel.ops.cross_entropy").liger_cross_entropy_kernel
    # Triton launches on the current device, whichever the tensors are on. Counts are read for means alone.
    with torch.cuda.device(logits_NV.device):
        kernel[(n,)](
            X_ptr=logits_NV, X_stride=logits_NV.stride(0), Y_ptr=ids_N, Y_stride=1, weight_ptr=None, loss_ptr=losses_N,
            z_loss_ptr=None, loss_stride=1, token_accuracy_ptr=None, token_accuracy_stride=0,
            predicted_tokens_ptr=None, predicted_tokens_stride=0, n_cols=v, n_non_ignore=1, sum_non_ignore_weight=1,
            weight_sum=0.0, ignore_index=_IGNORED, lse_square_scale=0.0, label_smoothing=0.0, reduction="none",
            softcap=None, RETURN_Z_LOSS=False, RETURN_TOKEN_ACCURACY=False, RETURN_PREDICTED_TOKENS=False,
            BLOCK_SIZE=min(_BLOCK, triton.next_power_of_2(v)), HAS_WEIGHT=False, HAS_SOFTCAPPING=False,
            HAS_GRADIENTS=True, num_warps=_WARPS,
        )  # fmt: skip
    return losses_N


@lru_cache(maxsize=8)
def works(device: str, dtype: torch.dtype, vocabulary: int) -> bool:
    """Whether the kernel is there and gives plain torch's values and gradients for a vocabulary of this size.

    Args:
        device: anything but CUDA is False.
        dtype: of the logits; only 16-bit floats gain.
        vocabulary: V.
    """
    if not device.startswith("cuda") or dtype.itemsize != 2:
        return False
    generator = torch.Generator().manual_seed(0)
    raw = (3 * torch.randn((5, vocabulary), generator=generator)).to(device, dtype)
    ids = torch.tensor([0, vocabulary - 1, 1, vocabulary // 2, 2], device=device)
    with torch.enable_grad():
        plain = raw.float().requires_grad_()
        expected = F.cross_entropy(plain, ids, reduction="none")
        (slope,) = torch.autograd.grad(expected.sum(), plain)
    try:
        found = cross_entropy_in_place(raw, ids)
    except Exception:  # noqa: BLE001 -- compilers of kernels raise errors of their own; plain torch does it then
        return False
    near = torch.allclose(found, expected.detach(), atol=1e-3, rtol=1e-4)
    return near and torch.allclose(raw.float(), slope, atol=5e-3, rtol=2e-2)
