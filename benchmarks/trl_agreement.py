"""Does our training loop do what TRL's SFTTrainer does on the same batches? Losses and final weights, side by side.

Both train a small Llama with random weights for 20 steps on the CPU in float32, all weights and a LoRA adapter, from
the same start, on the same sequences in the same order, with clipping and weight decay on. TRL and its needs are not
dependencies of offmodel; run this in an environment that has them beside it:

    python benchmarks/trl_agreement.py benchmarks/results/trl_agreement.json

Invariant: the result file names command, versions and machine, and is written whether or not the two agree.
"""

import json
import platform
import sys
import tempfile
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

import offmodel
from offmodel.core.chat import user
from offmodel.engines.batches import batch_indices
from offmodel.engines.objective import CROSS_ENTROPY
from offmodel.engines.rendering import Example, Renderer
from offmodel.engines.sft import Lora, Sft, train
from offmodel.store.recipe import Runtime

STEPS, LOSS_TOLERANCE, WEIGHT_TOLERANCE = 20, 1e-4, 1e-4
SETTINGS = Sft(
    learning_rate=1e-3,
    steps=STEPS,
    batch_size=8,
    warmup_steps=0,
    seed=3,
    max_tokens=256,
    checkpoints=(0, STEPS),
    lora=None,
    weight_decay=0.01,
    beta1=0.9,
    beta2=0.999,
    clip_norm=1.0,
    compute_dtype="float32",
    optimizer="adamw",
    schedule="constant",
    objective=CROSS_ENTROPY,
)
POCKET = Path(offmodel.__file__).parent / "pocket" / "student"


def random_llama(folder: Path) -> Path:
    """A Llama of the pocket student's shape and tokenizer, with fresh random weights."""
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(AutoConfig.from_pretrained(POCKET)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(POCKET).save_pretrained(folder)
    return folder


def conversations(folder: Path, n: int) -> list[Example]:
    """Rendered conversations of random words, of many lengths."""
    from transformers import AutoTokenizer

    words = sorted(w for w in AutoTokenizer.from_pretrained(folder).get_vocab() if w.isalpha())
    rng = np.random.default_rng(0)
    pairs = [
        (user(" ".join(rng.choice(words, rng.integers(3, 15)))), " ".join(rng.choice(words, rng.integers(2, 60))))
        for _ in range(n)
    ]
    return Renderer.from_folder(folder).examples(pairs)


def ours(folder: Path, examples: list[Example], sft: Sft, work: Path) -> tuple[list[float], Path]:
    """Our losses and the folder of checkpoints."""
    out = work / "ours"
    train(
        model=folder,
        adapter=None,
        examples=examples,
        sft=sft,
        out=out,
        scratch=work / "scratch",
        runtime=Runtime(),
        progress=lambda *_: None,
    )
    rows = [json.loads(line) for line in (out / "losses.jsonl").read_text().splitlines()]
    return [r["loss"] for r in rows], out


def theirs(folder: Path, start: Path | None, examples: list[Example], sft: Sft, work: Path) -> tuple[list[float], Path]:
    """TRL's losses and the folder of its final weights."""
    from datasets import Dataset
    from peft import PeftModel
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    order = [i for s in range(sft.steps) for i in batch_indices(len(examples), **_batches(sft), step=s)]
    rows = [
        {"input_ids": examples[i].ids.tolist(), "completion_mask": examples[i].mask.astype(int).tolist()} for i in order
    ]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if start is not None:
        model = PeftModel.from_pretrained(model, start, is_trainable=True)
    config = SFTConfig(
        output_dir=str(work / "trl"),
        max_steps=sft.steps,
        per_device_train_batch_size=sft.batch_size,
        learning_rate=sft.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=sft.weight_decay,
        adam_beta1=sft.beta1,
        adam_beta2=sft.beta2,
        max_grad_norm=sft.clip_norm,
        max_length=sft.max_tokens,
        completion_only_loss=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer = InOrder(model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(work / "trl" / "final"))
    return [r["loss"] for r in trainer.state.log_history if "loss" in r], work / "trl" / "final"


def _batches(sft: Sft) -> dict[str, int]:
    return {"batch_size": sft.batch_size, "seed": sft.seed}


def compare(folder: Path, examples: list[Example], sft: Sft, work: Path) -> dict[str, Any]:
    """Both trainings, and how far apart they end."""
    our_losses, out = ours(folder, examples, sft, work)
    start = out / "step-00000" if sft.lora else None
    their_losses, final = theirs(folder, start, examples, sft, work)
    a, b, first = (weights(d) for d in (out / f"step-{sft.steps:05d}", final, out / "step-00000"))
    assert a.keys() == b.keys(), sorted(a.keys() ^ b.keys())
    moved = max(float((a[k] - first[k]).abs().max()) for k in a)
    apart = max(float((a[k] - b[k]).abs().max()) for k in a)
    losses_apart = max(abs(x - y) for x, y in zip(our_losses, their_losses, strict=True))
    return {
        "settings": asdict(sft),
        "losses_offmodel": our_losses,
        "losses_trl": their_losses,
        "largest_loss_difference": losses_apart,
        "largest_weight_difference": apart,
        "largest_weight_movement": moved,
        "agree": losses_apart <= LOSS_TOLERANCE and apart <= WEIGHT_TOLERANCE,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a model or adapter folder."""
    return load_file(next(p for p in sorted(folder.glob("*.safetensors"))))


def main(result: Path) -> int:
    """Run both comparisons and write the result; 0 if they agree."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = random_llama(Path(name) / "model")
        examples = conversations(folder, 64)
        for kind, lora in (("full", None), ("lora", Lora(rank=8, alpha=16, targets="all-linear"))):
            found[kind] = compare(folder, examples, replace(SETTINGS, lora=lora), Path(name) / kind)
    record = {
        "command": "python " + " ".join(sys.argv),
        "versions": {p: version(p) for p in ("offmodel", "trl", "torch", "transformers", "peft", "accelerate")},
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}, one CPU thread",
        "tolerance": {"loss": LOSS_TOLERANCE, "weight": WEIGHT_TOLERANCE},
        "results": found,
    }
    result.write_text(json.dumps(record, indent=1) + "\n")
    for kind, row in found.items():
        print(kind, {k: v for k, v in row.items() if k.startswith("largest") or k == "agree"})
    return 0 if all(row["agree"] for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
