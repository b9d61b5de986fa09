"""A trainee's layers on a CPU with fewer passes over memory: norms, low-rank updates, and the end of the last layer.

    T tokens of a pass, N target positions, D features in, O features out, R rank

A small model's step spends half of its time beside the matrix products, on values that are written once and read once;
and the last layer's block after the attention is computed for prompts, which predict nothing. Forward methods are
exchanged on the layers themselves, so that names, weights and what is saved stay; what is put there holds its layer
weakly, so that a model is gone when nobody wants it. This module refuses to know models by name: each exchange is tried
on numbers. Invariant: values and gradients are those of the layers as they were, up to the
rounding of their dtype.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from offmodel.engines.rows import Laid, Taken

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
# By class of a layer and what else its code depends on: whether it computes what is computed here.
_TRIED: dict[Any, bool] = {}


def lighten(model: Any, decoder: Any) -> None:
    """Exchange what can be exchanged in a float32 or float64 model on a CPU, and in the adapter around it.

    Args:
        model: the base, or the adapter around it.
        decoder: the base's decoder, which gets an end that `ending` can shorten; whether that holds is the caller's to
            try (`forget` takes it out again).
    """
    for module in model.modules():
        epsilon = _epsilon_of(module)
        if epsilon is not None:
            if _tried(module, ("norm", epsilon), lambda m=module, e=epsilon: _norm_agrees(m, e)):
                module.forward = _norm(module, epsilon)
        elif _is_update(module) and _tried(module, ("update",), lambda m=module: _update_agrees(m)):
            module.forward = _update(module)
    if decoder not in _TAILS and _has_plain_end(decoder):
        _TAILS[decoder] = _Tail(decoder)


def forget(decoder: Any) -> None:
    """Give a decoder its own end back."""
    tail = _TAILS.pop(decoder, None)
    if tail is not None:
        tail.take_out()


@contextmanager
def ending(decoder: Any, at_N: Tensor) -> Iterator[bool]:
    """A context in which a decoder gives hidden states [1, N, D] at some flat positions of a pack; says whether."""
    tail = _TAILS.get(decoder)
    if tail is not None:
        tail.at_N = at_N
    try:
        yield tail is not None
    finally:
        if tail is not None:
            tail.at_N = None


@final
class _Tail:
    """The block after a decoder's last attention, and its last norm, at some positions only."""

    def __init__(self, decoder: Any):
        block, norm = decoder.layers[-1].mlp, decoder.norm
        self.at_N: Tensor | None = None
        self._layers, self._before = (ref(block), ref(norm)), (vars(block).get("forward"), vars(norm).get("forward"))
        self._block, self._norm = _loose(block), _loose(norm)
        block.forward, norm.forward = self._at_block, self._at_norm

    def take_out(self) -> None:
        for layer, before in zip(self._layers, self._before, strict=True):
            module = layer()
            if module is not None:
                del module.forward
                if before is not None:
                    module.forward = before

    def _at_block(self, x_1TD: Tensor, *args: Any, **options: Any) -> Any:
        if self.at_N is None:
            return self._block(x_1TD, *args, **options)
        some_ND = self._block(Taken.apply(x_1TD[0], self.at_N)[None], *args, **options)[0]
        return Laid.apply(some_ND, self.at_N, x_1TD.shape[1])[None]

    def _at_norm(self, x_1TD: Tensor, *args: Any, **options: Any) -> Any:
        some = x_1TD if self.at_N is None else Taken.apply(x_1TD[0], self.at_N)[None]
        return self._norm(some, *args, **options)


def _loose(module: nn.Module) -> Callable[..., Any]:
    """A module's forward method, without holding the module."""
    own = vars(module).get("forward")
    if own is not None:
        return own
    layer, plain = ref(module), type(module).forward
    return lambda *args, **options: plain(layer(), *args, **options)


_TAILS: WeakKeyDictionary[Any, _Tail] = WeakKeyDictionary()


def _has_plain_end(decoder: Any) -> bool:
    """Whether a decoder ends in a block of linear layers alone, and a norm."""
    layers, norm = getattr(decoder, "layers", None), getattr(decoder, "norm", None)
    block = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) and len(layers) else None
    if not isinstance(block, nn.Module) or not isinstance(norm, nn.Module):
        return False
    config = getattr(decoder, "config", None)
    return not any(getattr(config, name, None) for name in _EXPERTS)


class _Rms(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        width = x.shape[-1]
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(width).add_(epsilon).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight_D)
        return normed * weight_D

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad, (normed, scale, weight_D) = grads[0], ctx.saved_tensors
        width = grad.shape[-1]
        product = (grad * normed).reshape(-1, width)
        mean = torch.mv(product, weight_D).div_(width).view(scale.shape)
        by_weight_D = product.sum(0) if ctx.needs_input_grad[1] else None
        return torch.addcmul(grad * weight_D, normed, mean, value=-1).mul_(scale), by_weight_D, None


def _norm(module: Any, epsilon: float) -> Callable[[Tensor], Tensor]:
    layer = ref(module)

    def forward(x: Tensor) -> Tensor:
        found: Any = _Rms.apply(x, layer().weight, epsilon)  # type: ignore[union-attr] -- it is called by its module
        return found

    return forward


def _epsilon_of(module: nn.Module) -> float | None:
    """A norm's epsilon; None for what is no RMS norm by its looks."""
    if not type(module).__name__.endswith("RMSNorm") or [n for n, _ in module.named_parameters()] != ["weight"]:
        return None
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return epsilon if isinstance(epsilon, float) and getattr(module.weight, "ndim", 0) == 1 else None


class _Updated(torch.autograd.Function):
    """x W^T + scale x A^T B^T + bias; the update is added within a product, or to a weight that is small beside x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OD: Tensor,
        bias_O: Tensor | None,
        a_RD: Tensor,
        b_OR: Tensor,
        scale: float,
        small: bool,
    ) -> Tensor:
        x_TD = x.reshape(-1, x.shape[-1])
        o, h_TR = len(weight_OD), None
        if small:
            weight_OD = torch.addmm(weight_OD, b_OR, a_RD, alpha=scale)
            out_TO = x_TD @ weight_OD.T
        else:
            h_TR = x_TD @ a_RD.T
            out_TO = (x_TD @ weight_OD.T).addmm_(h_TR, b_OR.T, alpha=scale)
        ctx.save_for_backward(x_TD, weight_OD, a_RD, b_OR, h_TR)
        ctx.scale, ctx.shape = scale, x.shape
        out_TO = out_TO if bias_O is None else out_TO.add_(bias_O)
        return out_TO.view(*x.shape[:-1], o)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x_TD, weight_OD, a_RD, b_OR, h_TR = ctx.saved_tensors
        grad_TO = grads[0].reshape(-1, grads[0].shape[-1])
        u_TR = grad_TO @ b_OR
        if ctx.scale != 1:
            u_TR.mul_(ctx.scale)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x_TD = grad_TO @ weight_OD
            by_x = (by_x_TD if h_TR is None else by_x_TD.addmm_(u_TR, a_RD)).view(ctx.shape)
        by_b_OR = grad_TO.T @ (x_TD @ a_RD.T if h_TR is None else h_TR)
        if ctx.scale != 1:
            by_b_OR.mul_(ctx.scale)
        return by_x, None, None, u_TR.T @ x_TD, by_b_OR, None, None


def _is_update(module: nn.Module) -> bool:
    """Whether this is a frozen linear layer with one plain adapter of PEFT's."""
    from peft.tuners.lora import Linear

    if type(module) is not Linear:
        return False
    layer: Any = module
    names, base = layer.active_adapters, layer.base_layer
    if len(names) != 1 or names[0] not in layer.lora_A or type(base) is not nn.Linear:
        return False
    name = names[0]
    plain = type(layer.lora_dropout[name]) is nn.Identity and not layer.use_dora.get(name, False)
    plain &= not getattr(layer, "lora_variant", {}) and not any(p.requires_grad for p in base.parameters())
    parts = (layer.lora_A[name], layer.lora_B[name])
    return plain and all(type(p) is nn.Linear and p.bias is None for p in parts)


def _update(module: Any, small: bool | None = None) -> Callable[..., Tensor]:
    """A layer's forward method; `small` says whether the update is added to the weight, None by its size."""
    layer, plain = ref(module), type(module).forward

    def forward(x: Tensor, *args: Any, **options: Any) -> Tensor:
        own: Any = layer()
        if own.disable_adapters or own.merged or args or options:
            return plain(own, x, *args, **options)
        (name,), base = own.active_adapters, own.base_layer
        a_RD, b_OR, scale = own.lora_A[name].weight, own.lora_B[name].weight, own.scaling[name]
        o, d = base.weight.shape
        is_small = 2 * o * d <= x.numel() // d * (o + d) if small is None else small
        found: Any = _Updated.apply(x, base.weight, base.bias, a_RD, b_OR, scale, is_small)
        return found

    return forward


def _tried(module: nn.Module, key: tuple[Any, ...], agrees: Callable[[], bool]) -> bool:
    """Whether what is made of a layer computes what the layer does; found out once for each class in a process."""
    key = (type(module), next(module.parameters()).dtype, *key)
    if key not in _TRIED:
        _TRIED[key] = agrees()
    return _TRIED[key]


def _norm_agrees(module: nn.Module, epsilon: float) -> bool:
    layer = copy.deepcopy(module)
    dtype = next(layer.parameters()).dtype
    return _agrees(layer, [_norm(layer, epsilon)], 1e-9 if dtype == torch.float64 else 1e-4)


def _update_agrees(module: nn.Module) -> bool:
    """In float64, so that the verdict is of the class and not of a layer's size."""
    layer = copy.deepcopy(module).double()
    return _agrees(layer, [_update(layer, small) for small in (True, False)], 1e-9)


@torch.enable_grad()
def _agrees(layer: nn.Module, made: list[Callable[..., Tensor]], tolerance: float) -> bool:
    """Whether other forward methods give a layer's values and gradients; its weights under training are overwritten."""
    weights = [p for p in layer.parameters() if p.requires_grad] or list(layer.parameters())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in weights:
            p.copy_(torch.randn(p.shape, generator=generator))
    first = next(layer.parameters())
    raw = torch.randn((1, 5, first.shape[-1]), generator=generator).to(first.dtype)
    outputs: list[list[Tensor]] = []
    for forward in (_loose(layer), *made):
        x = raw.clone().requires_grad_()
        y = forward(x)
        leaves = [x, *(p for p in weights if p.requires_grad)]
        outputs.append([y.detach(), *torch.autograd.grad(y.sin().sum(), leaves)])
    return all(
        a.shape == b.shape and float((a - b).abs().max()) <= tolerance * (1e-6 + float(a.abs().max()))
        for new in outputs[1:]
        for a, b in zip(outputs[0], new, strict=True)
    )
