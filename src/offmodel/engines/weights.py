"""Arithmetic on model folders: weights added, scaled, noised, written as a Hugging Face folder again.

Tensors are read one at a time and written in shards, so a model larger than memory's half can be worked on. This module
refuses to know what the models were trained for. Invariant: a model with factor 1 beside others with factor 0 comes out
bit for bit, and a tensor's noise depends on the seed and its name alone.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from offmodel.core.errors import ModelError, RecipeError
from offmodel.engines import adapters, folders

_SHARD_BYTES = 4 * 2**30
_HEAD = "lm_head.weight"  # stored by some writers and left out by others where it repeats the embeddings


def combine(models: Sequence[tuple[Path, float]], *, out: Path, dtype: str | None) -> None:
    """Write the sum of factor x weights; side files are the first model's.

    `[(a, 1 - x), (b, x)]` interpolates or merges two homologous models, `[(a, 1.0), (b, x), (base, -x)]` adds what b
    learnt beyond base.

    Args:
        models: Hugging Face folders of one architecture with their factors.
        out: folder to write.
        dtype: "float32", "bfloat16", "float16", or None for the first model's. Sums are taken in float32: a 16-bit
            result rounds small differences away.

    Raises:
        ModelError: the models differ in the names or shapes of their weights.
        RecipeError: there is no model with a factor other than 0.
    """
    used = [(_Tensors(path), factor) for path, factor in models if factor != 0]
    if not used:
        raise RecipeError("Models can only be combined if one of them has a factor other than 0.")
    source = models[0][0]
    everything = [_Tensors(path) for path, _ in models]
    for other in everything[1:]:
        _check_alike(everything[0], other)

    def compute(name: str) -> Tensor:
        parts = [(tensors.read(name), factor) for tensors, factor in used]
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        return torch.stack([tensor.float() * factor for tensor, factor in parts]).sum(0)

    names = [n for n in everything[0].names if all(n in t.names for t in everything)]
    _write(names, compute, source=source, out=out, dtype=dtype)


def interpolate(*, start: Path, end: Path, alpha: float, out: Path, dtype: str | None) -> None:
    """Write (1 - alpha) x start + alpha x end; alpha 0 and 1 give the ends bit for bit.

    Args:
        start: Hugging Face folder whose side files are copied.
        end: a model of the same architecture.
        alpha: any finite number; beyond [0, 1] extrapolates.
        out: folder to write.
        dtype: see `combine`.
    """
    combine([(start, 1 - alpha), (end, alpha)], out=out, dtype=dtype)


def scale_adapter(*, adapter: Path, alpha: float, out: Path) -> None:
    """Write a PEFT adapter whose update is alpha times the given one's; 0 is the base, 1 the adapter bit for bit."""
    config = adapters.read_config(adapter)
    if config.get("use_dora"):
        raise ModelError("The update of a DoRA adapter does not scale with its weights; merge it and interpolate.")
    out.mkdir(parents=True)
    state = load_file(Path(adapter) / "adapter_model.safetensors")
    scaled = {k: v * alpha if "lora_B" in k or "lora_embedding_B" in k else v for k, v in state.items()}
    save_file(scaled, out / "adapter_model.safetensors", metadata={"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def merge_scaled(*, model: Path, adapter: Path, alpha: float, out: Path) -> None:
    """Write the model with alpha times the adapter's update merged, float32; alpha 0 is the model itself.

    Tensor by tensor where the adapter changes linear layers that are stored under their own names; else (fused experts,
    DoRA) through a model in memory.
    """
    tensors = _Tensors(model)
    updates = _updates(adapter)
    if updates is None or not all(f"{name}.weight" in tensors.names for name in updates):
        with TemporaryDirectory() as folder:
            scale_adapter(adapter=adapter, alpha=alpha, out=Path(folder) / "scaled")
            adapters.merge_to_folder(model=model, adapter=Path(folder) / "scaled", out=out)
        return

    def compute(name: str) -> Tensor:
        weight, update = tensors.read(name), updates.get(name.removesuffix(".weight"))
        if update is None or alpha == 0:
            return weight
        a_RD, b_DR, scale = update
        return weight.float() + (alpha * scale) * (b_DR.float() @ a_RD.float())

    _write(tensors.names, compute, source=model, out=out, dtype="float32")


def add_noise(*, model: Path, sigma: float, seed: int, out: Path, dtype: str | None) -> None:
    """Add Gaussian noise to every matrix: sigma times the matrix's root mean square; vectors stay as they are.

    Args:
        model: Hugging Face folder.
        sigma: noise over signal; 0 gives the model bit for bit.
        seed: of the noise; each tensor draws its own from the seed and its name.
        out: folder to write.
        dtype: see `combine`.
    """

    def noised(name: str, weight: Tensor) -> Tensor:
        size = float(weight.square().mean().sqrt())
        return weight + sigma * size * torch.randn(weight.shape, generator=_generator(seed, name))

    _change_matrices(model, noised if sigma else None, out=out, dtype=dtype)


def shrink_and_perturb(*, model: Path, alpha: float, beta: float, seed: int, out: Path, dtype: str | None) -> None:
    """Mix every matrix with a random one: (1 - alpha) x W + alpha x beta x N, where N is a Xavier-normal draw.

    The noise of UNDO (arXiv 2506.06278), applied before distilling; vectors stay as they are.

    Args:
        model: Hugging Face folder.
        alpha: how far to go, in [0, 1]; 0 gives the model bit for bit.
        beta: scale of the random part; UNDO's is 0.1.
        seed: of the random part.
        out: folder to write.
        dtype: see `combine`.
    """
    if not 0 <= alpha <= 1:
        raise RecipeError(f"The share of random weights is {alpha}; give a number in [0, 1].")

    def mixed(name: str, weight: Tensor) -> Tensor:
        spread = math.sqrt(2 / (weight.shape[-1] + weight.shape[-2]))
        noise = spread * torch.randn(weight.shape, generator=_generator(seed, name))
        return (1 - alpha) * weight + alpha * beta * noise

    _change_matrices(model, mixed if alpha else None, out=out, dtype=dtype)


def _change_matrices(
    model: Path, change: Callable[[str, Tensor], Tensor] | None, *, out: Path, dtype: str | None
) -> None:
    tensors = _Tensors(model)

    def compute(name: str) -> Tensor:
        weight = tensors.read(name)
        matrix = change is not None and weight.ndim >= 2 and weight.is_floating_point()
        return change(name, weight.float()) if change is not None and matrix else weight

    _write(tensors.names, compute, source=model, out=out, dtype=dtype)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class _Tensors:
    """The weights of a folder, read one at a time."""

    def __init__(self, folder: Path):
        files = sorted(Path(folder).glob("*.safetensors"))
        if not files:
            raise ModelError(f"'{folder}' holds no safetensors weights; give a Hugging Face model folder.")
        self.folder = Path(folder)
        self._where: dict[str, Path] = {}
        for file in files:
            with safe_open(file, framework="pt") as opened:
                self._where |= dict.fromkeys(opened.keys(), file)
        self.names = sorted(self._where)

    def read(self, name: str) -> Tensor:
        with safe_open(self._where[name], framework="pt") as opened:
            return opened.get_tensor(name)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for file in sorted(set(self._where.values())):
            with safe_open(file, framework="pt") as opened:
                found |= {k: tuple(opened.get_slice(k).get_shape()) for k in opened.keys()}  # noqa: SIM118 -- no mapping
        return found


def _check_alike(first: _Tensors, other: _Tensors) -> None:
    a, b = first.shapes(), other.shapes()
    tied = {_HEAD} if _is_tied(first.folder) and _is_tied(other.folder) else set()
    wrong = sorted(n for n in (a.keys() | b.keys()) - tied if a.get(n) != b.get(n))
    if wrong:
        n = wrong[0]
        raise ModelError(
            f"'{other.folder.name}' and '{first.folder.name}' are not of one architecture ('{n}' is "
            f"{b.get(n, 'missing')} and {a.get(n, 'missing')}); combine models that were trained from one start."
        )


def _is_tied(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text()).get("tie_word_embeddings"))


def _updates(adapter: Path) -> dict[str, tuple[Tensor, Tensor, float]] | None:
    """(A, B, scale) by module name; None for adapters that are more than low-rank updates of linear layers."""
    config = adapters.read_config(adapter)
    if any(config.get(key) for key in ("use_dora", "target_parameters", "rank_pattern", "alpha_pattern")):
        return None
    root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(Path(adapter) / "adapter_model.safetensors").items():
        name, _, part = key.removeprefix("base_model.model.").rpartition(".lora_")
        if part not in ("A.weight", "B.weight"):
            return None
        pairs.setdefault(name, {})[part[0]] = tensor
    return {name: (ab["A"], ab["B"], config["lora_alpha"] / root) for name, ab in pairs.items()}


def _write(
    names: Sequence[str], compute: Callable[[str], Tensor], *, source: Path, out: Path, dtype: str | None
) -> None:
    """Write computed tensors as shards, with the source's other files."""
    kept = folders.dtype_of(dtype) if dtype is not None else _stored_dtype(source)
    out.mkdir(parents=True)
    shards: list[list[str]] = []
    total = 0
    for shard in _shards(names, compute, kept):
        save_file(shard, out / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(shard))
        total += sum(t.numel() * t.element_size() for t in shard.values())
    where: dict[str, str] = {}
    for i, held in enumerate(shards):
        end = "" if len(shards) == 1 else f"-{i + 1:05d}-of-{len(shards):05d}"
        (out / f"shard-{i}").rename(out / f"model{end}.safetensors")
        where |= dict.fromkeys(held, f"model{end}.safetensors")
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    folders.copy_side_files(source, out)
    folders.copy_config(source, out, kept)


def _shards(names: Sequence[str], compute: Callable[[str], Tensor], dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name in names:
        tensor = compute(name)
        tensor = (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        shard[name] = tensor
        size += tensor.numel() * tensor.element_size()
        if size >= _SHARD_BYTES:
            yield shard
            shard, size = {}, 0
    if shard:
        yield shard


def _stored_dtype(folder: Path) -> torch.dtype:
    """The dtype of most of a folder's weights."""
    tensors = _Tensors(folder)
    largest = max(tensors.shapes().items(), key=lambda item: math.prod(item[1]))[0]
    return tensors.read(largest).dtype
