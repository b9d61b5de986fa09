"""From results to files: the page, figures and tables of a study, and what the terminal shows.

The numbers are the analysis'; this module only carries them, and says what cannot be said. It needs records and rows,
no model. Invariant: a report of an unfinished study says how many points are missing, and a pair that cannot be
measured against is named with the reason, never left out in silence; of the files with the names that it uses, none
is an earlier report's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from offmodel.analysis.content import Caution, Content, StudyFacts
from offmodel.analysis.grid import check_baseline
from offmodel.analysis.methods import analyse
from offmodel.analysis.points import PointRecord, pick_of
from offmodel.analysis.relapsetable import CSV, relapse_tables, write_relapses
from offmodel.analysis.report import FILES, write_report
from offmodel.analysis.table import rich_table, table_rows
from offmodel.analysis.verdicts import findings_of, in_short
from offmodel.core.errors import DataError, GateError
from offmodel.store.artifacts import Store
from offmodel.studies.accounts import audit_table, cost_table, further_table, gate_table, software_cautions
from offmodel.studies.costs import method_costs, write_costs
from offmodel.studies.gates import FILES as GATES
from offmodel.studies.gates import doubts
from offmodel.studies.readings import MEASURES, Readings, log_commands, loss_curves, methods_before
from offmodel.studies.relapsing import relapse_records
from offmodel.studies.results import Results, collect
from offmodel.studies.study import Study

if TYPE_CHECKING:
    from rich.table import Table

_COSTS = "costs.csv"
_FILES = (*FILES, CSV, _COSTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a report wrote.

    Attributes:
        table: for the terminal; None if nothing relative can be said yet.
        findings: what was found, in a few sentences; all comparisons are in `differences.csv` and on the page.
        cautions: serious ones, one sentence each.
        files: what was written.
        missing: points that are not measured yet.
    """

    table: "Table | None"
    findings: tuple[str, ...]
    cautions: tuple[str, ...]
    files: tuple[Path, ...]
    missing: int


def write_study(study: Study, store: Store, out: Path, *, width: int) -> Made:
    """Write the report of what the store holds of a study.

    Args:
        study: the study.
        store: where its results are.
        out: folder of the files; an earlier report's are removed from it, gates included, which others write.
        width: of the terminal, in characters.

    Raises:
        DataError: nothing has been measured yet.
    """
    readings = Readings(study, store)
    results = collect(study, store, look=readings.take)
    unsound = _unsound_pairs(results)
    points = [r for r in results.points if r.pair not in unsound]
    unmatched = [*results.unmatched, *(r for r in results.points if r.pair in unsound)]
    if not points and not unmatched:
        raise DataError(
            f"There is nothing to report yet: no treatment of '{study.name}' has been evaluated in this store; "
            f"`offmodel run {study.name}` computes it, or name the store that holds it with --store."
        )
    picks = [pick_of(r) for r in results.picked if r.pair not in unsound]
    sound = {b.pair: b for b in results.baselines if b.pair not in unsound}
    relapses = [r for r in relapse_records(study, store) if r.pair in sound]
    found = analyse(points, list(sound.values()), picks, relapses) if points else None
    serious = [*_unmeasured(unsound, results), *software_cautions(study, store)]
    serious += [Caution("serious", text) for side in study.sides for text in doubts(side)]
    costs = method_costs(results, store)
    content = Content(
        study=_facts(study, results),
        cautions=serious,
        points=readings.points(results.cells),
        pairs=readings.pairs([s for s in study.sides if s.pair not in unsound]),
        measures=MEASURES,
        losses=loss_curves(study, store),
        tables=[
            *relapse_tables(relapses, sound),
            gate_table(results),
            audit_table(results),
            *further_table(study, readings.further),
            costs,
            cost_table(study, store),
        ],
        follows=methods_before(study),
        commands=log_commands(store),
        unmatched=unmatched,
    )
    for name in (*_FILES, *GATES):
        (out / name).unlink(missing_ok=True)
    write_report(out, analysis=found, content=content)
    write_relapses(out, relapses, sound)
    write_costs(costs, out / _COSTS)
    return Made(
        table=rich_table(table_rows(found), study.name, width) if found else None,
        findings=tuple(in_short(findings_of(found))) if found else (),
        cautions=tuple(c.text for c in serious),
        files=tuple(sorted(p for name in _FILES if (p := out / name).is_file())),
        missing=results.missing,
    )


def _unsound_pairs(results: Results) -> dict[str, str]:
    """Pairs against which nothing can be measured, with the reason."""
    found: dict[str, str] = {}
    for baseline in results.baselines:
        try:
            check_baseline(baseline)
        except (DataError, GateError) as error:
            found[baseline.pair] = str(error)
    return found


def _unmeasured(unsound: dict[str, str], results: Results) -> list[Caution]:
    cautions = [
        Caution("serious", f"Pair {pair} is left out of all comparisons. {why}") for pair, why in unsound.items()
    ]
    without: dict[str, list[PointRecord]] = {}
    for r in results.unmatched:
        without.setdefault(r.pair, []).append(r)
    sides = {s.pair for s in results.study.sides}
    for pair, records in without.items():
        lacks, mend = (
            ("no untreated organism or no unplanted student measured yet", "`offmodel run` evaluates what lacks.")
            if pair in sides
            else ("no untreated organism in this study", "Add the pair's side, as `plant` returns it, to its sides.")
        )
        cautions.append(
            Caution(
                "serious",
                f"Pair {pair} has {lacks}, so nothing relative can be said of its {len(records)} measured points; "
                f"their plain rates stand below. {mend}",
            )
        )
    return cautions


def _facts(study: Study, results: Results) -> StudyFacts:
    done = len(study.cells) - results.missing
    facts = {
        "pairs": ", ".join(s.pair for s in study.sides),
        "points": f"{done} of {len(study.cells)}",
        "seeds": ", ".join(str(s) for s in sorted({c.seed for c in study.cells})),
        "blind rule": f"of the checkpoints that keep {100 * study.blind.least_kept:.0f} % of the capability on dev "
        "items, the one treated most; if none does, the one that keeps most; some methods have a rule of their own",
        "note": study.note,
    }
    missing = ""
    if results.missing:
        missing = (
            f"{results.missing} of {len(study.cells)} points are not measured yet; this is what there is. Ranks and "
            "intervals may change."
        )
    return StudyFacts(
        name=study.name, question=study.question, prediction=study.prediction, facts=facts, missing=missing
    )
