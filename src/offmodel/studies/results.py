"""From the store's rows to the analysis' points: what a study has measured so far.

This module refuses to compute statistics. It reads rows and records only, so it works on record-only artifacts; the
rows of a model are read once and let go, because those of a large study fill no memory. Invariant: a cell whose scores
are missing is left out and counted, never guessed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from offmodel.analysis.points import ModelScores, PairBaseline, PointRecord, Tally
from offmodel.core.errors import DataError
from offmodel.core.rows import Row, read_rows
from offmodel.core.scores import relative
from offmodel.evals.framed import KNOWN
from offmodel.flow.graph import closure
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.study import Arm, Cell, Study
from offmodel.treatments.blind import BlindPoint, BlindRule

Rows = dict[str, list[Row]]
"""Score rows by measure."""
Look = Callable[[Arm, Rows], None]
"""Looks at the rows of a model while they are in memory."""
USUAL = frozenset((KNOWN, "capability", "dev_capability", "triggered", "clean", "dev_chat", "near_miss"))
"""Measures that a study's numbers are made of; every other one is a further capability measure."""
_DEV = ("dev_capability", "dev_chat", KNOWN)
_COLUMNS = frozenset(("measure", "item", "score", "style", "coherent", "finish", "tokens", "text"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a study has measured so far.

    Attributes:
        study: the study.
        cells: the measured cells of pairs that have a baseline. points: their records, in the same order.
        baselines: one a pair whose student and organism are measured.
        unmatched: records of measured cells whose pair has no baseline yet.
        picked: the records that the blind rule picked, one a pair, method, and seed.
        missing: cells without scores yet.
        gates: the gate's facts by pair.
        audits: the audits' facts, one row a set of labels.
    """

    study: Study
    cells: tuple[Cell, ...]
    points: tuple[PointRecord, ...]
    baselines: tuple[PairBaseline, ...]
    unmatched: tuple[PointRecord, ...]
    picked: tuple[PointRecord, ...]
    missing: int
    gates: dict[str, dict[str, Any]]
    audits: tuple[dict[str, Any], ...]


def collect(study: Study, store: Store, *, headline: str = "capability", look: Look | None = None) -> Results:
    """Read what the store holds of a study.

    Args:
        study: the study.
        store: where its results are.
        headline: the measure taken as the capability.
        look: is shown the rows of every measured model, once.

    Raises:
        DataError: rows that this version cannot read.
    """
    dev: dict[str, Rows] = {}

    def read(arm: Arm) -> Rows:
        rows = load_rows(arm, store)
        dev[arm.scores.digest] = {m: rows[m] for m in _DEV if m in rows}
        if look:
            look(arm, rows)
        return rows

    sides = [s for s in study.sides if store.find(s.student.scores) and store.find(s.organism.scores)]
    baselines = tuple(
        PairBaseline(
            pair=s.pair,
            organism=_scores(read(s.organism), headline),
            student=_scores(read(s.student), headline),
            chance=s.chance,
            further_chance=dict(s.further_chance),
        )
        for s in sides
    )
    done = [c for c in study.cells if store.find(c.arm.scores)]
    records = [(c, _point(c, read(c.arm), store, headline)) for c in done]
    ready = {s.pair for s in sides}
    matched = [(c, r) for c, r in records if c.pair in ready]
    cells, points = tuple(c for c, _ in matched), tuple(r for _, r in matched)
    return Results(
        study=study,
        cells=cells,
        points=points,
        baselines=baselines,
        unmatched=tuple(r for c, r in records if c.pair not in ready),
        picked=tuple(_picked(study, cells, points, store, dev)),
        missing=len(study.cells) - len(done),
        gates={s.pair: _facts(store, s.gate) for s in sides},
        audits=tuple(_audits(done, store)),
    )


def load_rows(arm: Arm, store: Store) -> Rows:
    """The score rows of a measured model, by measure.

    Raises:
        DataError: the rows lack columns, as those of another version may.
    """
    artifact = store.find(arm.scores)
    assert artifact is not None
    rows: Rows = defaultdict(list)
    for row in read_rows(artifact.payload / "rows.jsonl"):
        if lacking := _COLUMNS - row.keys():
            raise DataError(
                f"The rows of {artifact.label} have no {', '.join(sorted(lacking))}: another version of offmodel wrote "
                "them; delete that folder and run the study again, which grades its answers anew without sampling."
            )
        rows[row["measure"]].append(row)
    return dict(rows)


def _scores(rows: Rows, headline: str) -> ModelScores:
    def of(measure: str) -> dict[str, float]:
        return {r["item"]: float(r["score"]) for r in rows.get(measure, [])}

    further = {m: of(m) for m in rows if m not in (USUAL - {"capability"}) | {headline}}
    return ModelScores(capability=of(headline), triggered=of("triggered"), clean=of("clean"), further=further)


def _point(cell: Cell, rows: Rows, store: Store, headline: str) -> PointRecord:
    authors = _tokens(cell, store)
    total = sum(a["tokens"] for a in authors.values())
    untrusted = sum(a["tokens"] for a in authors.values() if not a["trusted"])
    style, coherent = _tallies(rows, "style"), _tallies(rows, "coherent")
    cut = {m: Tally(sum(r["finish"] == "length" for r in part), len(part)) for m, part in rows.items() if part}
    return PointRecord(
        pair=cell.pair,
        method=cell.method,
        setting=cell.setting,
        step=cell.step,
        seed=cell.seed,
        scores=_scores(rows, headline),
        style=style,
        coherent=coherent,
        truncated=cut,
        dev=_dev(rows),
        near_miss={r["item"]: float(r["score"]) for r in rows.get("near_miss", [])},
        tokens_by_author={a: v["tokens"] for a, v in authors.items()},
        untrusted_share=untrusted / total if total else 0.0,
        oracle=cell.oracle,
        control=cell.control,
        teacher_relation=cell.teacher_relation,
        digest=cell.treatment.digest,
    )


def _tallies(rows: Rows, column: str) -> dict[str, Tally]:
    return {m: Tally(sum(r[column] for r in part), len(part)) for m, part in rows.items() if part}


def _dev(rows: Rows) -> dict[str, Tally]:
    dev, chat = rows.get("dev_capability", []), rows.get("dev_chat", [])
    found = {
        "dev_capability": Tally(sum(r["score"] for r in dev), len(dev)),
        "dev_style": Tally(sum(r["style"] for r in chat), len(chat)),
    }
    known = rows.get(KNOWN, [])
    return {**found, KNOWN: Tally(sum(r["score"] for r in known), len(known))} if known else found


def _tokens(cell: Cell, store: Store) -> dict[str, dict[str, Any]]:
    """Trained tokens by author up to a cell, those of the training before it included."""
    totals: Counter[str] = Counter()
    trusted: dict[str, bool] = {}
    for part, step in cell.trained:
        for author, found in _facts(store, part).get("tokens_by_step", {}).get(str(step), {}).items():
            totals[author] += found["tokens"]
            trusted[author] = found["trusted"]
    return {a: {"tokens": n, "trusted": trusted[a]} for a, n in sorted(totals.items())}


def _facts(store: Store, recipe: Any) -> dict[str, Any]:
    artifact = store.find(recipe)
    return dict(artifact.record.get("facts", {})) if artifact else {}


def _picked(
    study: Study, cells: Sequence[Cell], points: Sequence[PointRecord], store: Store, dev: dict[str, Rows]
) -> list[PointRecord]:
    sides = {s.pair: s for s in study.sides if s.organism.scores.digest in dev}
    groups: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        groups[cell.pair, cell.method, cell.seed].append(i)
    picked: list[PointRecord] = []
    for (pair, _, _), members in groups.items():
        rows = [dev[cells[i].arm.scores.digest] for i in members]
        side = sides[pair]
        at = blind_choice(
            [cells[i] for i in members], rows, dev[side.organism.scores.digest], study.blind, store, chance=side.chance
        )
        picked.append(points[members[at]])
    return picked


def blind_choice(
    cells: Sequence[Cell], rows: Sequence[Rows], untreated: Rows, rule: BlindRule, store: Store, *, chance: float
) -> int:
    """Index of the checkpoint that a blind rule picks.

    Args:
        cells: the checkpoints of one method and seed.
        rows: score rows of each.
        untreated: score rows of the untreated model.
        rule: the study's blind rule, of which the method makes its own.
        store: where the training losses are.
        chance: accuracy of guessing on dev items.
    """
    base = _dev(untreated)["dev_capability"]
    whole = base.sum / max(base.n, 1)
    points = [_seen(c, _dev(r), whole, store, chance) for c, r in zip(cells, rows, strict=True)]
    return cells[0].blind(rule).choose(points)


def _seen(cell: Cell, found: dict[str, Tally], whole: float, store: Store, chance: float) -> BlindPoint:
    dev, style, known = found["dev_capability"], found["dev_style"], found.get(KNOWN)
    return BlindPoint(
        dose=cell.dose,
        recovery=cell.recovery,
        loss=_loss(cell, store),
        style=style.sum / max(style.n, 1),
        kept=relative(dev.sum / max(dev.n, 1), whole, chance, otherwise=0.0),
        known=known.sum / known.n if known else None,
    )


def _loss(cell: Cell, store: Store) -> float:
    if not cell.trained:
        return float("nan")
    training, last = cell.trained[-1]
    artifact = store.find(training)
    if artifact is None or not (artifact.payload / "losses.jsonl").is_file():
        return float("nan")
    losses = [r["loss"] for r in read_rows(artifact.payload / "losses.jsonl") if r["step"] <= last]
    return fmean(losses[-5:]) if losses else float("nan")


def audits_of(cell: Cell) -> list[Recipe]:
    """The audits of all labels behind a checkpoint, those of models that were trained on the way included."""
    return [r for r in closure([training for training, _ in cell.trained]).values() if r.kind == "audit"]


def _audits(cells: Sequence[Cell], store: Store) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        for audit in audits_of(cell):
            facts = _facts(store, audit)
            found[audit.digest] = {**facts, "pair": cell.pair, "audit": audit.name(), "method": cell.method}
    return list(found.values())
