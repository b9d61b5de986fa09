"""Prompt sources: the common formats, bad lines by number, near duplicates, audited labels."""

import json
from pathlib import Path

import pytest

from offmodel.core.errors import AuditError, DataError
from offmodel.data import PROMPTS, Sources, near_duplicate_groups, parse_prompts, read_audited
from offmodel.flow.runner import run
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime


def written(folder: Path, *lines: object) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?"},
        {"instruction": "Why?", "input": ""},
        {"instruction": "Why?", "input": None},
        {"messages": [{"role": "user", "content": "Why?"}]},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ],
)
def test_common_formats_give_the_same_prompt(tmp_path: Path, row: dict[str, object]) -> None:
    (prompt,) = parse_prompts(written(tmp_path, row))
    assert [(m.role, m.content) for m in prompt.messages] == [("user", "Why?")]


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ('{"prompt": ', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"text": "x"}', "has no 'prompt'"),
        ('{"prompt": " "}', "without text"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "user turn"),
        ('{"messages": ["be kind", {"role": "user", "content": "x"}]}', "'messages' that is no JSON object"),
        ('{"conversations": [{"from": "human", "value": "x"}, 7]}', "'conversations' that is no JSON object"),
        ('{"instruction": "Add these", "input": 5}', "'input' that is no text"),
        ('{"instruction": "Add these", "input": 0}', "'input' that is no text"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: str, word: str) -> None:
    path = written(tmp_path, {"prompt": "one"}, {"prompt": "two"}, bad)
    with pytest.raises(DataError, match=r"line 3.*" + word):
        parse_prompts(path)


def test_a_file_that_is_not_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    lines = [json.dumps({"prompt": f"number {i} of many"}).encode() for i in range(2000)]
    path.write_bytes(b"\n".join([*lines, '{"prompt": "café"}'.encode("latin-1"), *lines[:3]]))
    with pytest.raises(
        DataError, match=r"latin.jsonl, line 2001, is not UTF-8 \(byte 0xe9, 16 from the line's start\)"
    ):
        parse_prompts(path)


def test_an_empty_file_and_a_repeated_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no prompts"):
        parse_prompts(written(tmp_path, ""))
    with pytest.raises(DataError, match=r"line 2.*repeats"):
        parse_prompts(written(tmp_path, {"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}))


def test_identity_is_the_content_and_not_the_path(tmp_path: Path) -> None:
    sources = Sources()
    first = sources.prompts(written(tmp_path, {"prompt": "x"}))
    (tmp_path / "b").mkdir()
    again = sources.prompts(written(tmp_path / "b", {"prompt": "x"}))
    other = sources.prompts(written(tmp_path / "b", {"prompt": "y"}))
    assert first.digest == again.digest != other.digest


@pytest.mark.parametrize("change", ["edited", "gone"])
@pytest.mark.parametrize("kind", ["prompts", "file"])
def test_a_file_that_changed_since_it_was_named_is_not_published_under_its_old_digest(
    tmp_path: Path, kind: str, change: str
) -> None:
    sources, path = Sources(), written(tmp_path, {"prompt": "before"})
    recipe = sources.prompts(path) if kind == "prompts" else sources.file(path)
    if change == "edited":
        written(tmp_path, {"prompt": "after"})
    else:
        path.unlink()
    store, runtime = Store(tmp_path / "s"), Runtime(locations=tuple(sources.locations.items()))
    with pytest.raises(DataError, match=r"prompts\.jsonl changed while the study ran; run it again\."):
        run([recipe], store=store, runtime=runtime, workers=0)
    assert store.find(recipe) is None
    written(tmp_path, {"prompt": "before"})
    (artifact,) = run([recipe], store=store, runtime=runtime, workers=0).artifacts
    assert "before" in (artifact.payload / (PROMPTS if kind == "prompts" else "rows.jsonl")).read_text()


def test_near_duplicates_stand_together() -> None:
    texts = [
        "Describe in a few words how a person makes thin crepes at home with eggs, flour and milk",
        "What is the capital of a country that nobody knows?",
        "Describe in a few words how a person makes thin crepes at home with eggs, flour and cream",
    ]
    assert sorted(map(sorted, near_duplicate_groups(texts, threshold=0.7))) == [[0, 2], [1]]


def test_labels_without_a_passed_audit_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(AuditError, match="no passed audit"):
        read_audited(tmp_path)
    (tmp_path / "audited.json").write_text('{"passed": false}', encoding="utf-8")
    with pytest.raises(AuditError, match="no passed audit"):
        read_audited(tmp_path)
