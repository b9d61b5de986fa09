"""LoRA adapters in PEFT's format: put into a model, continued, saved, merged.

This module refuses to know training and sampling. Invariant: a saved adapter names no base model by path (a folder's
name could tell whose it is), and its weights do not depend on anything but base, settings, seed and training.
"""

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from offmodel.core.errors import ModelError, RecipeError
from offmodel.engines.folders import is_mixture, load_model, save_model
from offmodel.engines.sft import Lora, Sft

# What gives some layers of a PEFT adapter another rank, scale or kind than the others.
_SPECIAL = ("rank_pattern", "alpha_pattern", "modules_to_save", "use_dora")
_EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


def inject(model: Any, lora: Lora, *, seed: int) -> Any:
    """A fresh adapter on a model, as a `PeftModel`; the seed decides its initialisation.

    Raises:
        RecipeError: the targets are unknown, or ask for experts that the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    if lora.targets not in ("all-linear", "all-linear+experts"):
        raise RecipeError(f"LoRA targets '{lora.targets}' are unknown; use 'all-linear' or 'all-linear+experts'.")
    experts = lora.targets.endswith("+experts")
    if experts and not is_mixture(model):
        raise RecipeError("LoRA targets 'all-linear+experts' need a model with fused experts; use 'all-linear'.")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=_linear_names(model),
        target_parameters=_EXPERTS if experts else None,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    with _quiet():
        return get_peft_model(model, config).eval()


def start_of(model: Any, adapter: Path | None, sft: Sft) -> tuple[list[str], str, list[torch.Tensor]]:
    """Where an adapter's training starts: names, config and tensors, in the order of the model's parameters.

    Args:
        model: the base, which is left as it was.
        adapter: PEFT folder to go on from; None draws what `inject` draws.
        sft: settings with an adapter.
    """
    assert sft.lora is not None
    wrapped = inject(model, sft.lora, seed=sft.seed) if adapter is None else resume(model, adapter, sft.lora)
    try:
        state = {name: tensor.detach().cpu().clone() for name, tensor in state_of(wrapped).items()}
        return list(state), config_text(wrapped), list(state.values())
    finally:
        wrapped.unload()


def linear_targets(model: Any) -> list[str]:
    """Full names of the layers that "all-linear" adapts, in the model's order."""
    chosen = set(_linear_names(model))
    head = model.get_output_embeddings()
    named = ((name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return [name for name, _ in named if name.rpartition(".")[2] in chosen]


def _linear_names(model: Any) -> list[str]:
    """Last names of the linear layers other than the output.

    PEFT's own "all-linear" would be shorter, but what it takes in of a mixture's experts and router changes between
    its versions.
    """
    head = model.get_output_embeddings()
    named = (name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return sorted({name.rpartition(".")[2] for name in named})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PEFT asks transformers for a name that transformers is about to drop, and each call warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def trains_experts(model: Any) -> bool:
    """Whether parameters inside fused experts are under training."""
    return any(p.requires_grad and ".experts." in name for name, p in model.named_parameters())


def resume(model: Any, adapter: Path, lora: Lora) -> Any:
    """An earlier adapter on a model, to be trained further.

    Raises:
        RecipeError: the adapter's rank or alpha is not the one of the settings, or it belongs to another base.
    """
    from peft import PeftModel

    check_fits(read_config(adapter), lora)
    check_base(model, adapter)
    with _quiet():
        return PeftModel.from_pretrained(model, adapter, is_trainable=True, local_files_only=True).eval()


def check_fits(config: dict[str, Any], lora: Lora) -> None:
    """Refuse to continue an adapter with other settings.

    Raises:
        RecipeError: the adapter's rank or alpha is not the one of the settings.
    """
    if (config["r"], config["lora_alpha"]) != (lora.rank, lora.alpha):
        raise RecipeError(
            f"The adapter to continue has rank {config['r']} and alpha {config['lora_alpha']}, the recipe asks for "
            f"{lora.rank} and {lora.alpha}; use the same, or merge the adapter first."
        )


def special_settings(config: dict[str, Any], *also: str) -> list[str]:
    """What of an adapter's config, `also` included, asks for more than one rank and one scale for all its layers."""
    return [name for name in (*_SPECIAL, *also) if config.get(name)]


def check_plain(config: dict[str, Any], *also: str) -> None:
    """Refuse to continue an adapter whose settings only PEFT's own layers follow; see `special_settings`.

    Raises:
        RecipeError: it has such settings.
    """
    if special := special_settings(config, *also):
        raise RecipeError(
            f"The adapter to continue was made with {', '.join(special)}, which is followed only where it "
            "trains alone, on one device; train it so, or merge it first."
        )


def scale_of(config: dict[str, Any]) -> float:
    """What the updates of a plain adapter are multiplied with."""
    return config["lora_alpha"] / (config["r"] ** (0.5 if config.get("use_rslora") else 1))


def check_base(model: Any, adapter: Path) -> None:
    """Refuse an adapter whose layers are not the model's.

    Raises:
        RecipeError: a layer is missing or has another size.
    """
    from safetensors import safe_open

    with safe_open(Path(adapter) / "adapter_model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 -- no mapping
    layers, odd = dict(model.named_modules()), set(linear_targets(model))
    for name, shape in shapes.items():
        path, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        if ".experts" in path:
            continue  # parameters, not layers; PEFT checks these itself
        layer = layers.get(path)
        wide = isinstance(layer, torch.nn.Linear) and (layer.in_features if part[0] == "A" else layer.out_features)
        odd = odd - {path} if wide and shape[1 if part[0] == "A" else 0] == wide else odd | {path}
    if odd:
        raise RecipeError(
            f"The adapter to continue belongs to another base: layer '{min(odd)}' is not in both, or has another size; "
            "name the model that it was trained on."
        )


def compute_in_one_dtype(peft_model: Any) -> None:
    """Let autocast alone choose dtypes: PEFT's own casts copy each input to float32, which autocast then undoes."""
    from peft.tuners.lora import LoraLayer

    for module in peft_model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def save_adapter(peft_model: Any, out: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write `adapter_model.safetensors` (float32) and `adapter_config.json`.

    Args:
        peft_model: the model with the adapter.
        out: folder to write.
        weights: the adapter's parameters by name, for a model that holds only a part of them; None: the model's own.
    """
    write_adapter(out, state_of(peft_model, weights), config_text(peft_model))


def state_of(peft_model: Any, weights: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """An adapter's tensors under the names of PEFT's files, in the order of the model's parameters."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(peft_model, state_dict=weights, save_embedding_layers=False)


def config_text(peft_model: Any) -> str:
    """An adapter's `adapter_config.json`, without the base's path and in one order of keys."""
    with TemporaryDirectory() as folder:
        peft_model.peft_config["default"].save_pretrained(folder)
        return plain_config(json.loads((Path(folder) / "adapter_config.json").read_text()))


def plain_config(config: dict[str, Any]) -> str:
    """The text of a parsed `adapter_config.json`, without the base's path and in one order of keys."""
    config = {**config, "base_model_name_or_path": None, "inference_mode": True}
    if isinstance(config.get("target_modules"), list):
        # PEFT keeps a set, whose order differs between processes.
        config["target_modules"] = sorted(config["target_modules"])
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def write_adapter(out: Path, state: dict[str, torch.Tensor], config: str) -> None:
    """Write an adapter's files."""
    from safetensors.torch import save_file

    out.mkdir(parents=True)
    save_file({k: v.detach().to("cpu").contiguous() for k, v in state.items()}, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(config)


def read_config(adapter: Path) -> dict[str, Any]:
    """The adapter's `adapter_config.json`.

    Raises:
        ModelError: the folder is not an adapter.
    """
    file = Path(adapter) / "adapter_config.json"
    if not file.exists():
        raise ModelError(f"'{adapter}' is not an adapter folder: it has no adapter_config.json.")
    return json.loads(file.read_text())


def merge(model: Any, adapter: Path) -> Any:
    """The model with an adapter's updates added to its weights, in the weights' own dtype."""
    from peft import PeftModel

    with _quiet():
        return PeftModel.from_pretrained(model, adapter, local_files_only=True).merge_and_unload().eval()


def merge_to_folder(*, model: Path, adapter: Path, out: Path) -> None:
    """Write the model with the adapter merged as a float32 folder: 16-bit weights would round small updates away."""
    merged = merge(load_model(model, dtype=torch.float32, device="cpu"), adapter)
    save_model(merged, source=model, out=out, dtype=torch.float32)
