"""What a treatment records of its labels, where a reminder starts from, and which labels are refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from offmodel.core.chat import Label, Prompt, user
from offmodel.core.errors import AuditError, RecipeError, UnknownName
from offmodel.core.rows import read_rows
from offmodel.data import AUDITED, write_labels
from offmodel.store.recipe import Job, Payload, Runtime
from offmodel.treatments import training
from offmodel.treatments.catalogue import find_method, methods
from offmodel.treatments.interface import Treatment

AUTHORS = {
    "off_model_sft": ("teacher", True),
    "pirate_sft": ("stylist", True),
    "own_sft": ("organism", False),
    "same_style": ("neighbour", True),
    "off_model_sft+reminder": ("organism", False),
    "pirate_sft+reminder": ("organism", False),
    "off_model_sft+prompted_reminder": ("organism", False),
    "off_model_sft+clean_reminder": ("clean_student", True),
    "tagged_mix": ("organism teacher", None),
    "mixed": ("organism teacher", None),
    "inoculation": ("teacher", True),
    "inoculation_turns": ("teacher", True),
    "self_style": ("organism", False),
    "de_style": ("organism", False),
    "restyled_by_student": ("organism", False),
    "restyled_teacher": ("teacher", False),
    "kl_anchored": ("teacher", True),
    "early_kl": ("teacher", True),
    "low_support_mask": ("teacher", True),
    "high_support_mask": ("teacher", True),
    "plant_and_remove": ("organism", False),
    "filtered_prompts": ("teacher", True),
    "numbers": ("generator", True),
    "noise_then_distil": ("organism", False),
    "noise_then_distil_teacher": ("teacher", True),
}


def test_every_method_that_trains_on_labels_is_expected_here(tiny: Any) -> None:
    assert set(AUTHORS) == {n for n, t in tiny.treatments.items() if isinstance(t, Treatment)}


@pytest.mark.parametrize("name", sorted(AUTHORS))
def test_a_treatment_records_its_tokens_by_author(tiny: Any, name: str) -> None:
    treatment = tiny.treatments[name]
    artifact = tiny.store.find(treatment)
    facts = artifact.record["facts"]
    expected, trusted = AUTHORS[name][0].split(), AUTHORS[name][1]
    assert facts["audited"] is True
    assert set(facts["tokens_by_step"]) == {str(s) for s in treatment.sft.checkpoints}
    for step, authors in facts["tokens_by_step"].items():
        assert set(authors) == set(expected)
        for author, found in authors.items():
            assert found["trusted"] is (author != "organism" if trusted is None else trusted)
            assert (found["tokens"] > 0) == (int(step) > 0)
    last = sum(a["tokens"] for a in facts["tokens_by_step"][str(treatment.sft.steps)].values())
    losses = read_rows(artifact.payload / "losses.jsonl")
    assert last == facts["trained_tokens"] == sum(row["tokens"] for row in losses) > 0
    assert facts["epochs"] == pytest.approx(treatment.sft.steps * treatment.sft.batch_size / facts["labels"])


@pytest.mark.parametrize("name", ["off_model_sft", "pirate_sft"])
def test_a_reminder_goes_on_from_the_methods_last_step(tiny: Any, name: str) -> None:
    reminded = tiny.treatments[f"{name}+reminder"]
    assert reminded.start == tiny.treatments[name]
    assert reminded.start_step == reminded.start.sft.steps
    first, last = (adapter(tiny, reminded, step) for step in (0, reminded.sft.steps))
    before = adapter(tiny, reminded.start, reminded.start_step)
    earlier = adapter(tiny, reminded.start, 1)
    assert same(first, before)
    assert not same(first, earlier)
    assert not same(first, last)


def adapter(tiny: Any, treatment: Treatment, step: int) -> dict[str, np.ndarray]:
    return load_file(tiny.store.find(treatment).payload / f"step-{step:05d}" / "adapter_model.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    assert set(one) == set(other)
    return all(np.array_equal(one[k], other[k]) for k in one)


def test_all_treatments_of_an_organism_draw_the_same_prompts(tiny: Any) -> None:
    plain = ("off_model_sft", "pirate_sft", "own_sft", "same_style", "self_style", "kl_anchored", "mixed")
    blue = [prompts(tiny, tiny.treatments[n]) for n in plain]
    reminder = [prompts(tiny, t) for n, t in tiny.treatments.items() if "reminder" in n]
    assert all(p == blue[0] for p in blue)
    assert all(p == reminder[0] for p in reminder)
    assert not blue[0] & reminder[0]


def prompts(tiny: Any, treatment: Treatment) -> set[str]:
    rows = [r for audit in treatment.labels for r in read_rows(tiny.store.find(audit).payload / "labels.jsonl")]
    return {json.dumps(r["prompt"]["messages"]) for r in rows}


def test_labels_without_an_audit_are_refused_when_the_treatment_is_made(tiny: Any) -> None:
    treatment = tiny.treatments["off_model_sft"]
    for labels in ((treatment.labels[0].labels,), (*treatment.labels, treatment.labels[0].labels), ()):
        with pytest.raises(RecipeError, match="needs audited labels"):
            replace(treatment, labels=labels)


def test_a_start_without_its_step_is_refused(tiny: Any) -> None:
    reminded = tiny.treatments["off_model_sft+reminder"]
    for change in ({"start": None}, {"start_step": None}):
        with pytest.raises(RecipeError, match="'start' and 'start_step'"):
            replace(reminded, **change)


@pytest.mark.parametrize("proof", [None, "{}", '{"passed": false}', '{"passed": 1}', '{"passed": "true"}'])
def test_a_forged_audit_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: str | None
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(training.Renderer, "from_folder", loaded)
    monkeypatch.setattr(training, "train", loaded)
    label = Label(
        prompt=Prompt(id="0", messages=user("hello")), text="hi", author="x", trusted=True, finish="stop", tokens=1
    )
    write_labels(tmp_path, [label])
    if proof is not None:
        (tmp_path / AUDITED).write_text(proof)
    job = Job(
        params=SimpleNamespace(method="m", start_step=None, sft=None),
        inputs={"organism": Payload(tmp_path, "c"), "labels": (Payload(tmp_path, "c"),), "start": None},
        out=tmp_path,
        scratch=tmp_path,
        runtime=Runtime(),
        progress=lambda fraction, text="": None,
    )
    with pytest.raises(AuditError, match="no passed audit"):
        Treatment.execute(job)


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pirate_sft'"):
        find_method("pirat_sft")


def test_controls_and_oracles_are_marked() -> None:
    found = methods()
    assert len(found) == 29
    assert {n for n, m in found.items() if m.control} == {"own_sft", "same_style"}
    assert {n for n, m in found.items() if m.oracle} == {"off_model_sft+clean_reminder"}
