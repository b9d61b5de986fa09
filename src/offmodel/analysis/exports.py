"""Tables as files for papers: CSV of every chart of the report, and the points as Parquet where pyarrow is installed.

Writes what the analysis and the readings hold; computes nothing. Invariant: what stands in a chart of the page stands
in a CSV beside it, in full precision.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from offmodel.analysis.content import Content
from offmodel.analysis.methods import Analysis, MethodPair
from offmodel.analysis.points import Tally, pick_of, total
from offmodel.analysis.pointtable import Row, point_rows, write_csv
from offmodel.analysis.table import TableRow
from offmodel.analysis.verdicts import Findings

FILES = ("points.csv", "methods.csv", "differences.csv", "difficulty.csv", "losses.csv", "points.parquet")


def write_tables(folder: Path, analysis: Analysis, content: Content, findings: Findings) -> None:
    """Write `points.csv`, `methods.csv`, `differences.csv`, `difficulty.csv`, `losses.csv` and `points.parquet`.

    Tables that have no rows are not written, and an older one of that name is removed. Parquet needs the extra
    `parquet`.
    """
    points = point_rows(analysis.records, list(analysis.baselines.values()))
    for name, rows in {
        "points.csv": points,
        "methods.csv": [_method_row(r) for r in findings.rows],
        "differences.csv": _difference_rows(findings),
        "difficulty.csv": _difficulty_rows(analysis, content),
        "losses.csv": _loss_rows(content),
    }.items():
        _write(folder / name, rows)
    if find_spec("pyarrow"):
        _write_parquet(folder / "points.parquet", points)


def difficulty_at_pick(cell: MethodPair, content: Content) -> dict[int, Tally]:
    """Capability by difficulty at a cell's reported checkpoints (the blind picks, else each seed's last)."""
    readings = [content.points[pick_of(r)].difficulty for r in cell.reported if pick_of(r) in content.points]
    levels = sorted({level for r in readings for level in r})
    return {level: total([r[level] for r in readings if level in r]) for level in levels}


def _write(path: Path, rows: Sequence[Row]) -> None:
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_csv(path, rows)


def _method_row(row: TableRow) -> Row:
    found: Row = {
        "method": row.method,
        "pair": row.pair,
        "rank": row.rank,
        "oracle": row.oracle,
        "control": row.control,
        "teacher_relation": row.teacher_relation,
    }
    scores = {"b": row.b, "c": row.c, "blind_score": row.score, "area": row.area, "bad_at_10": row.bad}
    for name, score in scores.items():
        if score is not None:
            found |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high, f"{name}_n": score.n}
    for name, score in row.further.items():
        found |= {f"c/{name}": score.value, f"c/{name}_low": score.low, f"c/{name}_high": score.high}
    return found | {
        "covers": row.area.covers,
        "points": row.points,
        "raw_area": row.raw,
        "noise_area": row.noise,
        "untrusted_share": row.untrusted_share,
    }


def _difference_rows(findings: Findings) -> list[Row]:
    return [
        {
            "measure": c.measure,
            "better": c.better,
            "worse": c.worse,
            "difference": c.value,
            "low": c.low,
            "high": c.high,
            "pairs": c.pairs,
            "verdict": c.verdict,
            "covers": c.covers,
        }
        for found in findings.comparisons.values()
        for c in found
    ]


def _difficulty_rows(analysis: Analysis, content: Content) -> list[Row]:
    rows: list[Row] = []
    for pair, reading in content.pairs.items():
        who = {"(unplanted student)": reading.student.difficulty, "(untreated organism)": reading.organism.difficulty}
        cells = {m: analysis.cells[m, pair] for m in analysis.methods if (m, pair) in analysis.cells}
        for name, found in {**who, **{m: difficulty_at_pick(cell, content) for m, cell in cells.items()}}.items():
            for level, tally in found.items():
                score = tally.score()
                rows.append(
                    {"pair": pair, "model": name, "difficulty": level, "accuracy": score.value, "n": score.n,
                     "low": score.low, "high": score.high}
                )  # fmt: skip
    return rows


def _loss_rows(content: Content) -> list[Row]:
    return [
        {"method": c.method, "pair": c.pair, "setting": c.setting, "seed": c.seed, "step": c.start + s, "loss": loss}
        for c in content.losses
        for s, loss in c.losses
    ]


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    names = list(dict.fromkeys(n for r in rows for n in r))
    columns = {n: [_parquet_value(n, r.get(n)) for r in rows] for n in names}
    parquet.write_table(pa.table(columns), path)


def _parquet_value(name: str, value: object) -> object:
    """A column has one type: seeds are numbers or "all", so they are texts."""
    return str(value) if name == "seed" and value is not None else value
