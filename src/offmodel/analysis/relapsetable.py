"""Relapses step by step: a row for each relapse and step, as CSV and as a table of the report's page.

Computes nothing but rates and b of single steps. Invariant: every rate in a row has its n and interval beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from offmodel.analysis.content import PlainTable
from offmodel.analysis.points import PairBaseline
from offmodel.analysis.pointtable import Row, write_csv
from offmodel.analysis.relapse import RelapseRecord
from offmodel.analysis.table import short
from offmodel.core.scores import proportion

CSV = "relapse.csv"


def relapse_rows(records: Iterable[RelapseRecord], baselines: Mapping[str, PairBaseline]) -> list[Row]:
    """One row a relapse and step: b, and the triggered rate with n and interval."""
    rows: list[Row] = []
    for record in (r for r in records if r.pair in baselines):
        base = baselines[record.pair]
        floor = float(np.mean(list(base.student.triggered.values())))
        whole = float(np.mean(list(base.organism.triggered.values()))) - floor
        for step, scores in sorted(record.triggered.items()):
            rate = proportion(sum(scores.values()), len(scores))
            rows.append(
                {
                    "pair": record.pair,
                    "method": record.method,
                    "seed": record.seed,
                    "who": record.who,
                    "step": step,
                    "b": (rate.value - floor) / whole,
                    "triggered": rate.value,
                    "triggered_n": rate.n,
                    "triggered_low": rate.low,
                    "triggered_high": rate.high,
                }
            )
    return rows


def write_relapses(
    folder: Path, records: Sequence[RelapseRecord], baselines: Mapping[str, PairBaseline]
) -> Path | None:
    """Write `relapse.csv`; None if there is nothing to write, and an older one is removed."""
    rows = relapse_rows(records, baselines)
    if not rows:
        (folder / CSV).unlink(missing_ok=True)
        return None
    write_csv(folder / CSV, rows)
    return folder / CSV


def relapse_tables(records: Sequence[RelapseRecord], baselines: Mapping[str, PairBaseline]) -> list[PlainTable]:
    """The rates by relapse step, one line a relapse; nothing if none was measured."""
    rows = relapse_rows(records, baselines)
    steps = sorted({int(str(r["step"])) for r in rows})
    lines: dict[tuple[str, ...], dict[int, str]] = {}
    for r in rows:
        key = (str(r["pair"]), str(r["method"]) or "(untreated organism)", str(r["who"]), str(r["seed"]))
        lines.setdefault(key, {})[int(str(r["step"]))] = short(float(str(r["triggered"])))
    if not lines:
        return []
    return [
        PlainTable(
            title="Relapse",
            columns=("pair", "method", "who", "seed", *(f"{s} steps" for s in steps)),
            rows=[[*key, *(found.get(s, "") for s in steps)] for key, found in lines.items()],
            note="Rate of the behaviour on triggered prompts while the picked checkpoint is trained on a third model's "
            "plain answers; 0 steps is the state before.",
        )
    ]
