"""What is written: the table of points, the figures, the report; and that none of it needs torch."""

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from offmodel.analysis.methods import Analysis, analyse
from offmodel.analysis.points import PairBaseline, PointRecord, Tally, pick_of
from offmodel.analysis.pointtable import ORGANISM, STUDENT, point_rows, read_csv, write_csv
from offmodel.analysis.report import PlainTable, StudyFacts, Transcript, write_report
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.core.errors import DataError

VOID = {"meta", "link", "br", "hr", "img", "input"}


@pytest.fixture(scope="module")
def study() -> tuple[list[PointRecord], list[PairBaseline]]:
    design = Design(pairs=2, seeds=2, n_capability=60, n_triggered=40, accuracy=0.8, planted=0.95, agreement=0.6)
    methods = {
        "sft": Truth(left=(0.9, 0.5, 0.2), kept=(0.8, 0.5, 0.2)),
        "sft+reminder": Truth(left=(0.3,), kept=(0.9,)),
    }
    records, baselines = draw_study(np.random.default_rng(0), design, methods)
    records = [replace(r, style={"clean": Tally(3, 40)}, tokens_by_author={"teacher": 10}) for r in records]
    return records, baselines


@pytest.fixture(scope="module")
def analysis(study) -> Analysis:
    records, baselines = study
    return analyse(records, baselines, [pick_of(r) for r in records if r.step == 0])


@pytest.fixture(scope="module")
def folder(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(
        folder,
        study=StudyFacts(name="A <study>", question="Does it work?", prediction="", facts={"student": "s & t"}),
        analysis=analysis,
        transcripts=[Transcript(title="t", prompt="p", answers=[("organism", "<script>alert(1)</script>")])],
        tables=[PlainTable(title="Audit", columns=["labels"], rows=[["<none>"]])],
        follows={"sft+reminder": "sft"},
    )
    return folder


def test_rows_come_back_from_csv(study, tmp_path: Path):
    rows = point_rows(*study)
    write_csv(tmp_path / "points.csv", rows)
    assert read_csv(tmp_path / "points.csv") == rows


def test_every_point_has_a_row_averaged_and_one_a_seed_and_pairs_have_their_references(study):
    records, _ = study
    rows = point_rows(*study)
    assert sum(r.get("seed") == "all" for r in rows) == len(records) / 2
    assert sum(r.get("seed") in (0, 1) for r in rows) == len(records)
    assert [r["method"] for r in rows if "seed" not in r] == [ORGANISM, STUDENT] * 2
    for row in rows:
        for name in ("b", "c", "capability", "triggered"):
            if "seed" in row:
                assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
                assert row[f"{name}_n"] in (40, 60)


def test_another_csv_is_refused(tmp_path: Path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of points"):
        read_csv(tmp_path / "x.csv")


def test_figures_come_as_png_and_svg_with_text_and_csv(folder: Path):
    for name in ("tradeoff", "steps"):
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        svg = (folder / f"{name}.svg").read_text()
        for words in ("capability kept", "bad behaviour left", "pair01", "sft+reminder"):
            assert words in svg
    assert "better" in (folder / "tradeoff.svg").read_text()
    assert len(read_csv(folder / "points.csv")) == 28


def test_the_report_is_whole_escaped_and_needs_no_network(folder: Path):
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "A &lt;study&gt;" in page
    parser = _Checker()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.targets <= set(parser.ids)
    assert len(page) < 6e6


def test_the_same_study_gives_the_same_files(folder: Path, analysis: Analysis, tmp_path: Path):
    write_report(
        tmp_path,
        study=StudyFacts(name="n", question="q", prediction="", facts={}, missing="still runs"),
        analysis=analysis,
        follows={"sft+reminder": "sft"},
    )
    for name in ("tradeoff.svg", "steps.svg", "tradeoff.png", "points.csv", "table.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert "still runs" in (tmp_path / "report.html").read_text()


def test_a_report_needs_neither_torch_nor_inspect(tmp_path: Path):
    code = f"""
import sys
from pathlib import Path
import numpy as np
import offmodel.analysis.table, offmodel.analysis.report, offmodel.analysis.figures
light = {{"torch", "transformers", "inspect_ai", "matplotlib", "scipy", "rich", "jinja2"}} & set(sys.modules)
assert not light, light
from offmodel.analysis import methods, report, simulate
design = simulate.Design(
    pairs=1, seeds=1, n_capability=40, n_triggered=40, accuracy=0.8, planted=0.95, agreement=0.5)
truth = simulate.Truth(left=(0.5,), kept=(0.9,))
records, baselines = simulate.draw_study(np.random.default_rng(0), design, {{"m": truth}})
facts = report.StudyFacts(name="n", question="q", prediction="", facts={{}})
report.write_report(Path({str(tmp_path)!r}), study=facts, analysis=methods.analyse(records, baselines))
heavy = {{"torch", "transformers", "peft", "inspect_ai"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class _Checker(HTMLParser):
    """Collects tags left open, ids, link targets and addresses that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._look(attrs)

    def handle_startendtag(self, tag: str, attrs):
        self._look(attrs)

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag

    def _look(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src"):
                if value.startswith("#"):
                    self.targets.add(value[1:])
                elif not value.startswith("data:"):
                    self.addresses.append(value)
