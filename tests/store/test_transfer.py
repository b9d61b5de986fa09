"""Export and merge: the same records and bytes arrive, and nothing that was tampered with does."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from toy_recipes import Number, Total, Weights
from toy_recipes import compute_alone as compute

from offmodel.core.errors import StoreError
from offmodel.store import transfer
from offmodel.store.artifacts import Store
from offmodel.store.transfer import LARGEST_FILE, export, merge


def snapshot(store: Store) -> dict[str, bytes]:
    return {
        str(p.relative_to(store.root)): p.read_bytes() for a in store.all() for p in a.folder.rglob("*") if p.is_file()
    }


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = Store(tmp_path / "source")
    compute(store, Number(seed=1), Number(seed=2), Weights(label="w"), Total(parts=(Number(seed=1), Number(seed=2))))
    return store


def test_everything_arrives(tmp_path: Path, source: Store) -> None:
    files = export(source, tmp_path / "out", rows_only=False)
    there = Store(tmp_path / "there")
    merged = merge(there, files)
    assert snapshot(there) == snapshot(source)
    assert len(merged.added) == 4
    assert not merged.present
    again = merge(there, files)
    assert (again.added, len(again.present), again.differing) == ((), 4, ())
    assert not list(there.tmp.iterdir())


def test_export_is_reproducible(tmp_path: Path, source: Store) -> None:
    first, second = (export(source, tmp_path / name, rows_only=True) for name in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    with pytest.raises(StoreError, match="earlier export"):
        export(source, tmp_path / "a", rows_only=True)


def test_rows_arrive_as_record_only_and_weights_complete_them(tmp_path: Path, source: Store) -> None:
    there = Store(tmp_path / "there")
    rows = export(source, tmp_path / "rows", rows_only=True)
    whole = export(source, tmp_path / "whole", rows_only=False)
    merge(there, rows)
    artifact = there.artifact(Weights(label="w").digest)
    assert artifact.record_only
    assert artifact.record == source.artifact(artifact.digest).record
    assert {p.name for p in artifact.payload.rglob("*") if p.is_file()} == {"losses.jsonl", "value.json"}
    assert not there.artifact(Number(seed=1).digest).record_only
    assert merge(there, whole).completed == (artifact.label,)
    assert snapshot(there) == snapshot(source)
    assert merge(there, rows).completed == ()
    assert snapshot(there) == snapshot(source)


def test_no_file_is_larger_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ROOM", 2**16)
    source, there = Store(tmp_path / "source"), Store(tmp_path / "there")
    compute(source, Weights(label="large", size=2**18), *(Number(seed=i) for i in range(30)))
    files = export(source, tmp_path / "out", rows_only=False)
    assert len(files) > 4
    with gzip.open(files[0]) as file:
        assert len(file.read()) < 2**16 + 2**14
    merge(there, list(reversed(files)))
    assert snapshot(there) == snapshot(source)


def test_limit_holds_for_bytes_that_do_not_shrink(tmp_path: Path) -> None:
    pieces = [("a/b/payload/x", bytes(range(256)) * (transfer._ROOM // 256 - 8))]
    (path,) = transfer._write_files(tmp_path, iter(pieces))
    assert path.stat().st_size <= LARGEST_FILE
    assert 1.001 * transfer._ROOM + 10240 < LARGEST_FILE


def test_missing_file_of_an_export_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ROOM", 2**16)
    source = Store(tmp_path / "source")
    compute(source, Weights(label="large", size=2**18))
    files = export(source, tmp_path / "out", rows_only=False)
    for lost in range(len(files)):
        there = Store(tmp_path / f"there{lost}")
        with pytest.raises(StoreError, match="merge all"):
            merge(there, [f for i, f in enumerate(files) if i != lost])
        assert list(there.all()) == []


def test_other_content_of_the_same_recipe_is_told_and_not_taken(tmp_path: Path, source: Store) -> None:
    there = Store(tmp_path / "there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Number, "execute", classmethod(lambda _, job: {"x": (job.out / "value.json").write_text("9")}))
        compute(there, Number(seed=1))
    before = snapshot(there)
    merged = merge(there, export(source, tmp_path / "out", rows_only=False))
    label = there.artifact(Number(seed=1).digest).label
    assert merged.differing == (label,)
    assert {k: v for k, v in snapshot(there).items() if k in before} == before


@pytest.fixture
def two(tmp_path: Path) -> tuple[Store, Store]:
    """Two machines that have computed one recipe, with different results, each cut into many files by its export."""
    made = Store(tmp_path / "a"), Store(tmp_path / "b")
    with pytest.MonkeyPatch.context() as patch:
        for store, byte in zip(made, (b"a", b"b"), strict=True):
            patch.setattr(Weights, "execute", classmethod(lambda _, job, byte=byte: _write_weights(job, byte)))
            compute(store, Weights(label="w"))
    return made


def _write_weights(job, byte: bytes) -> dict[str, int]:
    (job.out / "model.safetensors").write_bytes(byte * 2**18)
    (job.out / "value.json").write_text(f'"{byte.decode()}"')
    return {}


def in_order(a: list[Path], b: list[Path]) -> list[Path]:
    return [*a, *b]


def reversed_order(a: list[Path], b: list[Path]) -> list[Path]:
    return [*reversed(a), *reversed(b)]


def interleaved(a: list[Path], b: list[Path]) -> list[Path]:
    return [path for pair in zip(a, b, strict=True) for path in pair]


@pytest.mark.parametrize("order", [in_order, reversed_order, interleaved])
def test_differing_results_in_one_merge_are_both_looked_at(tmp_path: Path, monkeypatch, two, order) -> None:
    monkeypatch.setattr(transfer, "_ROOM", 2**16)
    (a, b), there = two, Store(tmp_path / "there")
    files = [export(s, tmp_path / f"out-{s.root.name}", rows_only=False) for s in two]
    assert all(len(f) > 3 for f in files)
    merged = merge(there, order(*files))
    label = a.artifact(Weights(label="w").digest).label
    assert (merged.added, merged.present, merged.differing) == ((label,), (label,), (label,))
    assert snapshot(there) in (snapshot(a), snapshot(b))
    assert not list(there.tmp.iterdir())


def test_rows_of_one_result_and_the_whole_of_another_in_one_merge(tmp_path: Path, two) -> None:
    (a, b), there = two, Store(tmp_path / "there")
    whole, rows = export(a, tmp_path / "whole", rows_only=False), export(b, tmp_path / "rows", rows_only=True)
    assert merge(there, [*whole, *rows]).differing == (a.artifact(Weights(label="w").digest).label,)
    assert snapshot(there) == snapshot(a)


def test_exports_in_one_folder_are_told_apart_by_their_records(tmp_path: Path, two) -> None:
    there, here = Store(tmp_path / "there"), tmp_path / "here"
    here.mkdir()
    files = [export(s, tmp_path / f"out-{s.root.name}", rows_only=False)[0].rename(here / s.root.name) for s in two]
    assert len(merge(there, files).differing) == 1
    assert snapshot(there) == snapshot(two[0])


def test_files_of_one_export_may_lie_in_several_folders(tmp_path: Path, monkeypatch, two) -> None:
    monkeypatch.setattr(transfer, "_ROOM", 2**16)
    there, files = Store(tmp_path / "there"), export(two[0], tmp_path / "out", rows_only=False)
    for i, path in enumerate(files):
        (tmp_path / f"moved{i}").mkdir()
        files[i] = path.rename(tmp_path / f"moved{i}" / path.name)
    merge(there, files)
    assert snapshot(there) == snapshot(two[0])


def test_rows_and_whole_of_one_result_are_one_artifact(tmp_path: Path, source: Store) -> None:
    there = Store(tmp_path / "there")
    both = [f for rows in (True, False) for f in export(source, tmp_path / f"out-{rows}", rows_only=rows)]
    merged = merge(there, both)
    assert (len(merged.added), merged.completed, merged.present) == (4, (), ())
    assert snapshot(there) == snapshot(source)


def forged(path: Path, name: str, data: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "number/n-1/payload/../../../../evil", "number/../payload/x", "number/n/other.json", "x"],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="which no export writes"):
        merge(store, [forged(tmp_path / "forged.tar.gz", name)])
    assert not list(tmp_path.rglob("evil"))


def test_damage_is_refused(tmp_path: Path, source: Store) -> None:
    there = Store(tmp_path / "there")
    number = source.artifact(Number(seed=1).digest)
    (good,) = export(source, tmp_path / "out", artifacts=[number], rows_only=False)
    swapped = forged(tmp_path / "swapped.tar.gz", f"{number.label}/payload/value.json", b"1000")
    with pytest.raises(StoreError, match=r"value\.json is damaged"):
        merge(there, [good, swapped])
    record = (number.folder / "record.json").read_bytes().replace(b'"seed": 1', b'"seed": 4', 1)
    with pytest.raises(StoreError, match=r"record of .* is damaged"):
        merge(there, [good, forged(tmp_path / "record.tar.gz", f"{number.label}/record.json", record)])
    (tmp_path / "short.tar.gz").write_bytes(good.read_bytes()[:100])
    with pytest.raises(StoreError, match="cannot be read"):
        merge(there, [tmp_path / "short.tar.gz"])
    assert list(there.all()) == []
