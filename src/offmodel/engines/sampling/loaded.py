"""The model that a process samples from: loaded once, adapters swapped in and out of it.

This module refuses to know requests. A model is known by the digest of its content, never by its name or path: a
checkpoint that was overwritten must not answer with stale weights. Invariant: taking an adapter out gives the base's
own weights back to the bit.
"""

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from offmodel.core.errors import ModelError, OffmodelError
from offmodel.engines import adapters, folders, norms
from offmodel.engines.losses import Head
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import slots as slot_cache
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.inside import Inside, is_plain, put_in, updates_of
from offmodel.engines.sampling.lanes import Lanes, put_in_lanes
from offmodel.engines.sampling.slots import Slots


@dataclass(slots=True, eq=False)
class Loaded:
    """A model in memory with what the sampler needs of it.

    Attributes:
        key: what was loaded: content digest, dtype, device.
        shape: the folder's configuration, by which another model can take the place of this one's weights.
        weights: the model's own parameters by name, whatever adapter is in.
        adapter_key: digest of the adapter that is in, None for none; of adapters side by side, of all.
        inside: the adapter that is in, or the adapters side by side.
        decoder: its slots, kept between calls.
        most_lanes: adapters that may be tried side by side, after what failed; None while nothing has.
    """

    key: tuple[str, str, str]
    model: Any
    renderer: Renderer
    device: str
    head: Head
    layers: int
    positions: int | None
    cache_bytes: int
    shape: str
    weights: dict[str, Tensor]
    adapter_key: str | None = None
    inside: Inside | Lanes | None = None
    decoder: Decoder | None = None
    most_lanes: int | None = None

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
# Of a model whose adapter is being exchanged: whatever fails then, it answers for no adapter and not for none.
_NEITHER = ""


def obtain(
    model: Path, model_key: str, adapter: Path | None, adapter_key: str | None, dtype: str, device: str
) -> Loaded:
    """The model with the adapter in, from memory if it is the one loaded last.

    Raises:
        ModelError: the folder cannot be loaded, or the model works in a way that the sampler does not know.
    """
    if adapter is not None and not is_plain(adapter):
        return _obtain_merged(model, (f"{model_key}+{adapter_key}", dtype, device), adapter)
    loaded = obtain_base(model, model_key, dtype, device)
    if loaded.adapter_key != adapter_key:
        loaded.adapter_key = _NEITHER
        _swap(loaded, adapter)
        loaded.adapter_key = adapter_key
    return loaded


def lay_in(loaded: Loaded, lanes: Sequence[tuple[Path | None, str | None]]) -> None:
    """Put adapters side by side, each as (folder, digest of its content); None is the model itself.

    Raises:
        ModelError: an adapter cannot be read, or cannot be put beside others.
    """
    key = "lanes " + " ".join(str(digest) for _, digest in lanes)
    if loaded.adapter_key != key:
        loaded.adapter_key = _NEITHER
        updates = [{} if adapter is None else updates_of(adapter) for adapter, _ in lanes]
        if not (isinstance(loaded.inside, Lanes) and loaded.inside.rewrite(updates)):
            _empty(loaded)
            loaded.inside = put_in_lanes(loaded.model, updates)
        loaded.adapter_key = key


def obtain_base(model: Path, model_key: str, dtype: str, device: str) -> Loaded:
    """The model with whatever adapter is in.

    Raises:
        ModelError: the folder cannot be loaded, or the model works in a way that the sampler does not know.
    """
    key = (model_key, dtype, device)
    if not _LAST or (_LAST[0].key != key and not _written_over(_LAST[0], model, key)):
        forget()
        _LAST.append(_load(model, key))
    return _LAST[0]


def _empty(loaded: Loaded) -> None:
    """Take the adapter out, and forget graphs that were captured with it."""
    if loaded.inside is not None:
        loaded.inside.take_out()
    loaded.inside = None
    if loaded.decoder is not None:
        loaded.decoder.drop_graphs()


@torch.no_grad()
def _written_over(loaded: Loaded, model: Path, key: tuple[str, str, str]) -> bool:
    """Write another model of the same shape over the one in memory, whose captured graphs stay; False if it differs."""
    if loaded.key[1:] != key[1:]:
        return False
    try:
        renderer, files = Renderer.from_folder(model), _files_of(model, loaded.device)
        shapes = {name: tuple(f.get_slice(name).get_shape()) for name, f in files.items()}
        same = _shape_of(model) == loaded.shape and renderer.stop_ids == loaded.renderer.stop_ids
    except (OSError, ValueError, SafetensorError, OffmodelError):
        return False  # loading it says what is wrong
    if not same or shapes != {name: tuple(weight.shape) for name, weight in loaded.weights.items()}:
        return False
    # Half written, it must answer for neither.
    _LAST.clear()
    if isinstance(loaded.inside, Lanes):
        inside = _NEITHER  # the base's own weights are whole under them, and their graphs are worth keeping
    else:
        _swap(loaded, None)
        inside = None
    for name, file in files.items():
        loaded.weights[name].copy_(file.get_tensor(name))
    loaded.key, loaded.adapter_key, loaded.renderer, loaded.most_lanes = key, inside, renderer, None
    _LAST.append(loaded)
    return True


def _files_of(model: Path, device: str) -> dict[str, Any]:
    """By tensor, the open file that holds it: those of the index, or the one that transformers would read."""
    index = Path(model) / "model.safetensors.index.json"
    named = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else {}
    files = {name: safe_open(Path(model) / name, "pt", device) for name in set(named.values())}
    if named:
        return {tensor: files[file] for tensor, file in named.items()}
    whole = safe_open(Path(model) / "model.safetensors", "pt", device)
    return dict.fromkeys(whole.keys(), whole)


def _shape_of(model: Path) -> str:
    """A folder's configuration without what does not change the model's layers."""
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    for name in ("_name_or_path", "dtype", "torch_dtype", "transformers_version"):
        config.pop(name, None)
    return json.dumps(config, sort_keys=True)


def _swap(loaded: Loaded, adapter: Path | None) -> None:
    """Exchange the adapter that is in; one of the same shapes takes the old one's place in memory."""
    if adapter is None and loaded.device.startswith("cuda") and loaded.inside is not None and loaded.inside.silence():
        return  # graphs of the layers with an update stay; an update of zeros changes no bit
    if loaded.inside is not None and adapter is not None and loaded.inside.overwrite(adapter):
        return
    _empty(loaded)
    if adapter is not None:
        loaded.inside = put_in(loaded.model, adapter)


def _obtain_merged(model: Path, key: tuple[str, str, str], adapter: Path) -> Loaded:
    """A model with an adapter that cannot be swapped (on fused experts, say), merged by way of a folder."""
    if not _LAST or _LAST[0].key != key:
        forget()
        with TemporaryDirectory() as folder:
            adapters.merge_to_folder(model=model, adapter=adapter, out=Path(folder) / "merged")
            _LAST.append(_load(Path(folder) / "merged", key))
    return _LAST[0]


def make_room() -> None:
    """Drop the model in memory before a training that needs the memory; on a GPU that is half free it may stay."""
    if _LAST and _LAST[0].device.startswith("cuda"):
        for _ in range(2):
            free, total = torch.cuda.mem_get_info(_LAST[0].device)
            if free > total / 2:
                return
            _LAST[0].decoder = None  # many slots are larger than the model
            torch.cuda.empty_cache()
    forget()


def forget() -> None:
    """Drop the model in memory."""
    _LAST.clear()
    if torch.cuda.is_available():
        # Model and decoder hold each other; graphs must not wait for a collection in the middle of another's capture.
        gc.collect()
        torch.cuda.empty_cache()


def _load(path: Path, key: tuple[str, str, str]) -> Loaded:
    _, dtype, device = key
    renderer = Renderer.from_folder(path)
    model = folders.load_model(path, dtype=folders.dtype_of(dtype), device=device).requires_grad_(False)
    if device.startswith("cuda"):
        norms.fuse(model)  # norms written out were an eighth of a decoding step's kernels at 0.5B
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    layer = model.get_output_embeddings()
    loaded = Loaded(
        key=key,
        model=model,
        renderer=renderer,
        device=device,
        head=Head(layer.weight, getattr(layer, "bias", None), getattr(config, "final_logit_softcapping", None)),
        layers=config.num_hidden_layers,
        positions=getattr(config, "max_position_embeddings", None),
        cache_bytes=2 * config.num_hidden_layers * groups * head_dim * layer.weight.element_size(),
        shape=_shape_of(path),
        weights=dict(model.named_parameters()),
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
        cache.fill(slice(0, 1))
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
