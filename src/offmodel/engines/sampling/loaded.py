"""The model that a process samples from: loaded once, adapters swapped in and out of it.

This module refuses to know requests. A model is known by the digest of its content, never by its name or path: a
checkpoint that was overwritten must not answer with stale weights. Invariant: taking an adapter out gives the base's
own weights back to the bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from offmodel.core.errors import ModelError
from offmodel.engines import adapters, folders
from offmodel.engines.losses import Head
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import slots as slot_cache
from offmodel.engines.sampling.slots import Slots


@dataclass(slots=True, eq=False)
class Loaded:
    """A model in memory with what the sampler needs of it.

    Attributes:
        key: what was loaded: content digest, dtype, device.
        adapter_key: digest of the adapter that is in, None for none.
        undo: takes the adapter out.
    """

    key: tuple[str, str, str]
    model: Any
    renderer: Renderer
    device: str
    head: Head
    layers: int
    positions: int | None
    cache_bytes: int
    adapter_key: str | None = None
    undo: Callable[[], None] | None = None

    def hidden(self, ids_RQ: Tensor, at_RQ: Tensor | None, cache: Slots) -> Tensor:
        """Last hidden states [R, Q, D]; positions count from 0 unless given."""
        decoder = self.model.get_decoder()
        if at_RQ is None:
            at_RQ = torch.arange(ids_RQ.shape[1], device=ids_RQ.device)[None].expand(ids_RQ.shape)
        out = decoder(input_ids=ids_RQ, position_ids=at_RQ, past_key_values=cache, use_cache=True, slots=cache)
        return out.last_hidden_state

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """float32 [R, V]."""
        return self.head.logits(hidden_RD)


_LAST: list[Loaded] = []


def obtain(
    model: Path, model_key: str, adapter: Path | None, adapter_key: str | None, dtype: str, device: str
) -> Loaded:
    """The model with the adapter in, from memory if it is the one loaded last.

    Raises:
        ModelError: the folder cannot be loaded, or the model works in a way that the sampler does not know.
    """
    if adapter is not None and not is_plain(adapter):
        return _obtain_merged(model, (f"{model_key}+{adapter_key}", dtype, device), adapter)
    key = (model_key, dtype, device)
    if not _LAST or _LAST[0].key != key:
        forget()
        _LAST.append(_load(model, key))
    loaded = _LAST[0]
    if loaded.adapter_key != adapter_key:
        if loaded.undo is not None:
            loaded.undo()
        loaded.undo, loaded.adapter_key = None, None
        if adapter is not None:
            loaded.undo = put_in(loaded.model, adapter)
            loaded.adapter_key = adapter_key
    return loaded


def is_plain(adapter: Path) -> bool:
    """Whether an adapter only adds low-rank updates to linear layers, so that it can be swapped in and out."""
    config = adapters.read_config(adapter)
    return not (config.get("use_dora") or config.get("target_parameters") or config.get("rank_pattern"))


def _obtain_merged(model: Path, key: tuple[str, str, str], adapter: Path) -> Loaded:
    """A model with an adapter that cannot be swapped (on fused experts, say), merged by way of a folder."""
    if not _LAST or _LAST[0].key != key:
        forget()
        with TemporaryDirectory() as folder:
            adapters.merge_to_folder(model=model, adapter=adapter, out=Path(folder) / "merged")
            _LAST.append(_load(Path(folder) / "merged", key))
    return _LAST[0]


def forget() -> None:
    """Drop the model in memory, for example before a training that needs the memory."""
    _LAST.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(path: Path, key: tuple[str, str, str]) -> Loaded:
    _, dtype, device = key
    renderer = Renderer.from_folder(path)
    model = folders.load_model(path, dtype=folders.dtype_of(dtype), device=device)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    layer = model.get_output_embeddings()
    loaded = Loaded(
        key=key,
        model=model.requires_grad_(False),
        renderer=renderer,
        device=device,
        head=Head(layer.weight, getattr(layer, "bias", None), getattr(config, "final_logit_softcapping", None)),
        layers=config.num_hidden_layers,
        positions=getattr(config, "max_position_embeddings", None),
        cache_bytes=2 * config.num_hidden_layers * groups * head_dim * layer.weight.element_size(),
    )
    _check(loaded)
    return loaded


@torch.inference_mode()
def _check(loaded: Loaded) -> None:
    """Prompt pass and one decoding step against the model's own forward pass; then our attention stays in."""
    ids = torch.arange(10, device=loaded.device)[None] % loaded.head.weight_VD.shape[0]
    expected = loaded.model(input_ids=ids, use_cache=False).logits[0].float()
    loaded.model.set_attn_implementation(slot_cache.NAME)
    cache = Slots(loaded.layers, 1, 16)
    try:
        cache.fill(torch.zeros(1, dtype=torch.int64, device=loaded.device))
        prompt = loaded.logits(loaded.hidden(ids[:, :9], None, cache)[0])
        at = torch.full((1,), 9, device=loaded.device)
        cache.decode(at, 10)
        last = loaded.logits(loaded.hidden(ids[:, 9:], at[:, None], cache)[0])
    except (TypeError, AttributeError, IndexError, RuntimeError) as e:
        raise ModelError(f"A {type(loaded.model).__name__} cannot be sampled from here: {e}") from e
    found = torch.cat([prompt, last])
    scale = float(expected.abs().max()) + 1e-6
    tolerance = 1e-4 if loaded.head.weight_VD.dtype == torch.float32 else 5e-2
    if float((found - expected).abs().max()) > tolerance * scale:
        raise ModelError(
            f"A {type(loaded.model).__name__} gives other logits through this sampler than through its own forward "
            "pass; use another sampler."
        )


def put_in(model: Any, adapter: Path) -> Callable[[], None]:
    """Put an adapter into a model; returns what takes it out again.

    float32 weights are merged. 16-bit weights keep the update beside them: merging would round small updates away.
    """
    config = adapters.read_config(adapter)
    state = load_file(Path(adapter) / "adapter_model.safetensors")
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        target, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        if part not in ("A.weight", "B.weight"):
            raise ModelError(f"The adapter holds '{name}', which the sampler cannot apply; merge the adapter first.")
        pairs.setdefault(target, {})[part[0]] = tensor
    root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    undone = [_apply(model, name, ab["A"], ab["B"], config["lora_alpha"] / root) for name, ab in pairs.items()]

    def undo() -> None:
        for take_out in undone:
            take_out()

    return undo


def _apply(model: Any, name: str, a_RD: Tensor, b_DR: Tensor, scale: float) -> Callable[[], None]:
    parent, _, child = name.rpartition(".")
    holder = model.get_submodule(parent)
    linear = getattr(holder, child)
    if not isinstance(linear, nn.Linear):
        raise ModelError(f"The adapter changes '{name}', which is no linear layer of this model.")
    weight = linear.weight
    a_RD, b_DR = a_RD.to(weight.device), b_DR.to(weight.device)
    if weight.dtype == torch.float32:
        merged = weight.detach() + scale * (b_DR.float() @ a_RD.float())
        linear.weight = nn.Parameter(merged, requires_grad=False)

        def undo() -> None:
            linear.weight = weight
    else:
        setattr(holder, child, _Beside(linear, a_RD.to(weight.dtype), (scale * b_DR.float()).to(weight.dtype)))

        def undo() -> None:
            setattr(holder, child, linear)

    return undo


class _Beside(nn.Module):
    """A linear layer with a low-rank update computed beside it."""

    def __init__(self, linear: nn.Linear, a_RD: Tensor, b_DR: Tensor):
        super().__init__()
        self.linear, self.a_DR, self.b_RD = linear, a_RD.T.contiguous(), b_DR.T.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x)
        flat = torch.addmm(out.view(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]) @ self.a_DR, self.b_RD)
        return flat.view(out.shape)
