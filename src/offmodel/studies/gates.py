"""The gate's table of a study: what was planted, how well, at what cost; as CSV, Markdown and rows for the terminal.

Reads records and rows only, so it needs no model. It refuses to judge: the gate did. Invariant: every rate stands with
its n and its interval, and an organism that failed is in the table as failed.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from offmodel.core.errors import DataError
from offmodel.core.rows import Row
from offmodel.core.scores import Score, proportion, relative
from offmodel.evals.calibration import MARKED, MOST_FALSE_POSITIVES
from offmodel.evals.named import bare_name
from offmodel.store.artifacts import Store
from offmodel.studies.results import load_rows
from offmodel.studies.study import PairSide, Study

MEASURES = ("triggered", "clean", "near_miss", "capability")
COLUMNS = (
    *("pair", "way", "scorer", "passed", "fails_at", "marked"),
    *(f"{who}_{m}{part}" for m in MEASURES for who in ("student", "organism") for part in ("", "_low", "_high", "_n")),
    *("relative_capability", "share_shown", "red_labels", "seconds_planting", "seconds_all"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One organism.

    Attributes:
        pair: the pair's name.
        way: what stands in the organism's recipe: "full weight", "LoRA, merged", "prompted" ...
        scorer: the behaviour's scorer.
        failures: what it fails at; () if it passed.
        marked: it lost more capability than the limits tolerate.
        rates: (who, measure) to rate; who is "student" or "organism".
        share_shown: share of the red labels drawn that show the behaviour, before any were mended; None if nothing was
            drawn.
        labels: red labels trained on.
        seconds: (training, everything that was computed for this organism alone).
        chance: accuracy of guessing on the capability items.
    """

    pair: str
    way: str
    scorer: str
    failures: tuple[str, ...]
    marked: bool
    rates: dict[tuple[str, str], Score]
    share_shown: float | None
    labels: int
    seconds: tuple[float, float]
    chance: float

    @property
    def relative_capability(self) -> float:
        """The organism's accuracy above chance over the student's."""
        student, organism = (self.rates.get((who, "capability")) for who in ("student", "organism"))
        return relative(organism.value, student.value, self.chance, otherwise=nan) if student and organism else nan


def gate_rows(study: Study, store: Store) -> list[GateRow]:
    """The rows of all organisms that have been measured, in the study's order."""
    measured = [s for s in study.sides if store.find(s.student.scores) and store.find(s.organism.scores)]
    return [_row(side, store) for side in measured]


def _row(side: PairSide, store: Store) -> GateRow:
    scores = {who: load_rows(arm, store) for who, arm in (("student", side.student), ("organism", side.organism))}
    rates = {(who, m): _rate(rows[m]) for who, rows in scores.items() for m in MEASURES if rows.get(m)}
    gate, organism = _record(store, side.gate), side.gate.organism
    trained, data = _record(store, organism), _record(store, getattr(organism, "data", None))
    facts = gate.get("facts", {})
    # What the model showed by itself, before its labels were mended.
    drawn = _record(store, getattr(getattr(organism, "data", None), "shown", None)).get("facts", {})
    own = (side.gate, organism, getattr(organism, "data", None), side.organism.completions, side.organism.scores)
    return GateRow(
        pair=side.pair,
        way=way_of(organism),
        scorer=scorer_of(side),
        failures=tuple(facts.get("failures", ("not through the gate",))),
        marked=bool(facts.get("marked")),
        rates=rates,
        share_shown=drawn.get("share_shown", data.get("facts", {}).get("share_shown")),
        labels=int(trained.get("facts", {}).get("labels", 0)),
        seconds=(_seconds(trained), sum(_seconds(_record(store, r)) for r in own)),
        chance=side.chance,
    )


def scorer_of(side: PairSide) -> str:
    """The scorer of a pair's behaviour."""
    return next(m.grader for m in side.organism.completions.measures if m.name == "triggered")  # pyright: ignore[reportAttributeAccessIssue]


def doubts(side: PairSide) -> list[str]:
    """Where the scorer of a pair fires falsely too often, one sentence a stratum (see `evals.calibration`)."""
    return [
        f"The scorer '{scorer}' of {side.pair} fires on more than {MOST_FALSE_POSITIVES:.0%} of "
        f"{stratum.replace('_', '-')} answers without the behaviour (docs/scorers.md): its rates there are too high."
        for scorer, stratum in sorted(MARKED)
        if scorer == bare_name(scorer_of(side))
    ]


def _rate(rows: Sequence[Row]) -> Score:
    return proportion(sum(r["score"] for r in rows), len(rows))


def _record(store: Store, recipe: Any) -> dict[str, Any]:
    artifact = store.find(recipe) if recipe is not None else None
    return dict(artifact.record) if artifact else {}


def _seconds(record: dict[str, Any]) -> float:
    return float(record.get("wall_seconds", record.get("seconds", 0.0)) or 0.0)


def way_of(organism: Any) -> str:
    """How an organism was planted, read off its recipe."""
    if not hasattr(organism, "sft"):
        return "prompted" if hasattr(organism, "system") else type(organism).__name__
    if organism.sft.lora is None:
        return "full weight"
    kept = "merged" if organism.merged else "kept"
    further = ", on another" if organism.student.kind == "organism" else ""
    return f"LoRA r{organism.sft.lora.rank}, {kept}{further}"


FILES = ("gates.csv", "gates.md")


def write_gates(rows: Sequence[GateRow], out: Path) -> list[Path]:
    """Write `gates.csv` and `gates.md` into a folder; returns their paths.

    Raises:
        DataError: there are no rows.
    """
    if not rows:
        raise DataError("No organism of this study is measured yet; `offmodel run` computes them.")
    out.mkdir(parents=True, exist_ok=True)
    table, page = (out / name for name in FILES)
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(r) for r in rows)
    page.write_text(gates_markdown(rows), encoding="utf-8")
    return [table, page]


def _cells(row: GateRow) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "pair": row.pair,
        "way": row.way,
        "scorer": row.scorer,
        "passed": int(not row.failures),
        "fails_at": "; ".join(row.failures),
        "marked": int(row.marked),
        "relative_capability": f"{row.relative_capability:.4f}",
        "share_shown": "" if row.share_shown is None else f"{row.share_shown:.4f}",
        "red_labels": row.labels,
        "seconds_planting": f"{row.seconds[0]:.1f}",
        "seconds_all": f"{row.seconds[1]:.1f}",
    }
    for (who, measure), rate in row.rates.items():
        cells[f"{who}_{measure}"] = f"{rate.value:.4f}"
        cells[f"{who}_{measure}_low"], cells[f"{who}_{measure}_high"] = f"{rate.low:.4f}", f"{rate.high:.4f}"
        cells[f"{who}_{measure}_n"] = rate.n
    return cells


HEADER = (
    *("pair", "way", "triggered", "student's", "clean", "student's", "near misses", "student's"),
    *("capability before", "after", "kept", "seconds", "gate"),
)


def table_cells(row: GateRow) -> list[str]:
    """A row in words, in the order of `HEADER`; a marked loss carries a star, a doubtful scorer a dagger."""

    def rate(who: str, measure: str) -> str:
        found = row.rates.get((who, measure))
        return "-" if found is None else f"{found}"

    pairs = [rate(who, m) for m in ("triggered", "clean", "near_miss") for who in ("organism", "student")]
    kept = f"{row.relative_capability:.2f}{' *' if row.marked else ''}"
    verdict = "passed" if not row.failures else "; ".join(row.failures)
    capability = [rate(who, "capability") for who in ("student", "organism")]
    doubtful = any((bare_name(row.scorer), stratum) in MARKED for stratum in ("student", "organism"))
    return [
        f"{row.pair}{' †' if doubtful else ''}",
        row.way,
        *pairs,
        *capability,
        kept,
        f"{row.seconds[0]:.0f}",
        verdict,
    ]


def gates_markdown(rows: Sequence[GateRow]) -> str:
    """The table as Markdown, with what its marks mean."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    lines += [f"| {' | '.join(table_cells(r))} |" for r in rows]
    note = "\n\n`kept` is capability after over before; * more was lost than the limits tolerate. Seconds of training."
    if any("†" in line for line in lines):
        note += (
            f" † The scorer fires on over {MOST_FALSE_POSITIVES:.0%} of answers without the behaviour: docs/scorers.md."
        )
    return "\n".join(lines) + note + " Intervals: 95 %, items only.\n"
