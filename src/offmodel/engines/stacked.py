"""Several adapters of one base as one: trained one on top of the other, or the way from one to another.

An adapter is a sum of low-rank updates, so B2 A2 trained on a base with B1 A1 merged is, on the base itself, the update
[B1 B2][A1; A2]: no merged copy of the base has to be kept. With factors, [x B1, y B2][A1; A2] is any sum of the two.
This module refuses to know what either was trained for. Invariant: a stacked adapter computes what its parts' updates,
merged one after the other, compute, up to floating point.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from offmodel.core.errors import RecipeError
from offmodel.engines.adapters import read_config, scale_of, special_settings


def can_stack(adapter: Path) -> bool:
    """Whether an adapter is a plain LoRA on linear layers, which `stack` can put below another."""
    config = read_config(adapter)
    return config.get("peft_type") == "LORA" and not special_settings(config, "target_parameters")


def stack(*, lower: Path, upper: Path, out: Path) -> None:
    """Write the sum of two adapters.

    Args:
        lower: the adapter that was merged into the base.
        upper: the adapter that was trained on the merged model.
        out: folder of the result; its rank is the sum of both ranks, its scale 1.

    Raises:
        RecipeError: one of them is no plain LoRA.
    """
    _add([(lower, 1.0), (upper, 1.0)], out)


def blend(*, start: Path, end: Path, alpha: float, out: Path) -> None:
    """Write (1 - alpha) x start's update + alpha x end's; alpha 0 and 1 give the ends bit for bit.

    Args:
        start: an adapter.
        end: an adapter of the same base.
        alpha: any finite number; beyond [0, 1] extrapolates.
        out: folder of the result; between the ends its rank is the sum of both ranks, its scale 1.

    Raises:
        RecipeError: one of them is no plain LoRA, and the result is neither of them.
    """
    if alpha in (0, 1):
        shutil.copytree(end if alpha else start, out)
    else:
        _add([(start, 1 - alpha), (end, alpha)], out)


def _add(parts: Sequence[tuple[Path, float]], out: Path) -> None:
    """Write the sum of factor x update of some adapters; the config is the last one's."""
    from safetensors.torch import load_file, save_file

    if not all(can_stack(folder) for folder, _ in parts):
        raise RecipeError("Only plain LoRA adapters on linear layers can be stacked; merge the lower one instead.")
    configs = [read_config(folder) for folder, _ in parts]
    states = [load_file(folder / "adapter_model.safetensors") for folder, _ in parts]
    ranks = [c["r"] for c in configs]
    scales = [factor * scale_of(c) for c, (_, factor) in zip(configs, parts, strict=True)]
    joined: dict[str, torch.Tensor] = {}
    for name in sorted({n for s in states for n in s}):
        found = [s.get(name) for s in states]
        down = ".lora_A." in name
        whole = [
            _blank(found, rank, down) if part is None else part.float() if down else part.float() * scale
            for part, rank, scale in zip(found, ranks, scales, strict=True)
        ]
        joined[name] = torch.cat(whole, dim=0 if down else 1).contiguous()
    out.mkdir(parents=True)
    save_file(joined, out / "adapter_model.safetensors")
    targets = sorted({t for c in configs for t in c["target_modules"]})
    config = {**configs[-1], "r": sum(ranks), "lora_alpha": sum(ranks), "use_rslora": False, "target_modules": targets}
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _blank(parts: list[torch.Tensor | None], rank: int, down: bool) -> torch.Tensor:
    """Zeros for a layer that one of the adapters leaves alone."""
    other = next(p for p in parts if p is not None)
    return torch.zeros((rank, other.shape[1]) if down else (other.shape[0], rank))
