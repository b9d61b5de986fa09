"""What `run`, `plan` and `report` do before and around the computing: slices, folders, and words as they are."""

from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.cli.running import sliced
from offmodel.core.errors import RunError
from offmodel.store.artifacts import Store
from offmodel.studies.catalogue import load_study
from tests.cli.test_commands import STUDY, offmodel, refused


def test_a_slice_takes_any_value_of_a_field_and_no_relapse_for_a_step_or_a_setting() -> None:
    study = load_study("relapse")
    cell = study.cells[0]
    alike = replace(study.relapses[0], step=cell.step)  # as many steps, but of another training
    study = replace(study, relapses=(*study.relapses, alike))
    scores = {p.arm.scores.digest for p in study.relapses}

    def cut(*only: str) -> set[str]:
        return {r.digest for r in sliced(study, only)}

    for field in ("setting", "step"):
        assert not cut(f"{field}={getattr(cell, field)}") & scores
    step = next(str(c.step) for c in study.cells if c.step != cell.step)
    assert cut(f"step={cell.step}", f"step={step}") == cut(f"step={cell.step}") | cut(f"step={step}")
    one, two = list(dict.fromkeys(p.method for p in study.relapses if p.method))[:2]
    both = cut(f"method={one}", f"method={two}")
    assert both == cut(f"method={one}") | cut(f"method={two}")
    assert both & scores
    one, two = "treatment.sft.seed=1", "treatment.sft.seed=2"
    assert cut(one) != cut(two)
    assert cut(one, two) == cut(one) | cut(two)


def test_brackets_in_errors_cautions_and_questions_are_printed_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        error = RunError("it failed")
        for note in ("[enforce fail at alloc_cpu.cpp:117]", "[/opt/x.cc:12] :x:"):
            error.add_note(note)
        raise error

    monkeypatch.setattr("offmodel.cli.running.run", failing)
    monkeypatch.setattr("offmodel.cli.running.load_study", lambda name: replace(load_study(name), question="[/why] ?"))
    said = offmodel(
        "run", STUDY, "--store", tmp_path / "made", "--out", tmp_path / "r", "--workers", "0", "--device", "cpu"
    )
    assert said.code == 2
    assert "[enforce fail at alloc_cpu.cpp:117]" in said.err
    assert "[/opt/x.cc:12] :x:" in said.err
    assert "[/why] ?" in offmodel("plan", STUDY, "--store", tmp_path / "made").out


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Store(tmp_path / "made")
    words = ("--device", "cpu", "--workers", "0", "--store", tmp_path / "s")
    there = ("--store", tmp_path / "made")
    assert "is a file; name another one" in refused("run", STUDY, "--out", tmp_path / "file", *words)
    assert not (tmp_path / "s").exists()
    assert "is a file; name another one" in refused("report", STUDY, "--out", tmp_path / "file", *there)
    assert "cannot be made (File exists)" in refused("store", "export", tmp_path / "file", *there)
    assert "cannot be made (Not a directory)" in refused("store", "export", tmp_path / "file/x", *there)
