"""The fused loss: what a pass makes of its values and gradients, and where it is there at all."""

import torch
import torch.nn.functional as F

from offmodel.engines import fused_loss, static_pass
from tests.engines.test_graphs import both, made


def test_the_fused_loss_is_weighted_as_the_plain_one(llama, monkeypatch):
    """A stand-in for the kernel: what a pass makes of its values and of the gradient in the logits' place."""

    def in_place(logits_NV, ids_N):
        losses_N = F.cross_entropy(logits_NV, ids_N, reduction="none")
        slopes_NV = torch.softmax(logits_NV, -1)
        slopes_NV[torch.arange(len(ids_N)), ids_N] -= 1
        logits_NV.copy_(slopes_NV)
        return losses_N

    monkeypatch.setattr(fused_loss, "works", lambda *_: True)
    monkeypatch.setattr(fused_loss, "cross_entropy_in_place", in_place)
    monkeypatch.setattr(static_pass, "chunk_of", lambda body: 3)
    body, bank = made(llama, "float64")
    plain, fused = both(body, bank, (4, 0, 3, 2), tokens=60)
    assert torch.allclose(plain[0], fused[0], rtol=0, atol=1e-12)
    assert torch.allclose(plain[1], fused[1], rtol=0, atol=1e-12)


def test_only_a_gpu_has_the_fused_loss():
    assert not fused_loss.works("cpu", torch.bfloat16, 100)
