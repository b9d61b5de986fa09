"""One row a point, with n, low and high for every measure, and its CSV: what stands beside each figure.

b and c are unclipped. Rows are plain values; reading a written file gives them back. Invariant: `read_csv(write_csv(x))
== x`, and every measure in a row has its n and interval beside it.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from offmodel.analysis.further import chance_of, further_measures, in_place_of_headline
from offmodel.analysis.grid import Grid, Key, build_grid, relative_intervals, scores_of
from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord, Tally, baselines_by_pair, total
from offmodel.analysis.statistics import ITEMS_ONLY, mean_interval
from offmodel.core.errors import DataError
from offmodel.core.scores import Score

Row = dict[str, str | int | float | bool | None]

ORGANISM = "(untreated organism)"
STUDENT = "(unplanted student)"

_FIRST = ("pair", "method", "setting", "step", "seed", "oracle", "control", "teacher_relation", "covers", "digest")


def point_rows(records: Sequence[PointRecord], baselines: Sequence[PairBaseline]) -> list[Row]:
    """A row for every point averaged over its seeds (`seed` is "all"), one for each seed, and a pair's two references.

    Raises:
        DataError: a pair without a baseline; items that differ.
        GateError: an organism too weak to measure against.
    """
    by_pair = baselines_by_pair(records, baselines)
    rows: list[Row] = []
    for pair in sorted({r.pair for r in records}):
        baseline = by_pair[pair]
        own = [r for r in records if r.pair == pair]
        rows += [_reference(baseline, ORGANISM), _reference(baseline, STUDENT)]
        for method in dict.fromkeys(r.method for r in own):
            some = [r for r in own if r.method == method]
            rows += _method_rows(some, baseline, "all")
            for seed in sorted({r.seed for r in some}):
                rows += _method_rows([r for r in some if r.seed == seed], baseline, seed)
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; the columns are those of all rows together, floats in full precision."""
    names = [n for n in _FIRST if any(n in r for r in rows)]
    names += [n for n in dict.fromkeys(n for r in rows for n in r) if n not in names]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)


def read_csv(path: Path) -> list[Row]:
    """Rows of a file that `write_csv` wrote; measures that a row lacks are absent.

    Raises:
        DataError: the file is no such table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if not {"pair", "method", "b", "c"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path} is no table of points (columns pair, method, b, c); make it with offmodel report.")
        return [{k: _value(k, v) for k, v in row.items() if v != ""} for row in reader]


def point_scores(grid: Grid) -> dict[Key, dict[str, Score]]:
    """B and c of a grid's points, with intervals over items."""
    c_ends, b_ends = relative_intervals(grid)
    c = scores_of(grid.c, c_ends, len(grid.kept.items))
    b = scores_of(grid.b, b_ends, len(grid.left.items))
    return {key: {"c": c[k], "b": b[k]} for k, key in enumerate(grid.points)}


def _method_rows(records: list[PointRecord], baseline: PairBaseline, seed: int | str) -> list[Row]:
    relative = point_scores(build_grid(records, baseline))
    elsewhere = {m: _relative_in(records, baseline, m) for m in further_measures(records, baseline)}
    rows: list[Row] = []
    for key, scores in relative.items():
        some = [r for r in records if Key(r.setting, r.step) == key]
        row: Row = {
            "pair": baseline.pair,
            "method": some[0].method,
            "setting": key.setting,
            "step": key.step,
            "seed": seed,
            "oracle": some[0].oracle,
            "control": some[0].control,
            "teacher_relation": some[0].teacher_relation,
            "covers": ITEMS_ONLY,
            "digest": some[0].digest if len(some) == 1 else "",
        }
        _add(row, scores | _rates([r.scores for r in some]))
        _add(row, {f"c/{m}": found[key] for m, found in elsewhere.items()})
        _add(row, _rates_of("near_miss", [r.near_miss for r in some]))
        for kind in ("style", "coherent", "truncated", "dev"):
            _add(row, _tallied(kind, [getattr(r, kind) for r in some]))
        row["untrusted_share"] = float(np.mean([r.untrusted_share for r in some]))
        for author in dict.fromkeys(a for r in some for a in r.tokens_by_author):
            row[f"tokens/{author}"] = float(np.mean([r.tokens_by_author.get(author, 0) for r in some]))
        rows.append({k: v for k, v in row.items() if v != ""})
    return rows


def _relative_in(records: list[PointRecord], baseline: PairBaseline, measure: str) -> dict[Key, Score]:
    """C in a further measure, by point."""
    swapped, against = in_place_of_headline(records, baseline, measure)
    return {key: found["c"] for key, found in point_scores(build_grid(swapped, against)).items()}


def _reference(baseline: PairBaseline, which: str) -> Row:
    scores = baseline.organism if which == ORGANISM else baseline.student
    row: Row = {"pair": baseline.pair, "method": which, "covers": ITEMS_ONLY}
    if which == ORGANISM:
        row |= {"c": 1.0, "b": 1.0}
    else:
        whole, chance = np.mean(list(baseline.organism.capability.values())), baseline.chance
        own = np.mean(list(scores.capability.values())) if scores.capability else np.nan
        row |= {"b": 0.0} | ({"c": float((own - chance) / (whole - chance))} if scores.capability else {})
    for m in further_measures([], baseline):
        chance = chance_of(baseline, m)
        own, whole = (np.mean(list(s.further[m].values())) - chance for s in (scores, baseline.organism))
        row[f"c/{m}"] = float(own / whole)
    _add(row, _rates([scores]))
    return row


def _rates(scores: Sequence[ModelScores]) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for measure in ("capability", "triggered", "clean"):
        found |= _rates_of(measure, [getattr(s, measure) for s in scores])
    for name in dict.fromkeys(name for s in scores for name in s.further):
        found |= _rates_of(f"score/{name}", [s.further.get(name, {}) for s in scores])
    return found


def _rates_of(measure: str, by_seed: Sequence[Mapping[str, float]]) -> dict[str, Score]:
    items = sorted(set.intersection(*(set(s) for s in by_seed)))
    if not items:
        return {}
    rows = np.array([[s[i] for i in items] for s in by_seed]).mean(0)
    ends = mean_interval(rows, len(by_seed))
    return {measure: scores_of(rows.mean(keepdims=True), (ends[0][None], ends[1][None]), len(items))[0]}


def _tallied(kind: str, tallies: Sequence[Mapping[str, Tally]]) -> dict[str, Score]:
    names = dict.fromkeys(n for t in tallies for n in t)
    sums = {n: total([t[n] for t in tallies if n in t]) for n in names}
    return {f"{kind}/{n}": t.score() for n, t in sums.items() if t.n}


def _add(row: Row, scores: Mapping[str, Score]) -> None:
    for name, s in scores.items():
        row |= {name: s.value, f"{name}_n": s.n, f"{name}_low": s.low, f"{name}_high": s.high}


def _value(name: str, text: str) -> str | int | float | bool:
    if name in ("pair", "method", "setting", "teacher_relation", "covers", "digest"):
        return text
    if name in ("oracle", "control"):
        return text == "True"
    if name == "step" or name.endswith("_n") or (name == "seed" and text != "all"):
        return int(text)
    return text if name == "seed" else float(text)
