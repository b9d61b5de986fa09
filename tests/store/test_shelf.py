"""Shared stores: publication by the record, doubt of what comes, claims, and file systems that cannot do it."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from toy_recipes import Number, Total, Weights, compute_alone

from offmodel.core.errors import StoreError
from offmodel.flow.execution import Busy, Failed, Finished
from offmodel.store import claims, exchange
from offmodel.store.addresses import cache_folder, is_address, open_shelf, open_store
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.store.records import check_record, content_of
from offmodel.store.shelf import Shelf
from offmodel.store.turns import take_turn
from offmodel.store.workspace import work_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Dice(Recipe):
    """Another result at each execution, as on a GPU."""

    kind: ClassVar[str] = "dice"
    recipe_version: ClassVar[int] = 1

    def name(self) -> str:
        return "d"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        (job.out / "value.json").write_text(json.dumps(uuid.uuid4().hex))
        return {}


@pytest.fixture(params=["memory", "file"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    name = f"shelf-{uuid.uuid4().hex}"
    yield f"memory://{name}" if request.param == "memory" else f"file://{tmp_path / name}"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Opens an address as another computer would: with a cache of its own."""

    def opened(address: str, name: str = "a") -> Store:
        monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path / "caches" / name))
        return open_store(address)

    return opened


def damage(store: Store, name: str, data: bytes) -> None:
    assert store.shelf is not None
    store.shelf.write(name, data)


def test_what_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [w for w in ("s3://b/p", "memory://x", "runs/a", "/a://b", tmp_path) if is_address(w)] == [
        "s3://b/p",
        "memory://x",
    ]
    monkeypatch.setenv("OFFMODEL_CACHE", str(tmp_path))
    assert cache_folder("s3://bucket/some/prefix").parent == tmp_path
    assert cache_folder("s3://bucket/some/prefix").name.startswith("s3-bucket-some-prefix-")
    assert cache_folder("s3://bucket/a-b") != cache_folder("s3://bucket/a/b")
    assert open_store(tmp_path / "folder").shelf is None


def test_another_computer_finds_what_one_computed(address: str, computer, executions: Path) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    total = Total(parts=(Number(seed=1), Number(seed=2)))
    compute_alone(here, *total.parts, total)
    found = there.find(total)
    assert found is not None
    assert found.folder.is_relative_to(there.root)
    assert (found.content, found.record_only) == (here.find(total).content, False)
    assert found.record == here.find(total).record
    assert compute_alone(there, total) == [Finished(total.digest, None)]
    assert there.artifact(total.digest[:8]).label == found.label
    assert executions.read_text().count("total") == 1


def test_weights_come_only_when_they_are_needed(address: str, computer) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    base = Weights(label="w")
    child = Total(parts=(Number(seed=1),), extra=base)
    compute_alone(here, base, Number(seed=1))
    rows = there.find(base)
    assert rows.record_only
    assert sorted(p.name for p in rows.payload.rglob("*") if p.is_file()) == ["losses.jsonl", "value.json"]
    assert there.at_hand(rows)
    (outcome,) = compute_alone(there, child)
    assert isinstance(outcome, Finished), outcome
    whole = there.find(base)
    assert not whole.record_only
    assert (whole.payload / "step-00010" / "model.safetensors").read_bytes() == (
        here.find(base).payload / "step-00010" / "model.safetensors"
    ).read_bytes()


def test_a_killed_upload_leaves_nothing_that_looks_finished(
    address: str, computer, monkeypatch, executions: Path
) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "create", _killed_at_the_record)
        with pytest.raises(KeyboardInterrupt):
            compute_alone(here, Weights(label="w"))
    assert {n.split("/")[0] for n in there.shelf.names("")} == {"offmodel-store.json", "files"}
    assert there.find(Weights(label="w"), fresh=True) is None
    exchange.share_left(here, [Weights(label="w")])
    assert there.find(Weights(label="w"), fresh=True) is not None
    assert executions.read_text().count("weights") == 1


_CREATE = Shelf.create


def _killed_at_the_record(shelf: Shelf, name: str, data: bytes) -> bool:
    if name.startswith("records/"):
        raise KeyboardInterrupt
    return _CREATE(shelf, name, data)


def test_a_damaged_file_is_refused_in_one_sentence(address: str, computer, monkeypatch) -> None:
    monkeypatch.setattr(exchange, "_SECONDS_BETWEEN_TRIES", (0.0,))
    here, there = computer(address, "a"), computer(address, "b")
    compute_alone(here, Number(seed=1))
    (file,) = [n for n in here.shelf.names("") if n.startswith("files/")]
    damage(here, file, b"9.9")
    with pytest.raises(StoreError, match=r"^The file 'value.json' of number/n1 is damaged in the shared"):
        there.find(Number(seed=1))
    here.shelf.remove(file)
    with pytest.raises(StoreError, match="is missing"):
        there.find(Number(seed=1))
    assert not list(there.root.glob("number/*"))
    (record,) = [n for n in here.shelf.names("") if n.startswith("records/")]
    damage(here, record, json.dumps({**here.find(Number(seed=1)).record, "content": "0" * 64}).encode())
    with pytest.raises(StoreError, match="is damaged; delete it, and it is computed again"):
        there.find(Number(seed=1))
    here.shelf.remove(record)
    assert [type(o) for o in compute_alone(computer(address, "c"), Number(seed=1))] == [Finished]


def test_a_record_that_is_still_being_written_is_none(address: str, computer) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    compute_alone(here, Number(seed=1))
    (record,) = [n for n in here.shelf.names("") if n.startswith("records/")]
    whole = here.shelf.read(record)
    damage(here, record, whole[:30])
    assert there.find(Number(seed=1), fresh=True) is None
    compute_alone(there, Number(seed=1))  # whoever wrote it has died
    assert here.shelf.record(record.removeprefix("records/").removesuffix(".json")) is not None


def test_names_that_leave_the_payload_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    compute_alone(store, Number(seed=1))
    artifact = store.find(Number(seed=1))
    assert check_record(artifact.record, artifact.label)
    for name in ("../x", "/etc/x", "a/../../x"):
        files = {name: artifact.record["files"]["value.json"]}
        assert not check_record({**artifact.record, "files": files, "content": content_of(files)}, artifact.label)
    assert not check_record({**artifact.record, "digest": "0" * 64}, artifact.label)
    assert not check_record([], artifact.label)


def test_the_first_record_wins_and_the_other_computer_takes_its_result(address: str, computer) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    alone = Store(here.root.parent / "alone")
    compute_alone(alone, Dice())
    compute_alone(here, Dice())
    label = here.find(Dice()).label
    # The other one has begun before the first was done, and computed another result.
    (there.root / "dice").mkdir()
    alone.find(Dice()).folder.rename(there.root / label)
    assert exchange.share(there, there.find(Dice())).content == here.find(Dice()).content
    assert there.find(Dice()).content == here.find(Dice()).content
    assert there.shelf.record(label)["content"] == here.find(Dice()).content


def test_one_computes_and_the_others_do_something_else(address: str, computer, monkeypatch) -> None:
    here, there = computer(address, "a"), computer(address, "b")
    turn = take_turn(here, Number(seed=1).digest)
    assert compute_alone(there, Number(seed=1)) == [Busy(Number(seed=1).digest)]
    key, now = work_key(Number(seed=1).digest), [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    assert there.claims.taken(key)
    now[0] += claims.STALE - 1
    assert there.claims.taken(key)
    here.shelf.write(f"claims/{key}.json", here.claims._words(here.claims._held[key]))  # a beat
    now[0] += claims.STALE - 1
    assert there.claims.taken(key)
    now[0] += claims.STALE
    assert not there.claims.taken(key), "the claim of a dead computer ends"
    assert [type(o) for o in compute_alone(there, Number(seed=1))] == [Finished]
    other = take_turn(there, Number(seed=2).digest)
    turn.release()
    assert here.claims.taken(work_key(Number(seed=2).digest)), "releasing leaves the claims of others"
    other.release()
    assert not here.shelf.names("claims")


def test_a_claim_is_kept_fresh_and_taken_over_from_a_dead_process_of_ours(address: str, computer, monkeypatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.01)
    here = computer(address, "a")
    turn = take_turn(here, Number(seed=1).digest)
    first = here.shelf.read(f"claims/{turn.key}.json")
    for _ in range(500):
        if here.shelf.read(f"claims/{turn.key}.json") != first:
            break
        claims.time.sleep(0.01)
    else:
        raise AssertionError("no beat")
    turn.lock.release()  # the process dies
    again = computer(address, "a")
    assert [type(o) for o in compute_alone(again, Number(seed=1))] == [Finished]


def test_a_shelf_that_fails_is_one_sentence(computer, tmp_path: Path, monkeypatch) -> None:
    store = computer(f"file://{tmp_path / 'shelf'}")
    monkeypatch.setattr(type(store.shelf._fs), "put_file", _broken)
    (outcome,) = compute_alone(store, Number(seed=1))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StoreError)
    assert "failed (ConnectionError: the line is cut); see that it can be reached" in str(outcome.error)
    assert store.find(Number(seed=1)) is not None, "what was computed is kept"


def _broken(*_: Any, **__: Any) -> None:
    raise ConnectionError("the line is cut")


def test_what_is_no_store_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no store at"):
        open_shelf(address, create=False)
    shelf = open_shelf(address)
    shelf.write("offmodel-store.json", b'{"format": 99}')
    with pytest.raises(StoreError, match="newer offmodel"):
        open_shelf(address)
    shelf.write("offmodel-store.json", b"no")
    with pytest.raises(StoreError, match=r'damaged; write \{"format": 1\}'):
        open_shelf(address)
    shelf.remove("offmodel-store.json")
    shelf.write("photos/cat.jpg", b"cat")
    with pytest.raises(StoreError, match=r"holds other things \('photos/cat.jpg'\)"):
        open_shelf(address)
    with pytest.raises(StoreError, match="addresses begin with"):
        open_shelf("nowhere://x")
    fsspec.register_implementation(
        "far", "no_such_package.Far", errtxt="Install no_such_package to go far", clobber=True
    )
    with pytest.raises(StoreError, match="needs a package that is not installed: Install no_such_package"):
        open_shelf("far://x")


class Overwriting(MemoryFileSystem):
    """Takes every write, as services without conditional writes do."""

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value, **kwargs)


class Unable(MemoryFileSystem):
    """Knows no exclusive creation, and says so."""

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        if mode == "create":
            raise NotImplementedError("no mode 'create'")
        super().pipe_file(path, value, **kwargs)


class Late(MemoryFileSystem):
    """Lists what was there before."""

    def find(self, path, *args, **kwargs):
        return []


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Overwriting, "lets a second writer create what is there already"),
        (Unable, r"cannot create a file exclusively \(no mode 'create'\)"),
        (Late, "does not list what was just written"),
    ],
)
def test_a_file_system_without_the_guarantees_is_refused_by_the_probe(kind, fault) -> None:
    shelf = Shelf("odd://x", kind(skip_instance_cache=True), f"/{uuid.uuid4().hex}")
    with pytest.raises(StoreError, match=rf"^The file system of odd://x cannot .*: it {fault}; use S3"):
        shelf.probe()


def test_file_systems_with_the_guarantees_pass(address: str, computer) -> None:
    store = computer(address)
    store.probe()
    assert not store.shelf.names("probe")
