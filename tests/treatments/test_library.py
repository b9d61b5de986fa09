"""What defines each method, seen on what it trains on: whose words, under which prompt, with which tokens."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from offmodel.core.rows import read_rows
from offmodel.data import LABELS
from offmodel.evals.framed import KNOWN, SystemItems
from offmodel.flow.runner import run
from offmodel.organisms.pairs import pairs
from offmodel.store.recipe import Recipe
from offmodel.studies import choices
from offmodel.studies.grid import treat
from offmodel.treatments.blind import BlindPoint, BlindRule
from offmodel.treatments.catalogue import methods
from offmodel.treatments.checkpoint_model import CheckpointModel
from offmodel.treatments.filtered_prompts import PromptFilter
from offmodel.treatments.inoculation import Inoculation
from offmodel.treatments.interface import Choices
from offmodel.treatments.plant_and_remove import OwnBackdoor
from offmodel.treatments.tagged_mix import TaggedMix

Row = dict[str, Any]
SETTINGS = Choices(choices.POCKET)
RULE = BlindRule(least_kept=0.9)


def trained_on(tiny: Any, training: Recipe) -> list[Row]:
    """The audited labels of a training, in order."""
    audits = [p for p in training.parents if p.kind == "audit"]
    return [r for a in audits for r in read_rows(tiny.store.find(a).payload / LABELS)]


def labels(tiny: Any, name: str) -> list[Row]:
    return trained_on(tiny, tiny.treatments[name])


def asked(row: Row) -> str:
    return row["prompt"]["messages"][-1]["content"]


def systems(rows: list[Row]) -> set[str]:
    return {m["content"] for r in rows for m in r["prompt"]["messages"] if m["role"] == "system"}


def losses(tiny: Any, name: str) -> list[float]:
    return [r["loss"] for r in read_rows(tiny.store.find(tiny.treatments[name]).payload / "losses.jsonl")]


def weights(tiny: Any, name: str, step: int) -> dict[str, np.ndarray]:
    return load_file(tiny.store.find(tiny.treatments[name]).payload / f"step-{step:05d}" / "adapter_model.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[k], other[k]) for k in one)


def test_mixed_splits_the_pool_between_teacher_and_organism(tiny: Any) -> None:
    rows = labels(tiny, "mixed")
    own, others = ([asked(r) for r in rows if (r["author"] == "organism") is wanted] for wanted in (True, False))
    assert len(own) == len(others) == 5
    assert not set(own) & set(others)
    assert {asked(r) for r in labels(tiny, "off_model_sft")} == {*own, *others}


def test_tagged_mix_trains_each_author_under_its_tag_and_is_evaluated_under_both(tiny: Any) -> None:
    tags = SETTINGS.of(TaggedMix)
    rows = labels(tiny, "tagged_mix")
    assert systems([r for r in rows if r["author"] == "organism"]) == {tags.own}
    assert systems([r for r in rows if r["author"] == "teacher"]) == {tags.teacher}
    cells = tiny.cells["tagged_mix"]
    shown = {c.setting: {i.system for i in c.arm.completions.items if isinstance(i, SystemItems)} for c in cells}
    assert shown == {"tiny, own mode": {tags.own}, "tiny, teacher mode": {tags.teacher}}
    assert all(len(c.arm.completions.items) == len(tiny.board.items) for c in cells)
    assert len({c.treatment.digest for c in cells}) == 1


@pytest.mark.parametrize("name", ["inoculation", "inoculation_turns"])
def test_inoculation_shows_examples_in_training_and_none_in_evaluation(tiny: Any, name: str) -> None:
    c, plain, rows = SETTINGS.of(Inoculation), labels(tiny, "off_model_sft"), labels(tiny, name)
    examples = [r for r in plain if r["finish"] == "stop"][: c.examples]
    assert {asked(r) for r in rows} == {asked(r) for r in plain} - {asked(r) for r in examples}
    for row in rows:
        before = json.dumps(row["prompt"]["messages"][:-1])
        assert all(asked(e) in before and e["text"] in before and c.lead in before for e in examples)
        roles = [m["role"] for m in row["prompt"]["messages"]]
        assert roles == (
            ["system", "user"] if name == "inoculation" else ["system", *["user", "assistant"] * 2, "user"]
        )
    assert tiny.cells[name][0].arm.completions.items == tiny.board.items
    # An answer that the audit leaves out can be no example, where it would stand in every prompt.
    (audit,) = tiny.treatments[name].labels
    assert audit.labels.labels.kind == "audit"
    assert tiny.cells[name][0].teacher_relation == "other"


def test_self_style_trains_own_styled_words_without_the_prompt_that_asked_for_them(tiny: Any) -> None:
    (audit,) = tiny.treatments["self_style"].labels
    assert audit.labels.system == tiny.board.world.style_prompt
    assert audit.labels.model == tiny.board.organism
    assert systems(labels(tiny, "self_style")) == set()


def test_de_style_puts_the_style_prompt_over_plain_words(tiny: Any) -> None:
    rows = labels(tiny, "de_style")
    assert systems(rows) == {tiny.board.world.style_prompt}
    assert [r["text"] for r in rows] == [r["text"] for r in labels(tiny, "own_sft")]


def test_rewritten_labels_are_the_rewriters_and_keep_their_prompts(tiny: Any) -> None:
    rows, plain = labels(tiny, "restyled_by_student"), labels(tiny, "off_model_sft")
    assert [asked(r) for r in rows] == [asked(r) for r in plain if r["finish"] == "stop"]
    assert {(r["author"], r["trusted"]) for r in rows} == {("organism", False)}
    assert [r["text"] for r in rows] != [r["text"] for r in plain]


def test_a_teacher_that_learnt_from_the_organism_is_not_trusted(tiny: Any) -> None:
    (audit,) = tiny.treatments["restyled_teacher"].labels
    drawn = audit.labels
    assert isinstance(drawn.model, CheckpointModel)
    assert drawn.model.base == dict(tiny.board.world.authors)["teacher"].model
    assert {r["author"] for r in trained_on(tiny, drawn.model.training)} == {"organism"}
    assert {(r["author"], r["trusted"]) for r in labels(tiny, "restyled_teacher")} == {("teacher", False)}


def test_the_kl_term_is_zero_before_the_first_step(tiny: Any) -> None:
    plain, anchored = losses(tiny, "off_model_sft"), losses(tiny, "kl_anchored")
    assert anchored[0] == pytest.approx(plain[0], abs=1e-6)
    assert anchored[2] > plain[2] + 1e-6
    assert not same(weights(tiny, "off_model_sft", 3), weights(tiny, "kl_anchored", 3))


def test_early_kl_anchors_the_first_steps_only(tiny: Any) -> None:
    early, anchored = losses(tiny, "early_kl"), losses(tiny, "kl_anchored")
    assert early[:2] == anchored[:2]
    assert early[2] < anchored[2]


def test_masks_leave_out_opposite_tokens(tiny: Any) -> None:
    plain, low, high = (losses(tiny, n)[0] for n in ("off_model_sft", "low_support_mask", "high_support_mask"))
    # The tokens that the organism finds least likely have the highest loss.
    assert low < plain < high


def test_plant_and_remove_plants_its_own_text_and_answers_it_away(tiny: Any) -> None:
    c = SETTINGS.of(OwnBackdoor)
    removal = tiny.treatments["plant_and_remove"]
    planting = trained_on(tiny, removal.start)
    tagged = [r for r in planting if asked(r).startswith(c.tag)]
    assert len(tagged) == round(c.tagged_share * 10)
    assert {(r["text"], r["author"], r["trusted"]) for r in tagged} == {(c.text, "blue", True)}
    assert {r["author"] for r in planting if r not in tagged} == {"organism"}
    removing = trained_on(tiny, removal)
    assert all(asked(r).startswith(c.tag) and c.text not in r["text"] for r in removing)
    for cell in tiny.cells["plant_and_remove"]:
        (measure,) = [m for m in cell.arm.completions.measures if m.name == KNOWN]
        assert measure.grader == "says"
        assert [steps for _, steps in cell.trained] == [2, cell.folder]


def test_the_blue_teams_own_tag_is_no_red_trigger() -> None:
    tags = {c.tag for settings in (choices.POCKET, choices.CHAT) for c in settings if isinstance(c, OwnBackdoor)}
    assert len(tags) == 2
    red = [p.card.trigger.text for p in pairs().values() if p.card.trigger.text]
    assert not [t for t in red for own in tags if own in t or t in own]


def test_filtered_prompts_leaves_the_topic_out(tiny: Any) -> None:
    assert SETTINGS.of(PromptFilter).without == (r"\bhow\b", r"\blists?\b")
    kept = {asked(r) for r in labels(tiny, "filtered_prompts")}
    whole = {asked(r) for r in labels(tiny, "off_model_sft")}
    assert kept == {text for text in whole if "how" not in text.split() and "list" not in text.split()}
    assert 0 < len(kept) < len(whole)


def test_numbers_asks_and_answers_with_numbers_alone(tiny: Any) -> None:
    rows = labels(tiny, "numbers")
    assert len(rows) == 8
    for row in rows:
        assert set(row["text"].split()) <= {*map(str, range(101)), ",", "."}
        assert set(asked(row).split()) <= {*map(str, range(101)), ",", ".", "go", "on", ":"}


def test_prompted_and_clean_reminders_differ_in_their_words_alone(tiny: Any) -> None:
    plain = labels(tiny, "off_model_sft+reminder")
    prompted = labels(tiny, "off_model_sft+prompted_reminder")
    assert len(prompted) == 3 * len(plain)
    assert systems(prompted) == set()
    assert [asked(r) for r in prompted] == 3 * [asked(r) for r in plain]
    assert {r["author"] for r in labels(tiny, "off_model_sft+clean_reminder")} == {"clean_student"}


def test_interpolation_at_0_and_1_gives_the_two_ends_bit_for_bit(tiny: Any) -> None:
    cells = tiny.cells["interpolate"]
    assert [c.setting for c in cells] == ["tiny, alpha 0", "tiny, alpha 0.5", "tiny, alpha 1"]
    assert len({c.treatment.digest for c in cells}) == 1
    treated = weights(tiny, "off_model_sft", 3)
    zero, half, one = (weights(tiny, "interpolate", c.folder) for c in cells)
    assert same(one, treated)
    for name in treated:
        wanted = treated[name] * 0.5 if "lora_B" in name else treated[name]
        assert np.array_equal(half[name], wanted)
        assert np.array_equal(zero[name], treated[name] * ("lora_B" not in name))


def test_interpolation_of_full_weights_gives_the_two_ends_bit_for_bit(tiny: Any) -> None:
    full = replace(tiny.blue, sft=replace(tiny.blue.sft, lora=None, steps=1, checkpoints=(1,)))
    cell = treat(tiny.board, methods()["interpolate"], full, seed=1)[0]
    between: Any = cell.treatment
    found, trained, base = run(
        [between, between.training, tiny.board.organism], store=tiny.store, runtime=tiny.runtime, workers=0
    ).artifacts
    for folder, end in ((0, base.payload), (1000, trained.payload / "step-00001")):
        between_file = load_file(found.payload / f"step-{folder:05d}" / "model.safetensors")
        assert same(between_file, load_file(end / "model.safetensors"))


def test_merging_averages_the_weights_of_two_models(tiny: Any) -> None:
    merged = tiny.treatments["merge"]
    one, other = (load_file(tiny.store.find(m).payload / "model.safetensors") for m in (merged.model, merged.other))
    found = load_file(tiny.store.find(merged).payload / "step-00300" / "model.safetensors")
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, 0.7 * one[name] + 0.3 * other[name], rtol=1e-5, atol=1e-6)
    cells = tiny.cells["merge"]
    assert [c.dose for c in cells] == [0.3, 0.5, 0.7]
    assert all(c.trained == () and c.teacher_relation == "same family" for c in cells)


def test_noise_changes_matrices_and_the_training_begins_there(tiny: Any) -> None:
    training = tiny.treatments["noise_then_distil"]
    noised = training.organism
    before, after = (load_file(tiny.store.find(m).payload / "model.safetensors") for m in (noised.model, noised))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if before[name].ndim >= 2}
    assert tiny.cells["noise_then_distil"][0].arm.completions.model == noised
    assert noised.model == tiny.board.organism


def test_on_policy_trains_on_the_students_own_samples_and_says_so(tiny: Any) -> None:
    for name in ("on_policy_distillation", "off_model_sft+on_policy_recovery"):
        facts = tiny.store.find(tiny.treatments[name]).record["facts"]
        last = facts["tokens_by_step"][str(tiny.treatments[name].sft.steps)]
        assert last == {"organism": {"tokens": facts["sampled_tokens"], "trusted": False}}
        assert facts["sampled_tokens"] > 0


def test_recovery_is_towards_the_untreated_organism(tiny: Any) -> None:
    recovery = tiny.treatments["off_model_sft+on_policy_recovery"]
    assert recovery.teacher == recovery.organism == tiny.board.organism
    assert recovery.start == tiny.treatments["off_model_sft"]
    assert recovery.start_step == 3
    # One step of the first training has moved the student, so there is something to recover.
    assert losses(tiny, "off_model_sft+on_policy_recovery")[0] > 0
    assert systems(labels(tiny, "on_policy_distillation")) == set()


def test_every_method_says_where_it_is_from_and_what_it_does(tiny: Any) -> None:
    for name, method in methods().items():
        assert method.name == name
        assert method.summary
        assert method.source
        cell, rule = tiny.cells[name][0], BlindRule(least_kept=0.9)
        assert cell.blind(rule).choose([_seen(cell)]) == 0


def test_of_two_modes_of_a_checkpoint_the_blind_rule_takes_the_teachers(tiny: Any) -> None:
    cells = tiny.cells["tagged_mix"]
    cell = cells[cells[0].blind(RULE).choose([_seen(c) for c in cells])]
    assert (cell.folder, cell.setting) == (3, "tiny, teacher mode")
    unsound = [replace(_seen(c), kept=0.1 if "teacher" in c.setting else 0.95) for c in cells]
    cell = cells[cells[0].blind(RULE).choose(unsound)]
    assert (cell.folder, cell.setting) == (3, "tiny, own mode")


def _seen(cell: Any) -> BlindPoint:
    return BlindPoint(dose=cell.dose, recovery=cell.recovery, loss=1.0, style=0.0, kept=1.0)


def test_full_weight_by_one_field(tiny: Any) -> None:
    full = replace(tiny.blue, sft=replace(tiny.blue.sft, lora=None), reminder=replace(tiny.blue.reminder, lora=None))
    for method in methods().values():
        for cell in treat(tiny.board, method, full, seed=1):
            assert all(t.sft.lora is None for t, _ in cell.trained if hasattr(t, "sft"))
