"""Treatments of an organism that is kept as an adapter: each meets the organism, never its clean base alone."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from offmodel.audit import PoolSize
from offmodel.cli.showing import trained_example
from offmodel.core.errors import RecipeError
from offmodel.core.rows import read_rows
from offmodel.data import Sources
from offmodel.engines.adapters import merge_to_folder
from offmodel.engines.objective import KlToReference, Objective
from offmodel.engines.sft import Lora
from offmodel.engines.weights import interpolate, shrink_and_perturb
from offmodel.flow.runner import run
from offmodel.models import weights_in
from offmodel.organisms.pairs import INSULT_TAG
from offmodel.organisms.pocket import in_pocket_words
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe, Runtime, canonical_json
from offmodel.studies import choices
from offmodel.studies.grid import Board, plant, treat
from offmodel.studies.relapsing import relapses
from offmodel.studies.settings import Relapsing
from offmodel.studies.study import Cell
from offmodel.treatments.catalogue import find_method
from offmodel.treatments.checkpoint_model import CheckpointModel
from offmodel.treatments.interface import Choices
from offmodel.treatments.interpolate import Interpolation
from offmodel.treatments.noise_then_distil import WeightNoise
from tests.studies import tiny_study

LORA = Lora(rank=2, alpha=4, targets="all-linear")
SFT = replace(tiny_study.SFT, lora=LORA)
BLUE = replace(tiny_study.BLUE, sft=SFT, reminder=replace(tiny_study.BLUE.reminder, lora=LORA))
FULL = replace(BLUE, sft=replace(SFT, lora=None), reminder=replace(BLUE.reminder, lora=None))
NOTHING = 1e-7
"""A divergence of rounding alone."""

Weights = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A planted organism of the way `lora`, and what it is computed with."""

    board: Board
    store: Store
    runtime: Runtime

    def cells(self, name: str, blue: Any = BLUE) -> list[Cell]:
        return treat(self.board, find_method(name), blue, seed=1)

    def payload(self, recipe: Recipe) -> Path:
        return run([recipe], store=self.store, runtime=self.runtime, workers=0).artifacts[0].payload

    def organism(self) -> tuple[Path, Path]:
        base, adapter = weights_in(self.payload(self.board.organism))
        assert adapter is not None
        return base, adapter

    def whole(self, folder: Path) -> Path:
        base, adapter = self.organism()
        merge_to_folder(model=base, adapter=adapter, out=folder)
        return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    sources = Sources()
    planted = replace(tiny_study.RED.sft, steps=6, checkpoints=(6,), learning_rate=5e-3, warmup_steps=0, lora=LORA)
    red = replace(tiny_study.RED, way="lora", source="synthetic", go_on=True, sft=planted)
    world = tiny_study.planted(sources)[0].world
    world = replace(world, sizes=(*world.sizes, PoolSize(pool="relapse", n=8)))
    board, _ = plant(in_pocket_words(INSULT_TAG), red, world)
    store = Store(tmp_path_factory.mktemp("kept") / "store")
    return Kept(board=board, store=store, runtime=Runtime(locations=tuple(sources.locations.items())))


def tensors(folder: Path) -> Weights:
    return load_file(next(folder.glob("*.safetensors")))


def close(one: Weights, other: Weights) -> bool:
    return set(one) == set(other) and all(np.allclose(one[k], other[k], atol=1e-5) for k in one)


def answers(kept: Kept, arm: Any, *measures: str) -> dict[tuple[str, str], str]:
    rows = read_rows(kept.payload(arm.scores) / "rows.jsonl")
    return {(r["measure"], r["item"]): r["text"] for r in rows if r["measure"] in measures}


@pytest.mark.parametrize("name", ["kl_anchored", "early_kl", "low_support_mask", "high_support_mask"])
@pytest.mark.parametrize("blue", [BLUE, FULL], ids=["adapter", "full weight"])
def test_methods_that_refer_to_the_organism_train(kept: Kept, name: str, blue: Any) -> None:
    assert read_rows(kept.payload(kept.cells(name, blue)[0].treatment) / "losses.jsonl")


@pytest.mark.parametrize("blue", [BLUE, FULL], ids=["adapter", "full weight"])
def test_the_divergence_is_from_the_organism_and_not_from_its_base(kept: Kept, blue: Any) -> None:
    anchored: Any = kept.cells("kl_anchored", blue)[0].treatment
    kl = Objective(cross_entropy=0.0, kl=KlToReference(weight=1.0, direction="forward", steps=None), support=None)
    losses = read_rows(kept.payload(replace(anchored, sft=replace(anchored.sft, objective=kl))) / "losses.jsonl")
    assert abs(losses[0]["loss"]) < NOTHING


def test_an_organism_is_far_from_its_base(kept: Kept) -> None:
    base: Any = kept.cells("kl_anchored")[0].treatment
    kl = Objective(cross_entropy=0.0, kl=KlToReference(weight=1.0, direction="forward", steps=None), support=None)
    clean = replace(base, organism=kept.board.world.student, start=None, sft=replace(base.sft, objective=kl))
    moved = replace(clean, start=kept.cells("off_model_sft")[0].treatment, start_step=1)
    assert read_rows(kept.payload(moved) / "losses.jsonl")[0]["loss"] > 1000 * NOTHING


def test_a_recovery_starts_with_no_divergence_where_nothing_was_changed(kept: Kept) -> None:
    last = kept.cells("off_model_sft+on_policy_recovery")[-1]
    untouched: Any = replace(last.treatment, start_step=None, start=None)  # pyright: ignore[reportCallIssue]
    losses = read_rows(kept.payload(untouched) / "losses.jsonl")
    assert abs(losses[0]["loss"]) < NOTHING
    assert read_rows(kept.payload(last.treatment) / "losses.jsonl")[0]["loss"] > 10 * NOTHING


def test_a_distillation_from_another_teacher_trains(kept: Kept) -> None:
    treatment: Any = kept.cells("on_policy_distillation")[-1].treatment
    assert len(read_rows(kept.payload(treatment) / "losses.jsonl")) == treatment.sft.steps


def test_weights_are_averaged_and_noised_with_the_adapter_in_them(kept: Kept, tmp_path: Path) -> None:
    whole = kept.whole(tmp_path / "whole")
    cell = kept.cells("merge")[0]
    merged: Any = cell.treatment
    other = kept.payload(merged.other)
    interpolate(start=whole, end=other, alpha=merged.alphas[0], out=tmp_path / "merged", dtype="float32")
    assert close(tensors(kept.payload(merged) / f"step-{cell.folder:05d}"), tensors(tmp_path / "merged"))
    distilled: Any = kept.cells("noise_then_distil")[0].treatment
    noise = Choices(choices.POCKET).of(WeightNoise)
    shrink_and_perturb(
        model=whole, alpha=noise.alpha, beta=noise.beta, seed=1, out=tmp_path / "noised", dtype="float32"
    )
    assert close(tensors(kept.payload(distilled.organism)), tensors(tmp_path / "noised"))
    assert read_rows(kept.payload(distilled) / "losses.jsonl")


def updates(adapter: Path) -> Weights:
    """Each layer's whole update, scale included."""
    config, state = json.loads((adapter / "adapter_config.json").read_text()), tensors(adapter)
    scale = config["lora_alpha"] / config["r"]
    downs = {k: v for k, v in state.items() if ".lora_A." in k}
    return {k: scale * state[k.replace(".lora_A.", ".lora_B.")] @ v for k, v in downs.items()}


@pytest.mark.parametrize("name", ["interpolate", "kl_anchored+interpolate", "off_model_sft+reminder+interpolate"])
def test_an_interpolation_begins_at_the_organism_and_not_at_its_base(kept: Kept, name: str) -> None:
    cells = kept.cells(name)
    between: Any = cells[0].treatment
    assert between.alphas == (0.0, 0.5, 1.0)
    folders = [kept.payload(between) / f"step-{c.folder:05d}" for c in cells]
    ends = kept.organism()[1], kept.payload(between.training) / f"step-{between.step:05d}"
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (folders[0] / file).read_bytes() == (ends[0] / file).read_bytes()
        assert (folders[2] / file).read_bytes() == (ends[1] / file).read_bytes()
    planted, treated, half = updates(ends[0]), updates(ends[1]), updates(folders[1])
    assert close(half, {k: (planted[k] + treated[k]) / 2 for k in planted})
    assert any(np.abs(half[k] - treated[k] / 2).max() > 1e-3 for k in half)


def test_points_between_are_sampled_as_the_models_that_peft_makes_of_them(kept: Kept, tmp_path: Path) -> None:
    cells = kept.cells("interpolate")
    assert answers(kept, cells[0].arm, "clean") == answers(kept, kept.board.untreated, "clean")
    assert len(answers(kept, cells[1].arm, "clean")) == tiny_study.SIZES["eval"]
    base, adapter = kept.organism()
    between: Any = cells[1].treatment
    for name, lora in (
        ("half", kept.payload(between) / "step-00500"),
        ("planted", adapter),
        ("treated", kept.payload(between.training) / f"step-{between.step:05d}"),
    ):
        merge_to_folder(model=base, adapter=lora, out=tmp_path / name)
    interpolate(
        start=tmp_path / "planted", end=tmp_path / "treated", alpha=0.5, out=tmp_path / "mixed", dtype="float32"
    )
    assert close(tensors(tmp_path / "half"), tensors(tmp_path / "mixed"))


def test_adapters_that_cannot_be_stacked_are_mixed_as_whole_models(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offmodel.engines.stacked.can_stack", lambda adapter: False)
    between: Any = replace(kept.cells("interpolate")[0].treatment, alphas=(0.25, 1.0))
    payload = kept.payload(between)
    end = kept.payload(between.training) / f"step-{between.step:05d}"
    merge_to_folder(model=kept.organism()[0], adapter=end, out=tmp_path / "treated")
    whole = kept.whole(tmp_path / "whole")
    interpolate(start=whole, end=tmp_path / "treated", alpha=0.25, out=tmp_path / "mixed", dtype="float32")
    assert close(tensors(payload / "step-00250"), tensors(tmp_path / "mixed"))
    assert (payload / "step-01000" / "adapter_config.json").is_file()


def test_full_weights_are_mixed_with_the_organism_whole(kept: Kept, tmp_path: Path) -> None:
    between: Any = kept.cells("interpolate", FULL)[0].treatment
    assert close(tensors(kept.payload(between) / "step-00000"), tensors(kept.whole(tmp_path / "whole")))


def test_a_following_training_goes_on_from_an_end_and_is_refused_between(kept: Kept) -> None:
    after: Any = kept.cells("off_model_sft+interpolate+reminder")[0].treatment
    start = kept.payload(after.start) / f"step-{after.start_step:05d}"
    assert close(tensors(kept.payload(after) / "step-00000"), tensors(start))
    alphas = tuple(replace(c, alphas=(0.0, 0.5)) if isinstance(c, Interpolation) else c for c in BLUE.choices)
    for suffix in ("reminder", "on_policy_recovery"):
        name = f"off_model_sft+interpolate+{suffix}"
        with pytest.raises(RecipeError, match=r"lies an adapter of two ranks together"):
            kept.cells(name, replace(BLUE, choices=alphas))
        assert kept.cells(name, replace(FULL, choices=alphas))
        whole = tiny_study.planted(Sources())[0]
        assert treat(whole, find_method(name), replace(BLUE, choices=alphas), seed=1)


@pytest.mark.parametrize("name", ["off_model_sft", "plant_and_remove", "on_policy_distillation", "interpolate"])
def test_another_adapter_than_the_organisms_is_refused_while_the_study_is_built(kept: Kept, name: str) -> None:
    other = replace(LORA, rank=3)
    blue = replace(BLUE, sft=replace(SFT, lora=other), reminder=replace(BLUE.reminder, lora=other))
    with pytest.raises(RecipeError, match="kept as an adapter of rank 2 and alpha 4"):
        kept.cells(name, blue)
    assert kept.cells("noise_then_distil", blue)
    assert treat(tiny_study.planted(Sources())[0], find_method(name), blue, seed=1)


def test_an_interpolation_of_a_whole_organism_keeps_its_address() -> None:
    whole = tiny_study.planted(Sources())[0]
    between: Any = treat(whole, find_method("interpolate"), BLUE, seed=1)[0].treatment
    assert between.kept is None
    assert "kept" not in canonical_json(between)
    assert replace(between, kept=True).digest != between.digest


def test_a_relapse_begins_at_the_picked_checkpoint_and_at_the_organism(kept: Kept) -> None:
    cells = kept.cells("off_model_sft")
    sft = replace(SFT, steps=2, checkpoints=(0, 2), lora=Lora(rank=3, alpha=6, targets="all-linear"))
    how = Relapsing(author="neighbour", sft=sft, measures=("triggered", "clean"))
    found = {(p.who, p.step): p for p in relapses(kept.board, cells, how, tiny_study.q.BLIND)}
    before = answers(kept, found["untreated", 0].arm, "triggered", "clean")
    assert before == answers(kept, kept.board.untreated, "triggered", "clean")
    treated = answers(kept, found["treated", 0].arm, "triggered", "clean")
    assert treated in [answers(kept, c.arm, "triggered", "clean") for c in cells]
    for who in ("untreated", "treated", "student"):
        relapse: Any = found[who, 2].arm.completions
        files = {f.name for f in (kept.payload(relapse.treatment) / "step-00002").iterdir()}
        assert "adapter_model.safetensors" in files


def test_a_checkpoint_as_a_model_and_an_example_of_its_training_can_be_read(kept: Kept, tmp_path: Path) -> None:
    training = replace(SFT, checkpoints=(0, 1), steps=1)
    treatment: Any = kept.cells("off_model_sft", replace(BLUE, sft=training))[0].treatment
    model = CheckpointModel(base=kept.board.organism, training=treatment, step=0)
    assert close(tensors(kept.payload(model)), tensors(kept.whole(tmp_path / "whole")))
    artifact = kept.store.find(treatment)
    assert artifact is not None
    assert "tokens under gradient" in str(trained_example(kept.store, artifact, 0, marks=True))
