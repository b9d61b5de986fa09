"""The report of a study: one HTML file that opens without a network, with figures and tables as files beside it.

Lays out what `methods` computed and what a study hands over as `content`. Knows no store and fetches nothing.
Invariant: the page holds no reference to another address and runs no script but its own, whose hash its content policy
names; no text of a model reaches the page unescaped.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from offmodel.analysis import charts, exports, figures
from offmodel.analysis.answers import changed_words, marked_opening
from offmodel.analysis.cautions import cautions_of
from offmodel.analysis.content import Content, PairReading, PlainTable
from offmodel.analysis.drawing import COLOURS, Style, interval_bar, swatch
from offmodel.analysis.exports import write_tables
from offmodel.analysis.figures import write_figures
from offmodel.analysis.methods import Analysis
from offmodel.analysis.pagedata import LONGEST, cut, page_data
from offmodel.analysis.points import pick_of
from offmodel.analysis.pointtable import Row, point_rows
from offmodel.analysis.table import TableRow, cells_of, footnotes, markdown_table, short, with_interval
from offmodel.analysis.verdicts import WORDS, Comparison, Findings, counted, findings_of, in_short
from offmodel.analysis.views import Views, views_of
from offmodel.core.scores import proportion

FILES = ("report.html", "table.md", *figures.FILES, *exports.FILES)
"""Names of all that a report may consist of."""
_FOLDER = "page"
_COLUMNS = {
    "method": "method",
    "pair": "pair",
    "setting": "setting",
    "step": "step",
    "b": "bad left, b",
    "c": "kept, c",
    "capability": "capability",
    "triggered": "triggered",
    "clean": "clean",
    "near_miss": "near miss",
}
_RATES = {"c": "kept", "truncated": "cut off"}


def write_report(folder: Path, *, analysis: Analysis | None, content: Content) -> Path:
    """Write `report.html`, and with an analysis `table.md`, the figures and the tables, into a folder.

    Args:
        folder: made if it is not there; an earlier report's files are removed, so that none outlives its page.
        analysis: the numbers; None if nothing relative can be said, so that only plain rates are shown.
        content: all else that is shown.

    Returns:
        The path of `report.html`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    findings = findings_of(analysis) if analysis is not None else None
    if analysis is not None and findings is not None:
        write_figures(folder, analysis, content.follows)
        write_tables(folder, analysis, content, findings)
        (folder / "table.md").write_text(markdown_table(findings.rows), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(_page(analysis, findings, content), encoding="utf-8")
    return path


def _page(analysis: Analysis | None, findings: Findings | None, content: Content) -> str:
    script = _file("report.js")
    common = {
        "content": content,
        "script": _markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "css": _markup(_file("report.css")),
        "tables": content.tables,
        "unmatched": _unmatched(content),
        "short": short,
    }
    values = _numbers(analysis, findings, content) if analysis and findings else _no_numbers(content)
    return _environment().get_template("report.html.j2").render(**common, **values)


def styles_of(analysis: Analysis) -> dict[str, Style]:
    """Colour and shape by method; from the tenth method on colours come again, with other shapes."""
    return {m: Style(colour=k, shape=k + 4 * (k // COLOURS)) for k, m in enumerate(analysis.methods)}


def _numbers(analysis: Analysis, findings: Findings, content: Content) -> dict[str, Any]:
    views, styles, rows = views_of(analysis, content.follows), styles_of(analysis), findings.rows
    data, longest = page_data(views, content)
    return {
        "numbers": True,
        "findings": in_short(findings),
        "cautions": [*content.cautions, *cautions_of(analysis, content.points)],
        "legend": _legend(analysis, styles),
        "charts": _charts(analysis, views, content, styles),
        "pairs": views.pairs,
        "few": " few" if len(views.pairs) <= 2 else "",
        "controls": [m for m in analysis.methods if any(c.control for c in analysis.of_method(m))],
        "overview": _overview(rows, styles),
        "method_table": _method_table(rows),
        "notes": footnotes(rows),
        "comparisons": [_comparison_view(m, found, styles) for m, found in findings.comparisons.items()],
        "point_rows": _point_rows(analysis, views, styles),
        "examples": _examples(analysis, content),
        "data": _markup(data),
        "cut_at": longest if longest < LONGEST[0] else 0,
        "picked": any(cell.blind for cell in analysis.cells.values()),
    }


def _no_numbers(content: Content) -> dict[str, Any]:
    return {"numbers": False, "findings": [], "cautions": content.cautions, "data": _markup("{}")}


def _charts(analysis: Analysis, views: Views, content: Content, styles: Mapping[str, Style]) -> dict[str, Any]:
    many = len(views.pairs) > 1
    main = charts.mean_plane(views, styles) if many else charts.pair_plane(views, views.pairs[0], styles, large=True)
    top = charts.highest_loss(content.losses)
    losses = {m: [c for c in content.losses if c.method == m] for m in views.methods}
    return {
        "main": _markup(main),
        "planes": [_markup(charts.pair_plane(views, p, styles, large=False)) for p in views.pairs] if many else [],
        "kept": [_markup(charts.steps_panel(views, p, "c", styles)) for p in views.pairs],
        "left": [_markup(charts.steps_panel(views, p, "b", styles)) for p in views.pairs],
        "difficulty": [
            (pair, _markup(charts.difficulty_panel(pair, reading, _picked_difficulty(analysis, content, pair), styles)))
            for pair, reading in content.pairs.items()
            if pair in views.pairs and len(reading.organism.difficulty) > 1
        ],
        "losses": [(m, _markup(charts.losses_panel(m, cs, top, styles[m]))) for m, cs in losses.items() if cs],
    }


def _picked_difficulty(analysis: Analysis, content: Content, pair: str) -> dict[str, Mapping[int, Any]]:
    from offmodel.analysis.exports import difficulty_at_pick

    return {
        m: found
        for m in analysis.methods
        if (m, pair) in analysis.cells and (found := difficulty_at_pick(analysis.cells[m, pair], content))
    }


def _legend(analysis: Analysis, styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    return [
        {
            "id": k,
            "method": m,
            "swatch": _markup(swatch(styles[m])),
            "tag": "oracle" if cell.oracle else "control" if cell.control else "",
        }
        for k, m in enumerate(analysis.methods)
        for cell in analysis.of_method(m)[:1]
    ]


def _overview(rows: Sequence[TableRow], styles: Mapping[str, Style]) -> list[dict[str, Any]]:
    """A line a method over all its pairs, best first, with its bar."""
    last = {r.method: r for r in rows}  # the row over all pairs stands last, or is the only one
    scores = [r.score or r.area for r in last.values()]
    span = (min(0.3, *(s.low for s in scores)) - 0.02, max(0.7, *(s.high for s in scores)) + 0.02)
    order = sorted(last.values(), key=lambda r: (r.rank is None, r.rank or 0))
    found: list[dict[str, Any]] = []
    for row in order:
        score = row.score or row.area
        own = [r for r in rows if r.method == row.method and r is not row]
        units = [s.value for r in own if (s := r.score if row.score else r.area)]
        bar = interval_bar(score.value, score.low, score.high, span, styles[row.method], units, 0.5)
        found.append(
            {
                "swatch": _markup(swatch(styles[row.method])),
                "bar": _markup(bar),
                "whole": f"{short(score.value)} [{short(score.low)}, {short(score.high)}]",
                "what": "blind score" if row.score else "area",
                "covers": score.covers,
                "cells": cells_of(row),
            }
        )
    return found


def _comparison_view(measure: str, found: Sequence[Comparison], styles: Mapping[str, Style]) -> dict[str, Any]:
    if not found:
        return {"measure": measure, "rows": []}
    ends = [0.05, *(abs(v) for c in found for v in (c.low, c.high, *c.units))]
    span = (-max(0.02, *(-c.low for c in found), *(-u for c in found for u in c.units)) * 1.05, max(ends) * 1.05)
    rows = [
        {
            "better": c.better,
            "worse": c.worse,
            "text": c.text,
            "verdict": c.verdict,
            "words": WORDS[c.verdict],
            "bar": _markup(interval_bar(c.value, c.low, c.high, span, styles[c.better], c.units, 0)),
        }
        for c in found
    ]
    return {"measure": measure, "rows": rows, "counted": counted(found), "covers": found[0].covers}


def _examples(analysis: Analysis, content: Content) -> list[dict[str, Any]]:
    """One prompt a pair and measure, answered by student, organism and each method's picked checkpoint."""
    found: list[dict[str, Any]] = []
    for pair, reading in content.pairs.items():
        if pair not in analysis.pairs:
            continue
        for measure, words in content.measures.items():
            key = next((k for k in reading.prompts if k[0] == measure), None)
            if key is not None:
                columns = _columns(analysis, content, pair, reading, key)
                prompt = cut(reading.prompts[key], LONGEST[0])
                found.append({"pair": pair, "measure": words, "prompt": prompt, "columns": columns})
    return found


def _columns(
    analysis: Analysis, content: Content, pair: str, reading: PairReading, key: tuple[str, str]
) -> list[dict[str, Any]]:
    organism = reading.organism.answers[key]
    columns: list[dict[str, Any]] = []
    who = [("unplanted student", "", reading.student), ("untreated organism", "", reading.organism)]
    for method in analysis.methods:
        cell = analysis.cells.get((method, pair))
        record = cell.reported[0] if cell else None
        if record and (found := content.points.get(pick_of(record))):
            who.append((method, f"{record.setting}, step {record.step}", found))
    for name, what, one in who:
        answer, profile = one.answers.get(key), one.profiles.get(key[0])
        if answer is None or profile is None:
            continue
        treated = one is not reading.student and one is not reading.organism
        text = cut(answer.text, LONGEST[0])
        come, gone = changed_words(reading.organism.profiles[key[0]], profile) if treated else ([], [])
        columns.append(
            {
                "who": name,
                "what": what,
                "pieces": marked_opening(text, organism.text) if treated else [(False, text)],
                "answer": answer,
                "profile": profile,
                "come": come,
                "gone": gone,
            }
        )
    return columns


def _method_table(rows: Sequence[TableRow]) -> PlainTable:
    texts = [cells_of(r) for r in rows]
    names = [n for n in dict.fromkeys(n for t in texts for n in t) if any(t[n] for t in texts)]
    return PlainTable(title="Methods by pair", columns=names, rows=[[t[n] for n in names] for t in texts])


def _point_rows(analysis: Analysis, views: Views, styles: Mapping[str, Style]) -> dict[str, Any]:
    rows = [r for r in point_rows(analysis.records, list(analysis.baselines.values())) if r.get("seed") == "all"]
    by_key = {(r["pair"], r["method"], r["setting"], r["step"]): r for r in rows}
    columns = {k: v for k, v in _COLUMNS.items() if any(k in r for r in rows)}
    for name in dict.fromkeys(name for r in rows for name in r):
        if found := re.fullmatch(r"(c|score|style|coherent|truncated)/(\w+)", name):
            columns[name] = f"{_RATES.get(found[1], found[1])}, {found[2]}"
    return {
        "columns": list(columns.values()),
        "rows": [
            (p.id, bool(p.picks), [_text(by_key[p.pair, p.method, p.setting, p.step], k) for k in columns])
            for p in views.points
        ],
    }


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, float):
        return "" if value is None else str(value)
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if isinstance(low, float) and isinstance(high, float):
        return f"{short(value)} [{short(low)}, {short(high)}]"
    return short(value)


def _unmatched(content: Content) -> PlainTable | None:
    if not content.unmatched:
        return None
    rows = [
        [r.pair, r.method, r.setting, str(r.step), str(r.seed), *(_mean(getattr(r.scores, m)) for m in _PLAIN)]
        for r in content.unmatched
    ]
    return PlainTable(
        title="Plain rates",
        columns=("pair", "method", "setting", "step", "seed", *_PLAIN),
        rows=rows,
        note="Measured points of pairs that cannot be compared with an untreated organism: nothing relative is given.",
    )


_PLAIN = ("capability", "triggered", "clean")


def _mean(scores: Mapping[str, float]) -> str:

    return with_interval(proportion(sum(scores.values()), len(scores))) if scores else ""


def _environment():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("offmodel.analysis", _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _file(name: str) -> str:
    return resources.files("offmodel.analysis").joinpath(_FOLDER, name).read_text(encoding="utf-8")


def _markup(text: str):
    """Text of our own making, in which what others wrote was escaped when it was made."""
    from markupsafe import Markup

    return Markup(text)
