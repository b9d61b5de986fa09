"""A stacked adapter computes what the upper one computes on the model that the lower one was merged into."""

import json
from pathlib import Path

import pytest
import torch

from offmodel.core.errors import RecipeError
from offmodel.engines.adapters import inject, merge_to_folder, save_adapter
from offmodel.engines.folders import load_model
from offmodel.engines.sft import Lora
from offmodel.engines.stacked import blend, can_stack, stack
from offmodel.engines.weights import interpolate
from offmodel.pocket.world import model_folder


def adapter(base: Path, out: Path, lora: Lora, seed: int) -> Path:
    model = inject(load_model(base, dtype=torch.float32, device="cpu"), lora, seed=seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.05)
    save_adapter(model, out)
    return out


def logits(base: Path, adapter: Path | None) -> torch.Tensor:
    from peft import PeftModel

    model = load_model(base, dtype=torch.float32, device="cpu")
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter, local_files_only=True).eval()
    with torch.no_grad():
        return model(torch.arange(5, 25)[None, :]).logits


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_stacked_equals_merged_then_adapted(tmp_path: Path) -> None:
    base = model_folder("student")
    lower = adapter(base, tmp_path / "lower", Lora(rank=3, alpha=6, targets="all-linear"), 1)
    merge_to_folder(model=base, adapter=lower, out=tmp_path / "merged")
    upper = adapter(tmp_path / "merged", tmp_path / "upper", Lora(rank=5, alpha=2, targets="all-linear"), 2)
    stack(lower=lower, upper=upper, out=tmp_path / "both")
    wanted, found = logits(tmp_path / "merged", upper), logits(base, tmp_path / "both")
    assert (wanted - found).abs().max() < 1e-4
    assert (logits(base, None) - wanted).abs().max() > 0.1
    config = json.loads((tmp_path / "both" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 8)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_blend_is_the_mixture_of_both_models_whatever_their_ranks_and_scales(tmp_path: Path) -> None:
    base = model_folder("student")
    start = adapter(base, tmp_path / "start", Lora(rank=3, alpha=6, targets="all-linear"), 1)
    end = adapter(base, tmp_path / "end", Lora(rank=5, alpha=2, targets="all-linear"), 2)
    for name, folder in (("s", start), ("e", end)):
        merge_to_folder(model=base, adapter=folder, out=tmp_path / name)
    for alpha in (0.0, 0.25, 1.0, 1.5):
        blend(start=start, end=end, alpha=alpha, out=tmp_path / f"b{alpha}")
        interpolate(start=tmp_path / "s", end=tmp_path / "e", alpha=alpha, out=tmp_path / f"m{alpha}", dtype=None)
        found, wanted = logits(base, tmp_path / f"b{alpha}"), logits(tmp_path / f"m{alpha}", None)
        assert (found - wanted).abs().max() < 1e-4
    for alpha, folder in ((0.0, start), (1.0, end)):
        for file in folder.iterdir():
            assert file.read_bytes() == (tmp_path / f"b{alpha}" / file.name).read_bytes()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_layer_that_one_of_them_leaves_alone_counts_as_zero(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = model_folder("student")
    lower = adapter(base, tmp_path / "lower", Lora(rank=3, alpha=3, targets="all-linear"), 1)
    upper = adapter(base, tmp_path / "upper", Lora(rank=2, alpha=2, targets="all-linear"), 2)
    state = load_file(lower / "adapter_model.safetensors")
    save_file({k: v for k, v in state.items() if ".q_proj." in k}, lower / "adapter_model.safetensors")
    config = json.loads((lower / "adapter_config.json").read_text())
    (lower / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj"]}))
    stack(lower=lower, upper=upper, out=tmp_path / "both")
    merge_to_folder(model=base, adapter=lower, out=tmp_path / "merged")
    assert (logits(tmp_path / "merged", upper) - logits(base, tmp_path / "both")).abs().max() < 1e-4


def test_an_adapter_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name, extra in (("experts", {"target_parameters": ["experts.down_proj"]}), ("other", {"peft_type": "IA3"})):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2} | extra))
        assert not can_stack(folder)
        with pytest.raises(RecipeError, match="merge the lower one"):
            stack(lower=folder, upper=folder, out=tmp_path / "out")
