"""The chunked loss is the plain loss, gradients included."""

import pytest
import torch
import torch.nn.functional as F

from offmodel.engines.losses import Head, Targets, cross_entropy, target_loss, weighted


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_chunked_loss_and_gradients_equal_the_plain_loss(chunk, softcap):
    torch.manual_seed(0)
    n, d, v = 13, 6, 11
    hidden = torch.randn(n, d, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(v, d, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(v, dtype=torch.float64, requires_grad=True)
    targets = Targets(torch.randint(0, v, (n,)), torch.rand(n, dtype=torch.float64))
    target_loss(hidden, Head(weight, bias, softcap), targets, [cross_entropy], chunk=chunk)[0].backward()
    found = [x.grad.clone() for x in (hidden, weight, bias)]
    for x in (hidden, weight, bias):
        x.grad = None
    logits = F.linear(hidden, weight, bias)
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    (F.cross_entropy(logits, targets.ids_N, reduction="none") * targets.weights_N).sum().backward()
    for got, x in zip(found, (hidden, weight, bias), strict=True):
        assert torch.allclose(got, x.grad, atol=1e-12)


def test_terms_add_up():
    torch.manual_seed(0)
    hidden, head = torch.randn(5, 4), Head(torch.randn(7, 4), None, None)
    targets = Targets(torch.randint(0, 7, (5,)), torch.ones(5))
    one = target_loss(hidden, head, targets, [cross_entropy], chunk=2)
    both = target_loss(hidden, head, targets, [cross_entropy, weighted(cross_entropy, 0.5)], chunk=2)
    assert [float(x) for x in both] == pytest.approx([float(one[0]), 0.5 * float(one[0])])
