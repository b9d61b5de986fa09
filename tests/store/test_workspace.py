"""What an execution can reach: its own fields and its parents' files, under names that say nothing."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_recipes import Number, Spy, Total, Weights
from toy_recipes import compute_alone as compute

from offmodel.core.errors import StoreError
from offmodel.flow.execution import Failed
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime
from offmodel.store.workspace import make_job, prepare, work_key


def test_staged_inputs_hide_names_digests_and_records(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    secret, others = Weights(label="secret_pair"), (Weights(label="hidden_tag"), Number(seed=5))
    spy = Spy(base=secret, others=others)
    compute(store, secret, *others, spy)
    seen = "\n".join(json.loads((store.artifact(spy.digest).payload / "seen.json").read_text()))
    # The weights' own bytes hold their label: that is content, which the audit looks after, not a name.
    names = seen.replace("safetensors", "")
    for recipe in (secret, *others, spy):
        assert recipe.digest[:12] not in names
    assert "record" not in names
    assert "secret_pair-" not in names
    assert "weights/" not in names
    assert "inputs/base/step-00010/model.safetensors" in seen
    assert "inputs/others/1/value.json" in seen


def test_inputs_are_linked_not_copied(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Number(seed=1))
    space = prepare(store, Total(parts=(Number(seed=1),)))
    original = store.artifact(Number(seed=1).digest).payload / "value.json"
    assert (space.root / "inputs" / "parts" / "0" / "value.json").samefile(original)


def test_inputs_are_copied_where_links_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    compute(store, Number(seed=1))

    def cross_device(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", cross_device)
    space = prepare(store, Total(parts=(Number(seed=1),)))
    assert json.loads((space.root / "inputs" / "parts" / "0" / "value.json").read_text()) == 1.5


def test_job_holds_plain_fields_and_payloads_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    parts = (Number(seed=1), Number(seed=2))
    compute(store, *parts)
    total = Total(parts=parts, label="sum")
    job = make_job(total, prepare(store, total), Runtime(), lambda fraction, text="": None)
    assert job.params == SimpleNamespace(label="sum")
    assert set(job.inputs) == {"parts", "extra"}
    assert job.inputs["extra"] is None
    assert [p.content for p in job.inputs["parts"]] == [store.artifact(r.digest).content for r in parts]
    one = Total(parts=(parts[0],), extra=parts[1])
    job = make_job(one, prepare(store, one), Runtime(), lambda fraction, text="": None)
    assert job.inputs["extra"].content == store.artifact(parts[1].digest).content


def test_scratch_survives_and_output_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    recipe = Number(seed=1)
    space = prepare(store, recipe)
    (space.root / "scratch" / "checkpoint").write_text("half way")
    (space.payload / "half").write_text("x")
    space = prepare(store, recipe)
    assert (space.root / "scratch" / "checkpoint").read_text() == "half way"
    assert not list(space.payload.iterdir())
    compute(store, recipe)
    assert not (store.tmp / work_key(recipe.digest)).exists()


def test_missing_parent_is_named(tmp_path: Path) -> None:
    (outcome,) = compute(Store(tmp_path / "store"), Total(parts=(Number(seed=1),)))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StoreError)
    assert "The parent number/n1 of total/t is no longer in the store" in str(outcome.error)
