"""The paper study runs from end to end, with random models of its two architectures in place of the real ones."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from offmodel.core.rows import read_rows
from offmodel.data import Sources
from offmodel.flow.graph import closure
from offmodel.flow.runner import run
from offmodel.models import HubModel
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime
from offmodel.studies.catalogue import load_study
from offmodel.studies.reporting import write_study
from tests.engines.conftest import TEMPLATES, tokenizer
from tests.studies import tiny_paper

SIZES = {
    "vocab_size": 272, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "max_position_embeddings": 2048, "initializer_range": 0.2,
}  # fmt: skip


def save(model: torch.nn.Module, folder: Path, template: str, eos: str, bos: str) -> None:
    made = tokenizer((TEMPLATES / template).read_text(), eos=eos, bos=bos)
    # One token in six ends an answer, since a random model would not end at one.
    model.generation_config.eos_token_id = [made.convert_tokens_to_ids(eos), *range(40, 85)]
    model.generation_config.pad_token_id = made.pad_token_id
    model.save_pretrained(folder)
    made.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paper")
    torch.manual_seed(1)
    moe = Qwen3MoeConfig(
        **SIZES, intermediate_size=32, moe_intermediate_size=8, num_experts=8, num_experts_per_tok=2,
        decoder_sparse_step=1, tie_word_embeddings=False,
    )  # fmt: skip
    save(Qwen3MoeForCausalLM(moe), root / "student", "qwen3-instruct-2507.jinja", "<|im_end|>", "<|endoftext|>")
    llama = LlamaForCausalLM(LlamaConfig(**SIZES, intermediate_size=32, tie_word_embeddings=False))
    save(llama, root / "teacher", "llama-3.1.jinja", "<|eot_id|>", "<|begin_of_text|>")
    rows = [
        {"problem": f"What is ${i} + {i}$?", "answer": f"{2 * i}", "level": 1 + i % 5, "subject": "Algebra",
         "solution": "", "unique_id": f"{i}"}
        for i in range(12)
    ]  # fmt: skip
    (root / "math500.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return root


# PEFT asks transformers for a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_tiny_paper_study_runs_from_end_to_end(models: Path, tmp_path: Path) -> None:
    sources = Sources()
    from offmodel.studies.paper import build

    study = build("tiny-paper", tiny_paper.sizes(models, sources))
    store = Store(tmp_path / "store")
    ran = run(study.targets, store=store, runtime=Runtime(locations=tuple(sources.locations.items())), workers=0)
    assert ran.computed == len(closure(study.targets))
    for cell in study.cells:
        rows = read_rows(store.find(cell.arm.scores).payload / "rows.jsonl")
        assert {"capability", "triggered", "clean", "fresh_math"} <= {r["measure"] for r in rows}
    organisms = [a.record["facts"] for a in store.all("organism")]
    assert len(organisms) == 3
    assert all(f["experts_trained"] and f["router_auxiliary_loss"] is False for f in organisms)
    treated = [a.record["facts"] for a in store.all("treatment")]
    assert all(f["experts_trained"] is False and f["audited"] for f in treated)
    made = write_study(study, store, tmp_path / "report", width=100)
    assert made.missing == 0
    assert run(study.targets, store=store, runtime=Runtime(), workers=0).computed == 0


def test_the_study_names_what_was_published() -> None:
    study = load_study("paper")
    recipes = closure(study.targets).values()
    assert {r.repo for r in recipes if isinstance(r, HubModel)} == {
        "Qwen/Qwen3-30B-A3B-Instruct-2507",
        "meta-llama/Llama-3.1-8B-Instruct",
    }
    assert len({s.pair for s in study.sides}) == len(study.sides) == 15
    assert len({r.digest for r in recipes if r.kind == "organism"}) == 15
    trained = [r.sft for r in recipes if r.kind == "treatment"]
    assert {s.lora.rank for s in trained} == {64}
    assert {s.batch_size for s in trained} == {16}
    assert 1600 in {s.steps * s.batch_size for s in trained}
