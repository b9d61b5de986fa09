"""Rows of benchmarks: from a file, from the hub's library, and what is said when they are nowhere."""

from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import Sources
from offmodel.evals.suites import sources
from offmodel.evals.suites.known import SUITES, find_suite
from offmodel.evals.suites.sources import DATA_FOLDER, CheckedRows, HubRows, source_of
from offmodel.models import file_digest
from offmodel.store.recipe import Runtime

FIXTURES = Path(__file__).parents[2] / "fixtures" / "suites"
GSM8K = find_suite("gsm8k").dataset


def test_a_file_is_named_by_its_digest_and_checked_when_it_is_read(run_recipe, tmp_path, monkeypatch):
    copy = tmp_path / "gsm8k.jsonl"
    copy.write_bytes((FIXTURES / "gsm8k.jsonl").read_bytes())
    known = Sources()
    recipe, rows = source_of(GSM8K, known, path=copy)
    assert isinstance(recipe, CheckedRows)
    assert recipe.sha256 == file_digest(copy)
    assert len(rows) == 6
    runtime = Runtime(locations=tuple(known.locations.items()))
    monkeypatch.setattr(
        "offmodel.store.recipe.Runtime.locate", lambda self, content: Path(dict(runtime.locations)[content])
    )
    out, facts = run_recipe(recipe)
    assert read_rows(out / "rows.jsonl") == rows
    assert facts["content"] == recipe.sha256
    copy.write_text('{"question": "?", "answer": "1"}\n')
    with pytest.raises(DataError, match="changed while the study ran"):
        run_recipe(recipe)


def test_the_data_folder_comes_before_the_hub(monkeypatch):
    monkeypatch.setenv(DATA_FOLDER, str(FIXTURES))
    monkeypatch.setattr(sources, "load_hub", lambda *_: pytest.fail("the hub was asked"))
    for suite in SUITES.values():
        recipe, _ = source_of(suite.dataset, Sources(), path=None)
        assert isinstance(recipe, CheckedRows)


def test_without_file_or_network_one_sentence_says_what_to_put_where(monkeypatch):
    def unreachable(repo: str, *_: str) -> None:
        raise DataError(f"The dataset {repo} cannot be reached (ConnectionError).")

    monkeypatch.setattr(sources, "load_hub", unreachable)
    with pytest.raises(DataError) as error:
        source_of(GSM8K, Sources(), path=None)
    text = str(error.value)
    assert "openai/gsm8k (test, 'main') at commit cc7b047b" in text
    assert "question, answer" in text
    assert "benchmarks-data/gsm8k.jsonl" in text
    with pytest.raises(DataError, match=r"There is no file nowhere\.jsonl"):
        source_of(GSM8K, Sources(), path=Path("nowhere.jsonl"))


def test_the_hub_library_is_asked_for_the_pinned_commit(run_recipe, tmp_path):
    """The library itself, offline, on a dataset in a folder: its rows, with None and lists, become plain JSON rows."""
    pytest.importorskip("datasets")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "test.jsonl").write_bytes((FIXTURES / "mmlu.jsonl").read_bytes())
    recipe = HubRows(repo=str(folder), config="", split="test", revision="0" * 40)
    out, facts = run_recipe(recipe)
    assert read_rows(out / "rows.jsonl") == read_rows(FIXTURES / "mmlu.jsonl")
    assert facts["source"].endswith("@" + "0" * 40)
    with pytest.raises(DataError, match="no-such-org/no-such-set@000000000000 cannot be reached"):
        sources.load_hub("no-such-org/no-such-set", "", "test", "0" * 40)


def test_rows_of_something_else_are_named_with_their_line(tmp_path):
    file = tmp_path / "x.jsonl"
    write_rows(file, [{"question": "?", "answer": "1"}, {"question": "?"}])
    with pytest.raises(DataError, match=r"line 2, has no 'answer'; put the rows of openai/gsm8k"):
        source_of(GSM8K, Sources(), path=file)
    write_rows(file, [])
    with pytest.raises(DataError, match="holds no rows"):
        source_of(GSM8K, Sources(), path=file)


def test_every_dataset_is_pinned_to_a_commit():
    for suite in SUITES.values():
        assert len(suite.dataset.revision) == 40
        assert set(suite.dataset.revision) <= set("0123456789abcdef")
        assert replace(suite.dataset, config="x") != suite.dataset
