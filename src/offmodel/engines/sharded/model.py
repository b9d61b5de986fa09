"""A model folder as a model of which each process holds a part: FSDP2, layer by layer.

The model is made without memory, cut, and each process then reads its own rows from disk; no process ever holds it
whole. This module refuses to know examples and steps. Invariant: the parts together are the folder's weights, and a
fresh adapter is the one that the same seed gives on one device.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from offmodel.core.errors import ModelError
from offmodel.engines import adapters, folders
from offmodel.engines.forward import Body, Reference
from offmodel.engines.preparation import head_of
from offmodel.engines.sft import Lora, Sft
from offmodel.engines.sharded.stored import Stored


@final
class Whole(nn.Module):
    """The root of the sharded modules. All that touches weights runs inside its forward pass, where they are there.

    Args:
        model: the base, or the adapter around it.
        base: the causal language model.
        frozen: another model, for a divergence from it; None where there is none.
        body: device, dtype and layout; its head is taken anew in each pass.
    """

    def __init__(self, model: Any, base: Any, frozen: Any | None, body: Body):
        super().__init__()
        self.model, self.frozen = model, frozen
        self.__dict__["base"] = base  # a module as well, but the same weights: not to be found twice
        self.body = body

    def forward(self, work: Callable[[Body], Any]) -> Any:
        """`work` on the body with the weights of embedding and head gathered."""
        base: Any = self.base
        reference = None
        if self.frozen is not None:
            frozen: Any = self.frozen
            reference = Reference(decoder=frozen.get_decoder(), head=head_of(frozen), switch=contextlib.nullcontext)
        elif self.model is not base:
            switch = partial(_without_adapter, self.model)
            reference = Reference(decoder=base.get_decoder(), head=head_of(base), switch=switch)
        return work(replace(self.body, head=head_of(base), reference=reference))

    @torch.no_grad()
    def look(self, work: Callable[[Body], Any]) -> Any:
        """`work` without gradients. FSDP keeps the root gathered for a backward pass; here none follows."""
        found = self(work)
        root: Any = self
        root.reshard()
        return found


@contextlib.contextmanager
def _without_adapter(peft_model: Any) -> Iterator[None]:
    """The base alone. PEFT's own switch also changes what needs gradients, which FSDP must not see in mid-step."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [m for m in peft_model.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def build(
    folder: Path, sft: Sft, *, device: str, mesh: DeviceMesh, adapter: Path | None, recompute: bool, frozen: Path | None
) -> Whole:
    """The sharded model under training.

    Args:
        folder: Hugging Face folder.
        sft: how to train.
        device: of this process.
        mesh: one dimension, all processes.
        adapter: PEFT folder to go on from; only with `sft.lora`.
        recompute: keep only the inputs of each layer, and compute the rest again in the backward pass.
        frozen: folder of a second model that the objective refers to.

    Raises:
        ModelError: the model cannot be sharded.
    """
    compute = folders.dtype_of(sft.compute_dtype)
    base = _empty(folder, torch.float32 if sft.lora is None else compute)
    values: dict[str, Tensor] = {}
    model = base.requires_grad_(True)
    if sft.lora is not None:
        model, values = _with_adapter(base, sft.lora, sft.seed, adapter, compute)
    second = None if frozen is None else _empty(frozen, torch.float32).requires_grad_(False)
    body = Body(
        base=base, decoder=base.get_decoder(), head=head_of(base), device=device, compute=compute, layout="padded"
    )
    whole = Whole(model, base, second, body).eval()
    if recompute:
        for layer in _layers(base):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    _shard(whole, [base, *([second] if second is not None else [])], mesh, compute)
    _to_device(whole, device)
    _fill(model, Stored(folder), values, mesh)
    if second is not None and frozen is not None:
        _fill(second, Stored(frozen), {}, mesh)
    return whole


def _empty(folder: Path, dtype: torch.dtype) -> Any:
    """The folder's model on the meta device: shapes, and buffers such as rotary frequencies, but no weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.tie_weights()
    for name, module in list(model.named_modules()):
        if any(b.is_meta for b in module.buffers(recurse=False)):
            try:
                fresh = type(module)(config=config.get_text_config())
            except TypeError as error:
                raise ModelError(
                    f"A {type(model).__name__} keeps buffers in '{name}' that sharded training cannot make anew; "
                    "train it on one device."
                ) from error
            model.set_submodule(name, fresh)
    return model.eval()


def _layers(base: Any) -> nn.ModuleList:
    layers = getattr(base.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ModelError(
            f"A {type(base).__name__} does not keep its layers in a list 'layers', so it cannot be sharded by layer; "
            "train it on one device."
        )
    return layers


def _with_adapter(
    base: Any, lora: Lora, seed: int, adapter: Path | None, compute: torch.dtype
) -> tuple[Any, dict[str, Tensor]]:
    """The adapter around a base without weights, and the values of its parameters by name."""
    # PEFT puts an adapter where its base is, so the base is given addresses for that moment; none of it is touched.
    _elsewhere(base, "cpu")
    model = adapters.inject(base, lora, seed=seed)
    if compute != torch.float32:
        adapters.compute_in_one_dtype(model)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    # On one device the first values pass through the base's dtype.
    values = {name: p.detach().to(compute).float() for name, p in trained.items()}
    if adapter is not None:
        values = _values_of(adapter, lora, values)
    _elsewhere(model, "meta")
    return model, values


def _elsewhere(model: Any, device: str) -> None:
    """Replace all parameters by empty ones on a device; ties stay."""
    known: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            if id(p) not in known:
                known[id(p)] = nn.Parameter(torch.empty_like(p, device=device), requires_grad=p.requires_grad)
            setattr(module, name, known[id(p)])


def _values_of(adapter: Path, lora: Lora, fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    adapters.check_fits(adapters.read_config(adapter), lora)
    stored = load_file(Path(adapter) / "adapter_model.safetensors")
    found = {name: stored.get(name.replace(".default", "")) for name in fresh}
    wrong = [n for n, v in found.items() if v is None or v.shape != fresh[n].shape]
    if wrong or len(found) != len(stored):
        raise ModelError(
            f"The adapter '{adapter}' does not fit the layers that the settings train ({(wrong or ['more'])[0]}); "
            "give the targets that it was made with, or merge it first."
        )
    return {name: v.float() for name, v in found.items() if v is not None}


def _shard(whole: Whole, bases: list[Any], mesh: DeviceMesh, compute: torch.dtype) -> None:
    policy = MixedPrecisionPolicy()
    if compute != torch.float32:
        policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    for base in bases:
        for layer in _layers(base):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(whole, mesh=mesh, mp_policy=policy)


def _to_device(whole: Whole, device: str) -> None:
    """Take memory for this process' part; buffers keep their values."""
    buffers = dict(whole.named_buffers())
    whole.to_empty(device=torch.device(device))
    for name, value in buffers.items():
        owner, _, last = name.rpartition(".")
        setattr(whole.get_submodule(owner), last, value.to(device))


@torch.no_grad()
def _fill(model: Any, stored: Stored, values: dict[str, Tensor], mesh: DeviceMesh) -> None:
    """Read this process' rows of each parameter."""
    for name, param in model.named_parameters():
        local = param.to_local()
        first = min(-(-param.shape[0] // mesh.size()) * mesh.get_local_rank(), param.shape[0])
        last = first + local.shape[0]
        if not local.numel():
            continue
        rows = values[name][first:last] if name in values else stored.rows(plain_name(name), first, last)
        if rows.shape != local.shape:
            raise ModelError(f"The weights of '{plain_name(name)}' have another shape than the config says.")
        local.copy_(rows)


def plain_name(name: str) -> str:
    """A parameter's name in the base model, without what PEFT puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")
