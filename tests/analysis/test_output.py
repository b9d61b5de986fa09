"""What is written: the table of points, the figures, the report; and that none of it needs torch."""

import base64
import csv
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from offmodel.analysis import pagedata
from offmodel.analysis.answers import Answer, profile
from offmodel.analysis.content import Caution, Content, LossCurve, PairReading, PlainTable, Reading, StudyFacts
from offmodel.analysis.drawing import COLOURS, SHAPES
from offmodel.analysis.methods import Analysis, analyse
from offmodel.analysis.points import PairBaseline, PointRecord, Tally, pick_of
from offmodel.analysis.pointtable import ORGANISM, STUDENT, point_rows, read_csv, write_csv
from offmodel.analysis.report import styles_of, write_report
from offmodel.analysis.simulate import Design, Truth, draw_study
from offmodel.analysis.views import views_of
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


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
KEYS = [(m, f"{m}-1") for m in ("clean", "triggered", "capability")]


def reading(text: str, **more) -> Reading:
    row = {"text": text, "score": 1.0, "style": 0.0, "coherent": 1.0, "finish": "stop", "tokens": 9}
    answers = {k: Answer(text=text, score=1.0, style=0.0, cut=False, tokens=9) for k in KEYS}
    levels = {1: Tally(30, 40), 2: Tally(10, 40)}
    return Reading(answers=answers, profiles={m: profile([row]) for m, _ in KEYS}, difficulty=levels, **more)


def content_of(analysis: Analysis) -> Content:
    return Content(
        study=StudyFacts(name="A <study>", question="Does it work?", prediction="", facts={"student": "s & t"}),
        cautions=[Caution("serious", "It is <small>.")],
        points={pick_of(r): reading(EVIL, recipe={"training: sft": "5 < 6 steps"}, log="l") for r in analysis.records},
        pairs={
            p: PairReading(
                prompts=dict.fromkeys(KEYS, "<b>?"), student=reading("fine"), organism=reading("I <hate> you")
            )
            for p in analysis.pairs
        },
        measures={"clean": "Without", "triggered": "With", "capability": "Capability"},
        losses=[
            LossCurve(method=m, pair="pair01", setting="s", seed=0, start=0, losses=[(k, 1 / k) for k in range(1, 400)])
            for m in analysis.methods
        ],
        tables=[PlainTable(title="Audit", columns=["labels"], rows=[["<none>"]])],
        follows={"sft+reminder": "sft"},
        commands=[("logs", "inspect view")],
    )


@pytest.fixture(scope="module")
def folder(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, analysis=analysis, content=content_of(analysis))
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
    assert page.count("<script") == 2  # the data and the page's own script
    assert "<img" not in page
    assert "A &lt;study&gt;" in page
    parser = _Checker()
    parser.feed(page)
    assert parser.open == []
    assert parser.addresses == []
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.targets <= set(parser.ids)
    assert len(page) < 6e6


def test_no_two_of_thirty_methods_are_drawn_alike(analysis: Analysis):
    styles = styles_of(replace(analysis, methods=tuple(f"method {k}" for k in range(30))))
    assert len({(s.colour % COLOURS, s.shape % len(SHAPES)) for s in styles.values() if s.colour is not None}) == 30


# Machado, Oliveira and Fernandes (2009), full deuteranopia and protanopia, on linear sRGB.
BLIND = (
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
)
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def test_colours_of_methods_differ_for_colour_blind_eyes():
    css = resources.files("offmodel.analysis").joinpath("page", "report.css").read_text(encoding="utf-8")
    colours = re.findall(r"--m\d: #([0-9a-f]{6})", css)
    themes = [colours[k : k + COLOURS] for k in range(0, len(colours), COLOURS)]
    assert len(themes) == 3
    for theme in themes:
        for matrix in BLIND:
            seen = [_lab(np.array(matrix) @ _linear(colour)) for colour in theme]
            apart = [float(np.linalg.norm(x - y)) for x, y in combinations(seen, 2)]
            assert min(apart) > 9, theme


def _linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB, in which a distance of about 2 is just seen."""
    x, y, z = np.array(XYZ) @ np.clip(linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    f, g, h = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * g - 16, 500 * (f - g), 200 * (g - h)])


def test_the_page_allows_its_own_script_only(folder: Path):
    page = (folder / "report.html").read_text()
    allowed = re.search(r"script-src 'sha256-([^']+)'", page)
    assert allowed
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed[1]
    assert "default-src 'none'" in page


def test_the_data_give_back_every_text_and_hold_no_markup(folder: Path, analysis: Analysis):
    page = (folder / "report.html").read_text()
    raw = page[page.index('id="data">') + len('id="data">') :].split("</script>")[0]
    assert "<" not in raw
    data = json.loads(raw)
    assert len(data["points"]) == len({pick_of(r)[:2] + pick_of(r)[3:] for r in analysis.records})
    pieces, *_ = data["points"][0]["seeds"][0]["answers"][0]
    assert "".join(text for _, text in pieces) == EVIL
    for mean in data["means"]:
        members = [data["points"][i] for i in mean["points"]]
        assert {m["method"] for m in members} == {mean["method"]}
        assert {m["pair"] for m in members} == {"pair00", "pair01"}


def test_long_answers_are_cut_until_the_page_is_small(analysis: Analysis, monkeypatch: pytest.MonkeyPatch):
    views = views_of(analysis, {})
    content = content_of(analysis)
    long = replace(content, points={k: reading("word " * 500) for k in content.points})
    assert pagedata.page_data(views, long)[1] == pagedata.LONGEST[0]
    monkeypatch.setattr(pagedata, "MOST_BYTES", 60_000)
    text, longest = pagedata.page_data(views, long)
    assert longest < pagedata.LONGEST[0]
    assert "characters more in the log" in text or longest == 0


def test_tables_hold_what_the_charts_show(folder: Path, analysis: Analysis):
    rows = read_rows_of(folder / "differences.csv")
    assert {r["measure"] for r in rows} == {"blind score", "area"}
    assert all(float(r["difference"]) >= 0 for r in rows)
    assert {r["difficulty"] for r in read_rows_of(folder / "difficulty.csv")} == {"1", "2"}
    assert len(read_rows_of(folder / "losses.csv")) == 2 * 399
    assert {r["method"] for r in read_rows_of(folder / "methods.csv")} == set(analysis.methods)


def test_parquet_holds_the_points(folder: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    table = parquet.read_table(folder / "points.parquet").to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in table] == [
        {k: str(v) if k == "seed" else v for k, v in row.items()} for row in read_csv(folder / "points.csv")
    ]


def read_rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_study_gives_the_same_files(folder: Path, analysis: Analysis, tmp_path: Path):
    write_report(tmp_path, analysis=analysis, content=content_of(analysis))
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_without_numbers_the_page_says_why(tmp_path: Path, analysis: Analysis):
    content = Content(
        study=StudyFacts(name="n", question="q", prediction="", facts={}, missing="3 points are missing."),
        cautions=[Caution("serious", "Pair p has no untreated organism.")],
        unmatched=analysis.records[:2],
    )
    page = write_report(tmp_path, analysis=None, content=content).read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert "no untreated organism" in page
    assert "3 points are missing." in page
    assert "Plain rates" in page


def test_a_report_needs_neither_torch_nor_inspect(tmp_path: Path):
    code = f"""
import sys
from pathlib import Path
import numpy as np
import offmodel.analysis.table, offmodel.analysis.report, offmodel.analysis.figures
light = {{"torch", "transformers", "inspect_ai", "matplotlib", "scipy", "rich", "jinja2"}} & set(sys.modules)
assert not light, light
from offmodel.analysis import content, methods, report, simulate
design = simulate.Design(
    pairs=1, seeds=1, n_capability=40, n_triggered=40, accuracy=0.8, planted=0.95, agreement=0.5)
truth = simulate.Truth(left=(0.5,), kept=(0.9,))
records, baselines = simulate.draw_study(np.random.default_rng(0), design, {{"m": truth}})
told = content.Content(study=content.StudyFacts(name="n", question="q", prediction="", facts={{}}))
report.write_report(Path({str(tmp_path)!r}), analysis=methods.analyse(records, baselines), content=told)
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
