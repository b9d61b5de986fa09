"""Artifacts: found by recipe, whole or not at all, with a record that says where they are from."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_recipes import Failing, Number, Total, Weights
from toy_recipes import compute_alone as compute

from offmodel.core.errors import RecipeError, StoreError
from offmodel.flow.execution import Busy, Failed, Finished
from offmodel.store import artifacts, publication, records
from offmodel.store.artifacts import STORE_FORMAT, Store
from offmodel.store.locks import attempt, probe, try_lock
from offmodel.store.recipe import describe, digest_of_description
from offmodel.store.records import content_of
from offmodel.store.workspace import work_key


def test_what_is_computed_is_found_by_an_equal_recipe(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.find(Number(seed=1)) is None
    compute(store, Number(seed=1))
    artifact = Store(tmp_path / "store").find(Number(seed=1))
    assert artifact is not None
    assert not artifact.record_only
    assert json.loads((artifact.payload / "value.json").read_text()) == 1.5
    assert artifact.folder.parent == store.root / "number"
    assert store.find(Number(seed=1, lr=0.25)) is None


def test_record_tells_the_provenance(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    total = Total(parts=(Number(seed=1), Number(seed=2)), extra=Number(seed=3))
    compute(store, *total.parents, total)
    artifact = store.artifact(total.digest)
    record = artifact.record
    assert record["recipe"] == describe(total)
    assert digest_of_description(record["recipe"]) == total.digest == artifact.digest
    assert [(p["field"], p["digest"]) for p in record["parents"]] == [
        (f, Number(seed=s).digest) for f, s in (("parts", 1), ("parts", 2), ("extra", 3))
    ]
    assert record["parents"][0]["content"] == store.artifact(Number(seed=1).digest).content
    assert record["facts"] == {"value": 7.5}
    assert record["content"] == content_of(record["files"])
    assert record["machine"]["device"] == "cpu"
    assert {"python", "offmodel", "torch"} <= set(record["software"])
    assert store.artifact(Number(seed=2).digest).record["seeds"] == {"seed": 2}
    text = (artifact.folder / "record.json").read_text()
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text


def test_payload_is_read_only_and_without_record(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Weights(label="w"))
    artifact = store.artifact(Weights(label="w").digest)
    files = [p for p in artifact.payload.rglob("*") if p.is_file()]
    assert len(files) == 4
    assert all(not p.stat().st_mode & 0o222 for p in files)
    assert not list(artifact.payload.rglob("record.json"))
    assert sorted(p.name for p in artifact.folder.iterdir()) == ["payload", "record.json"]


def test_artifact_by_prefix_and_folder(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    recipes = [Number(seed=i) for i in range(20)]
    compute(store, *recipes)
    for which in (recipes[3].digest, recipes[3].digest[:8], f"number/n3-{recipes[3].digest[:12]}"):
        assert store.artifact(which).digest == recipes[3].digest
    with pytest.raises(StoreError, match="no artifact 'ffffffffffff00'"):
        store.artifact("ffffffffffff00")
    with pytest.raises(StoreError, match="no artifact"):
        store.artifact("")
    assert {a.digest for a in store.all()} == {r.digest for r in recipes}
    assert store.kinds() == ["number"]


def test_prefix_that_fits_several_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Weights(label="a"), Weights(label="b"))
    a, b = (store.artifact(Weights(label=x).digest) for x in "ab")
    b.folder.rename(b.folder.with_name("b-" + a.digest[:8] + "0000"))
    with pytest.raises(StoreError, match=r"fits 2 artifacts .*more digits"):
        store.artifact(a.digest[:8])


def test_find_looks_at_one_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    compute(store, *(Number(seed=i) for i in range(5)))

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("find must not list folders or read records, of which a store holds thousands")

    with monkeypatch.context() as patch:
        for name in ("listdir", "scandir"):
            patch.setattr(os, name, forbidden)
        patch.setattr(Path, "open", forbidden)
        patch.setattr(Path, "read_bytes", forbidden)
        assert store.find(Number(seed=7)) is None
        assert store.find(Number(seed=3)) is not None


def test_newer_store_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "store")
    (tmp_path / "store" / "store.json").write_text(json.dumps({"format": STORE_FORMAT + 1, "offmodel": "9.1"}))
    with pytest.raises(StoreError, match=r"newer offmodel \(9\.1.*update offmodel"):
        Store(tmp_path / "store")


def test_newer_and_damaged_records_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute(store, Number(seed=1))
    record = store.artifact(Number(seed=1).digest).folder / "record.json"
    for text, word in (('{"format": 99}', "newer offmodel"), ("{", "damaged")):
        record.write_text(text)
        artifact = store.find(Number(seed=1))
        assert artifact is not None
        with pytest.raises(StoreError, match=word):
            _ = artifact.record


def test_folder_with_other_things_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    with pytest.raises(StoreError, match=r"thesis\.txt.*new or empty folder"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="no store at"):
        Store(tmp_path / "nowhere", create=False)
    with pytest.raises(StoreError, match="cannot be made"):
        Store(tmp_path / "thesis.txt" / "store")


def test_store_begun_and_killed_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json.123").write_text("{")
    Store(tmp_path / "store")
    Store(tmp_path / "store", create=False)


def test_store_is_made_by_two_at_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, real, met = tmp_path / "store", fcntl.flock, []

    def another_comes(file: object, how: int) -> None:
        if not met:
            met.append(True)
            Store(root)
            compute(Store(root), Number(seed=1))
        real(file, how)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(fcntl, "flock", another_comes)
    store = Store(root)
    assert met
    assert store.kinds() == ["number"]
    assert sorted(e.name for e in root.iterdir()) == ["locks", "number", "store.json", "tmp"]
    artifacts._create(root)  # as by one that looked for store.json before the others were done


def test_what_a_killed_probe_left_is_no_obstacle(tmp_path: Path) -> None:
    for end in "ab":
        left = tmp_path / "store" / f"probe-{os.getpid()}-{end}"
        left.mkdir(parents=True)
        (left / "lock").touch()
    store = Store(tmp_path / "store")
    assert store.kinds() == []
    left = store.tmp / f"probe-{os.getpid()}-b"
    left.mkdir()
    (left / "lock").touch()
    store.probe()
    assert list(store.tmp.iterdir()) == [left]


def test_folder_of_the_user_whose_name_is_like_a_probe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store" / "probe-results").mkdir(parents=True)
    with pytest.raises(StoreError, match="holds other things"):
        Store(tmp_path / "store")


def test_kind_that_the_store_needs_is_refused(tmp_path: Path) -> None:
    odd = type("Odd", (Number,), {"__slots__": (), "kind": "tmp"})
    with pytest.raises(StoreError, match="kind cannot be 'tmp'"):
        Store(tmp_path / "store").find(odd(seed=1))
    worse = type("Odd", (Number,), {"__slots__": (), "kind": "../x"})
    with pytest.raises(RecipeError, match="cannot be a folder"):
        Store(tmp_path / "store").find(worse(seed=1))


def test_probe_names_what_the_disk_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe(tmp_path)
    assert not list(tmp_path.iterdir())

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StoreError, match=r"No locks available.*working locks"):
        probe(tmp_path)
    assert not list(tmp_path.iterdir())


def test_lock_excludes_and_death_frees_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from offmodel.store.locks import try_lock\n"
        f"lock = try_lock(Path({str(tmp_path)!r}), 'key'); print(lock is not None, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert try_lock(tmp_path, "key") is None
        with attempt(tmp_path, "other") as free:
            assert free
        holder.kill()
        holder.wait()
        with attempt(tmp_path, "key") as free:
            assert free
    with attempt(tmp_path, "key") as free:
        assert free


def test_what_another_holds_is_busy(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with attempt(store.locks, work_key(Number(seed=1).digest)):
        assert compute(store, Number(seed=1)) == [Busy(Number(seed=1).digest)]
    assert isinstance(compute(store, Number(seed=1))[0], Finished)
    assert compute(store, Number(seed=1)) == [Finished(Number(seed=1).digest, None)]


@pytest.mark.parametrize("how", ["full", "library-full"])
def test_full_disk_in_an_execution_is_one_sentence(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path / "store")
    (outcome,) = compute(store, Failing(how=how))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StoreError)
    assert f"The disk that holds {store.root} is full" in str(outcome.error)
    assert list(store.all()) == []


def test_files_that_are_hashed_side_by_side_have_the_same_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = tmp_path / "payload"
    for i in range(20):
        (payload / f"step-{i % 3}").mkdir(parents=True, exist_ok=True)
        (payload / f"step-{i % 3}" / f"{i}.bin").write_bytes(bytes([i]) * (1000 * i))
    one_by_one = records.seal(payload)
    monkeypatch.setattr(records, "_MUCH", 0)
    assert list(records.seal(payload).items()) == list(one_by_one.items())
    (payload / "link").symlink_to(payload / "step-0")
    with pytest.raises(StoreError, match="neither a file nor a folder"):
        records.seal(payload)


@pytest.mark.parametrize("where", ["seal", "write_json", "sync_folder"])
def test_full_disk_while_publishing_leaves_no_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    store = Store(tmp_path / "store")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(publication, where, full)
        (outcome,) = compute(store, Number(seed=1))
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, StoreError)
    assert list(store.all()) == []
    assert isinstance(compute(store, Number(seed=1))[0], Finished)
    assert len(list(store.all())) == 1


def test_facts_that_are_no_json_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    monkeypatch.setattr(Number, "execute", classmethod(lambda _, job: {"loss": float("nan")}))
    (outcome,) = compute(store, Number(seed=1))
    assert "not JSON values" in str(outcome.error)
    assert list(store.all()) == []


def test_link_in_a_payload_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    monkeypatch.setattr(Number, "execute", classmethod(lambda _, job: (job.out / "link").symlink_to("/etc") or {}))
    (outcome,) = compute(store, Number(seed=1))
    assert "neither a file nor a folder" in str(outcome.error)


def test_execution_that_writes_into_its_input_is_caught(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    base = Number(seed=1)
    compute(store, base)
    (outcome,) = compute(store, Failing(how="tamper", base=base))
    assert "wrote into its input 'base' (value.json)" in str(outcome.error)
    assert store.find(Failing(how="tamper", base=base)) is None
