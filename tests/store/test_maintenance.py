"""What gc and evict take away, and what they must leave."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
from toy_recipes import Number, Total, Weights
from toy_recipes import compute_alone as compute

from offmodel.core.errors import StoreError
from offmodel.store.artifacts import Store
from offmodel.store.locks import attempt
from offmodel.store.maintenance import evict, gc
from offmodel.store.workspace import prepare, work_key


def labels(store: Store) -> set[str]:
    return {a.label for a in store.all()}


def age(folder: Path) -> None:
    """Make a folder and all below it two days old."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)


def test_gc_takes_what_nothing_needs(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    kept, gone = Number(seed=1), Number(seed=2)
    compute(store, kept, gone, Total(parts=(gone,)))
    everything = labels(store)
    dry = gc(store, keep={kept.digest}, dry_run=True)
    assert labels(store) == everything
    assert len(dry.what) == 2
    assert dry.bytes > 0
    assert gc(store, keep={kept.digest}) == dry
    assert labels(store) == {store.artifact(kept.digest).label}
    assert gc(store, keep={kept.digest}).what == ()
    assert not list(store.tmp.iterdir())


def test_gc_without_being_asked_takes_no_artifact(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Number(seed=1))
    assert gc(store).what == ()
    assert gc(store, older_than=3600).what == ()
    record = store.artifact(Number(seed=1).digest).folder / "record.json"
    os.utime(record, (time.time() - 7200,) * 2)
    assert len(gc(store, older_than=3600, keep={Number(seed=1).digest}).what) == 0
    assert len(gc(store, older_than=3600).what) == 1


def test_gc_takes_leftovers_but_neither_running_work_nor_young_checkpoints(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    dead, running, trained = Number(seed=1), Number(seed=2), Number(seed=3)
    for recipe in (dead, running, trained):
        prepare(store, recipe)
    scratch = store.tmp / work_key(trained.digest) / "scratch"
    (scratch / "checkpoint").write_text("half way")
    with attempt(store.locks, work_key(running.digest)):
        assert gc(store).what == (f"tmp/{work_key(dead.digest)}",)
    age(scratch.parent)
    assert len(gc(store).what) == 2


def test_checkpoint_of_a_long_training_is_as_young_as_its_last_writing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    scratch = prepare(store, Number(seed=1)).root / "scratch"
    checkpoint = scratch / "steps" / "checkpoint"
    checkpoint.parent.mkdir()
    checkpoint.write_text("begun")
    age(scratch.parent)
    checkpoint.write_text("half way")  # the folders' own times stay as they were
    assert gc(store).what == ()
    assert checkpoint.exists()
    age(scratch.parent)
    assert len(gc(store).what) == 1


def test_evicted_artifact_keeps_rows_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Weights(label="w"), Number(seed=1))
    before = store.artifact(Weights(label="w").digest)
    dry = evict(store, store.all(), dry_run=True)
    assert not store.artifact(before.digest).record_only
    assert evict(store, store.all()) == dry
    assert dry.bytes == 1000
    after = store.artifact(before.digest)
    assert after.record_only
    assert after.record == before.record
    assert {p.name for p in after.payload.rglob("*") if p.is_file()} == {"losses.jsonl", "tokenizer.json", "value.json"}
    assert not store.artifact(Number(seed=1).digest).record_only
    assert evict(store, store.all()).what == ()


def test_full_disk_evicts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    compute(store, Weights(label="w"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="is full; free some space"):
            evict(store, store.all())
    artifact = store.artifact(Weights(label="w").digest)
    assert not artifact.record_only
    assert sorted(p.name for p in artifact.folder.iterdir()) == ["payload", "record.json"]
    assert len(evict(store, store.all()).what) == 1


def test_eviction_that_was_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Weights(label="w"))
    artifact = store.artifact(Weights(label="w").digest)
    (artifact.payload / "tokenizer.json").unlink()
    (artifact.folder / "evicted.json").touch()  # as an older version left it on a full disk
    assert evict(store, store.all()).what == (f"{artifact.label}/payload/step-00010/model.safetensors",)
    assert json.loads((artifact.folder / "evicted.json").read_text()) == {
        "files": ["step-00010/model.safetensors", "tokenizer.json"]
    }
    assert not (artifact.payload / "step-00010" / "model.safetensors").exists()
    assert evict(store, store.all()).what == ()
