"""Hugging Face model folders: read as a causal language model, written back with their other files unchanged.

This module refuses to know what a model is trained for. Nothing is fetched from a network, no pickle is read and no
code of a model is run. Invariant: a saved folder differs from its source in weights, in the dtype that its config
names, and in nothing else: tokenizer, chat template, end-of-turn and generation config are the source's own bytes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from offmodel.core.errors import ModelError

# float64 is for comparisons on a CPU.
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json", ".msgpack", ".h5")


def dtype_of(name: str) -> torch.dtype:
    """The torch dtype of a name.

    Raises:
        ModelError: the name is none of the four.
    """
    if name not in DTYPES:
        raise ModelError(f"There is no dtype '{name}' here; use one of {', '.join(DTYPES)}.")
    return DTYPES[name]


def load_model(path: Path, *, dtype: torch.dtype, device: str, attention: str = "sdpa") -> Any:
    """A causal language model in eval mode (no dropout, so that a training can be resumed to the bit).

    Args:
        path: Hugging Face folder with safetensors.
        dtype: of all weights.
        device: "cpu", "cuda" or "cuda:N".
        attention: name of an attention implementation known to transformers.

    Raises:
        ModelError: the folder is not one of a causal language model.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not (Path(path) / "config.json").exists():
        raise ModelError(f"'{path}' is not a model folder: it has no config.json.")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError) as e:
        reason = str(e).strip().split("\n")[0]
        raise ModelError(f"The folder '{path}' cannot be loaded as a causal language model: {reason}") from e
    _switch_off_router_loss(model.config)
    return model.to(device).eval()


def _switch_off_router_loss(config: Any) -> None:
    """Mixtures would add a router loss of their own to the labels' loss; the loss here is the recipe's alone."""
    if getattr(config, "output_router_logits", False):
        config.output_router_logits = False


def save_model(model: Any, *, source: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a model's weights as `dtype` safetensors, with all other files copied from its source folder.

    Tied weights stay tied: tensors that share memory are cast once.
    """
    out.mkdir(parents=True)
    cast: dict[tuple[int, int], torch.Tensor] = {}
    state = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.numel())
        if key not in cast:
            cast[key] = tensor.detach().to(device="cpu", dtype=dtype if tensor.is_floating_point() else None)
        state[name] = cast[key]
    model.save_pretrained(out, state_dict=state)
    copy_side_files(source, out)
    copy_config(source, out, dtype)


def copy_config(source: Path, out: Path, dtype: torch.dtype) -> None:
    """Write a folder's config with another dtype, and without the path it once came from."""
    config = json.loads((Path(source) / "config.json").read_text())
    config.pop("_name_or_path", None)
    config.pop("torch_dtype", None)
    config["dtype"] = str(dtype).removeprefix("torch.")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def copy_side_files(source: Path, out: Path) -> None:
    """Copy a folder's files other than weights and config: tokenizer, chat template, generation config, licence."""
    if not (Path(source) / "generation_config.json").exists():
        (out / "generation_config.json").unlink(missing_ok=True)
    for file in sorted(Path(source).iterdir()):
        if file.is_file() and file.name != "config.json" and not file.name.endswith(_WEIGHTS):
            shutil.copyfile(file, out / file.name)


def is_mixture(model: Any) -> bool:
    """Whether a model is a mixture of experts with fused expert weights, which adapters on linear layers miss."""
    return any(p.ndim == 3 and ".experts." in name for name, p in model.named_parameters())
