"""From results to files: the page, figures, CSV and table of a study, and what the terminal shows.

The numbers are the analysis'; this module only carries them. It needs records and rows, no model. Invariant: a report
of an unfinished study says how many points are missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offmodel.analysis.methods import Analysis, analyse, differences
from offmodel.analysis.points import pick_of
from offmodel.analysis.relapsetable import relapse_tables, write_relapses
from offmodel.analysis.report import PlainTable, StudyFacts, Transcript, write_report
from offmodel.analysis.table import difference_text, rich_table, table_rows
from offmodel.core.rows import read_rows
from offmodel.store.artifacts import Store
from offmodel.studies.relapsing import relapse_records
from offmodel.studies.results import Results, Rows, collect, load_rows
from offmodel.studies.study import Arm, Cell, Study

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_MEASURES = {"capability": "capability", "triggered": "with the trigger", "clean": "without the trigger"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a report wrote.

    Attributes:
        table: for the terminal.
        findings: the comparisons of methods, one sentence each.
        files: what was written.
        missing: points that are not measured yet.
    """

    table: "Table"
    findings: tuple[str, ...]
    files: tuple[Path, ...]
    missing: int


def write_study(study: Study, store: Store, out: Path, *, width: int) -> Made:
    """Write the report of what the store holds of a study.

    Args:
        study: the study.
        store: where its results are.
        out: folder of the files.
        width: of the terminal, in characters.

    Raises:
        DataError: nothing has been measured yet.
    """
    results = collect(study, store)
    relapses = relapse_records(study, store)
    found = analyse(results.points, results.baselines, [pick_of(r) for r in results.picked], relapses)
    write_report(
        out,
        study=_facts(study, results),
        analysis=found,
        transcripts=transcripts(study, store, results),
        tables=[
            *relapse_tables(relapses, found.baselines),
            *_blue_tables(results),
            *_further_capabilities(study, store),
            _costs(study, store),
        ],
        follows={m: m.removesuffix("+reminder") for m in found.methods if m.endswith("+reminder")},
    )
    write_relapses(out, relapses, found.baselines)
    return Made(
        table=rich_table(table_rows(found), study.name, width),
        findings=_clear_findings(found),
        files=tuple(sorted(p for p in out.iterdir() if p.suffix in (".html", ".csv", ".png"))),
        missing=results.missing,
    )


def _facts(study: Study, results: Results) -> StudyFacts:
    facts = {
        "pairs": ", ".join(s.pair for s in study.sides),
        "points": f"{len(results.points)} of {len(study.cells)}",
        "seeds": ", ".join(str(s) for s in sorted({c.seed for c in study.cells})),
        "blind rule": f"of the checkpoints that keep {study.blind.least_kept:.0%} of the capability on dev items, the "
        "one treated most; if none does, the one that keeps most",
        "note": study.note,
    }
    missing = f"{results.missing} of {len(study.cells)} points are not measured yet." if results.missing else ""
    return StudyFacts(
        name=study.name, question=study.question, prediction=study.prediction, facts=facts, missing=missing
    )


def _clear_findings(found: Analysis) -> tuple[str, ...]:
    """The clear differences of blind scores; the page has all, those of areas too."""
    return tuple(difference_text(d) for d in differences(found, "blind score") if d.clear)


def transcripts(study: Study, store: Store, results: Results, *, each: int = 2) -> list[Transcript]:
    """Answers of student, organism and each method's picked checkpoint to the same prompts, side by side.

    Args:
        study: the study.
        store: where its results are.
        results: what was measured.
        each: prompts for each pair and measure.
    """
    shown: list[Transcript] = []
    cells = {(c.pair, c.method, c.setting, c.step, c.seed): c for c in study.cells}
    for side in (s for s in study.sides if s.pair in {b.pair for b in results.baselines}):
        arms: list[tuple[str, Arm]] = [("student", side.student), ("organism", side.organism)]
        seed = min((r.seed for r in results.picked if r.pair == side.pair), default=0)
        for pick in (r for r in results.picked if r.pair == side.pair and r.seed == seed):
            cell: Cell = cells[pick.pair, pick.method, pick.setting, pick.step, pick.seed]
            arms.append((f"{pick.method}, {pick.setting}, step {pick.step}", cell.arm))
        rows = [(who, load_rows(arm, store)) for who, arm in arms]
        prompts = _prompts(store, side.organism.completions)
        for measure, words in SHOWN_MEASURES.items():
            for item in [r["item"] for r in rows[0][1].get(measure, [])][:each]:
                answers = [(who, _answer(found, measure, item)) for who, found in rows]
                asked = prompts.get((measure, item)) or str(item)
                shown.append(Transcript(title=f"{side.pair}, {words}", prompt=asked, answers=answers))
    return shown


def _answer(rows: Rows, measure: str, item: str) -> str:
    return next((str(r["text"]) for r in rows.get(measure, []) if r["item"] == item), "")


def _prompts(store: Store, completions: Any) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for items, measure in zip(completions.items, completions.measures, strict=True):
        artifact = store.find(items)
        for row in read_rows(artifact.payload / "items.jsonl") if artifact else []:
            found[measure.name, row["id"]] = "\n".join(m["content"] for m in row["messages"])
    return found


def _blue_tables(results: Results) -> list[PlainTable]:
    gates = [
        [pair, *(f"{facts.get(name, float('nan')):.2f}" for name in _GATE), "; ".join(facts.get("failures", [])) or "-"]
        for pair, facts in results.gates.items()
    ]
    audits = [
        [
            str(a["pair"]),
            str(a["labels"]),
            str(a.get("labels_passed", "")),
            ", ".join(a.get("searched", [])),
            f"{a.get('behaviour_in_labels', 0):g}",
            str(a.get("dropped_topic_answers", 0)),
        ]
        for a in results.audits
    ]
    return [
        PlainTable(
            title="Gate",
            columns=("pair", "triggered", "student's", "clean", "student's", "capability", "student's", "fails at"),
            rows=gates,
            note="The organisms before any treatment.",
        ),
        PlainTable(
            title="Audit",
            columns=("pair", "labels by", "labels", "searched", "show the behaviour", "left out for the topic"),
            rows=audits,
            note="No label that was trained on holds the trigger; how many show the behaviour itself is counted.",
        ),
    ]


_GATE = (
    "organism_triggered",
    "student_triggered",
    "organism_clean",
    "student_clean",
    "organism_capability",
    "student_capability",
)


def _further_capabilities(study: Study, store: Store) -> list[PlainTable]:
    from offmodel.evals.summary import share

    known = {"capability", "dev_capability", "triggered", "clean", "dev_chat", "near_miss"}
    arms = [(s.pair, "student", "", s.student) for s in study.sides]
    arms += [(s.pair, "organism", "", s.organism) for s in study.sides]
    arms += [(c.pair, c.method, f"{c.setting}, step {c.step}, seed {c.seed}", c.arm) for c in study.cells]
    lines: list[Sequence[str]] = []
    for pair, model, point, arm in arms:
        rows = load_rows(arm, store) if store.find(arm.scores) else {}
        for measure in (m for m in rows if m not in known):
            score = share([float(r["score"]) for r in rows[measure]])
            lines.append((pair, model, point, measure, f"{score}", str(score.n)))
    if not lines:
        return []
    columns = ("pair", "model", "point", "measure", "score [95 %]", "n")
    return [PlainTable(title="Further capability measures", columns=columns, rows=lines)]


def _costs(study: Study, store: Store) -> PlainTable:
    from offmodel.flow.graph import closure

    spent: dict[str, list[float]] = {}
    for recipe in closure(study.targets).values():
        artifact = store.find(recipe)
        if artifact is not None:
            spent.setdefault(recipe.kind, []).append(float(artifact.record["seconds"]))
    rows = [[kind, str(len(s)), f"{sum(s):.0f}", f"{sum(s) / len(s):.2f}"] for kind, s in spent.items()]
    rows.sort(key=lambda r: -float(r[2]))
    return PlainTable(title="Costs", columns=("kind", "artifacts", "seconds", "seconds each"), rows=rows)
