"""Norms are replaced where the fused kernel computes the same, and only there."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from offmodel.engines import norms


class OddRMSNorm(nn.Module):
    """As Gemma's: the weight counts from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16), requires_grad=False)
        self.eps = 1e-6

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


def test_a_model_computes_what_it_computed(llama):
    for dtype in (torch.float64, torch.float32):
        model = AutoModelForCausalLM.from_pretrained(llama, dtype=dtype).requires_grad_(False)
        ids = torch.arange(20)[None]
        before = model(ids, use_cache=False).logits
        assert norms.fuse(model) == 5
        assert torch.allclose(model(ids, use_cache=False).logits, before, atol=1e-4, rtol=0)
        assert norms.fuse(model) == 0


def test_other_norms_stay():
    model = nn.Sequential(OddRMSNorm(), nn.LayerNorm(16).requires_grad_(False))
    assert norms.fuse(model) == 0


def test_norms_under_training_stay(llama):
    assert norms.fuse(AutoModelForCausalLM.from_pretrained(llama).requires_grad_(True)) == 0


def test_parameters_keep_their_names_and_memory(llama):
    model = AutoModelForCausalLM.from_pretrained(llama).requires_grad_(False)
    before = {name: p.data_ptr() for name, p in model.named_parameters()}
    assert norms.fuse(model)
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == before
