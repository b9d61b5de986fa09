"""What an execution can reach: its own fields and its parents' files, under names that say nothing."""

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_recipes import Failing, Number, Spy, Total, Weights
from toy_recipes import compute_alone as compute

from offmodel.core.errors import StoreError
from offmodel.flow.execution import Failed, Finished
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


def test_store_that_was_copied_without_times_is_computed_with(tmp_path: Path) -> None:
    store, base = Store(tmp_path / "store"), Number(seed=1)
    compute(store, base)
    shutil.copytree(store.root, tmp_path / "new", copy_function=shutil.copyfile)  # as `cp -r` does
    new = Store(tmp_path / "new")
    os.utime(new.artifact(base.digest).payload / "value.json", (time.time() + 60,) * 2)
    (outcome,) = compute(new, Total(parts=(base,)))
    assert isinstance(outcome, Finished), outcome
    (outcome,) = compute(new, Failing(how="tamper", base=base))
    assert "wrote into its input 'base' (value.json)" in str(outcome.error)


def test_parent_that_another_run_computes_again_meanwhile_is_no_damage(tmp_path: Path, monkeypatch) -> None:
    store, base = Store(tmp_path / "store"), Number(seed=1)
    compute(store, base)
    original = Total.execute.__func__

    def slow(cls, job):
        path = store.artifact(base.digest).payload / "value.json"
        fresh = path.with_name("draft")
        fresh.write_bytes(path.read_bytes())
        fresh.replace(path)
        return original(cls, job)

    monkeypatch.setattr(Total, "execute", classmethod(slow))
    (outcome,) = compute(store, Total(parts=(base,)))
    assert isinstance(outcome, Finished), outcome


def test_parent_whose_file_has_another_size_is_named_before_the_work(tmp_path: Path, executions: Path) -> None:
    store, base = Store(tmp_path / "store"), Number(seed=1)
    compute(store, base)
    path = store.artifact(base.digest).payload / "value.json"
    path.chmod(0o644)
    path.write_text("1.5000")
    (outcome,) = compute(store, Total(parts=(base,)))
    assert "value.json has 6 bytes where its record says 3" in str(outcome.error)
    assert "total" not in executions.read_text()
