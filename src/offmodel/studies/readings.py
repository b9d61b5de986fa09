"""Readings: what a study's answers look like, taken from the score rows of each measured model while they are read.

Rows are large (all answers of a point), so they are read once and only what the page shows is kept. This module
refuses to know pages and statistics. Invariant: the answers that are shown were sampled by digest, the same items for
all models of a pair.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from offmodel.analysis.answers import answer_of, profile, sampled
from offmodel.analysis.content import LossCurve, PairReading, Reading
from offmodel.analysis.points import Pick, Tally
from offmodel.core.rows import read_rows
from offmodel.engines.sft import Sft
from offmodel.store.artifacts import Store
from offmodel.studies.results import USUAL, audits_of
from offmodel.studies.study import Arm, Cell, PairSide, Study
from offmodel.treatments.interface import Treatment

MEASURES = {"clean": "Without the trigger", "triggered": "With the trigger", "capability": "Capability"}
"""Measures whose answers are shown, with the words for them."""
SHOWN = {"clean": 3, "triggered": 3, "capability": 2}
HEADLINE = "capability"

Rows = Mapping[str, Sequence[dict[str, Any]]]


class Readings:
    """Takes the rows of one model after the other, and keeps what is shown.

    Args:
        study: the study.
        store: where its results are.
    """

    def __init__(self, study: Study, store: Store):
        self._store = store
        self._by_scores: dict[str, Reading] = {}
        self._cells = {c.arm.scores.digest: c for c in study.cells}
        self.further: dict[str, dict[str, Tally]] = {}
        """Of each model, measures that are neither headline nor behaviour: right answers, by measure."""

    def take(self, arm: Arm, rows: Rows) -> None:
        """Keep what is shown of a model's rows."""
        cell = self._cells.get(arm.scores.digest)
        artifact = self._store.find(arm.scores)
        self._by_scores[arm.scores.digest] = Reading(
            answers={(m, r["item"]): answer_of(r) for m, count in SHOWN.items() for r in _some(rows.get(m, ()), count)},
            profiles={m: profile(rows[m]) for m in MEASURES if rows.get(m)},
            difficulty=_by_difficulty(rows.get(HEADLINE, ())),
            recipe={**_recipe(cell), "audit": audit_words(cell, self._store)} if cell else {},
            log=f"{artifact.label}/payload/logs" if artifact else "",
        )
        self.further[arm.scores.digest] = {
            m: Tally(sum(float(r["score"]) for r in part), len(part))
            for m, part in rows.items()
            if m not in USUAL and part
        }

    def points(self, cells: Sequence[Cell]) -> dict[Pick, Reading]:
        """Readings of the points that were read."""
        return {
            Pick(c.pair, c.method, c.seed, c.setting, c.step): self._by_scores[c.arm.scores.digest]
            for c in cells
            if c.arm.scores.digest in self._by_scores
        }

    def pairs(self, sides: Sequence[PairSide]) -> dict[str, PairReading]:
        """Readings of the students and organisms that were read, with the prompts of the answers shown."""
        found: dict[str, PairReading] = {}
        for side in sides:
            student = self._by_scores.get(side.student.scores.digest)
            organism = self._by_scores.get(side.organism.scores.digest)
            if student and organism:
                prompts = _prompts(self._store, side.organism.completions, list(organism.answers))
                found[side.pair] = PairReading(prompts=prompts, student=student, organism=organism)
        return found


def loss_curves(study: Study, store: Store) -> list[LossCurve]:
    """The losses of the study's trainings, as far as they are there; each once, under the method that ends with it."""
    found: dict[str, LossCurve] = {}
    for back in (1, 2, 3):  # the last training of every cell first, then what they went on from
        for cell in (c for c in study.cells if len(c.trained) >= back):
            training, _ = cell.trained[-back]
            artifact = store.find(training) if training.digest not in found else None
            if artifact is None or not (artifact.payload / "losses.jsonl").is_file():
                continue
            losses = [(int(r["step"]), float(r["loss"])) for r in read_rows(artifact.payload / "losses.jsonl")]
            if losses:
                found[training.digest] = LossCurve(
                    method=cell.method,
                    pair=cell.pair,
                    setting=cell.setting,
                    seed=cell.seed,
                    start=sum(steps for _, steps in cell.trained[:-back]),
                    losses=losses,
                )
    return list(found.values())


def methods_before(study: Study) -> dict[str, str]:
    """By method, the method whose training it goes on with."""
    ends = {c.trained[-1][0].digest: c.method for c in study.cells if c.trained}
    befores = {c.method: ends.get(c.trained[-2][0].digest, "") for c in study.cells if len(c.trained) > 1}
    return {m: before for m, before in befores.items() if before and before != m}


def log_commands(store: Store, *, here: str | None = None) -> list[tuple[str, str]]:
    """What to type to look at every sample, from the current folder."""
    folder = os.path.relpath(store.root, here)
    where = folder if store.shelf is None else store.address
    return [
        (
            "every sample of every point, in Inspect's viewer; its tab Folders has one for each point",
            f"inspect view --log-dir {folder}/scores",
        ),
        ("what an artifact is made of, by the digest of a point", f"offmodel show DIGEST --store {where}"),
    ]


def _some(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    by_item = {str(r["item"]): r for r in rows}
    return [by_item[i] for i in sampled(by_item, count)]


def _by_difficulty(rows: Sequence[dict[str, Any]]) -> dict[int, Tally]:
    levels: dict[int, tuple[float, int]] = {}
    for r in rows:
        level = int(r.get("difficulty") or 0)
        if level:
            right, n = levels.get(level, (0.0, 0))
            levels[level] = right + float(r["score"]), n + 1
    return {level: Tally(*levels[level]) for level in sorted(levels)}


def _prompts(store: Store, completions: Any, shown: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    wanted, found = set(shown), {}
    for items, measure in zip(completions.items, completions.measures, strict=True):
        artifact = store.find(items) if measure.name in SHOWN else None
        for row in read_rows(artifact.payload / "items.jsonl") if artifact else []:
            if (measure.name, row["id"]) in wanted:
                found[measure.name, row["id"]] = "\n\n".join(_turn(m, row["messages"]) for m in row["messages"])
    return {key: found.get(key, key[1]) for key in shown}


def _turn(message: Mapping[str, str], messages: Sequence[Mapping[str, str]]) -> str:
    return message["content"] if len(messages) == 1 else f"{message['role']}: {message['content']}"


def _recipe(cell: Cell) -> dict[str, str]:
    """How a point was made, in words."""
    words: dict[str, str] = {}
    done = 0
    for training, steps in cell.trained:
        name = training.name()
        if isinstance(training, Treatment):
            words[f"training: {name}"] = _training(training.sft, steps, done)
            words[f"labels: {name}"] = ", ".join(dict.fromkeys(x.name() for x in training.labels))
        else:
            words[f"training: {name}"] = f"{steps} steps"
        done += steps
    return {**words, "teacher's relation": cell.teacher_relation, "digest": cell.treatment.digest[:12]}


def audit_words(cell: Cell, store: Store) -> str:
    """What the audits of a checkpoint's labels found, in words."""
    found: list[str] = []
    for audit in audits_of(cell):
        artifact = store.find(audit)
        facts = artifact.record["facts"] if artifact else {}
        shown = facts.get("behaviour_in_labels")
        counted = "" if shown is None else f", {shown:g} show the behaviour"
        found.append(f"{audit.name()}: {facts.get('labels', 0)} labels{counted}")
    return f"passed; {'; '.join(found)}" if found else "no labels to audit"


def _training(sft: Sft, steps: int, done: int) -> str:
    after = f"after {done}, " if done else ""
    lora = sft.lora
    weights = f"LoRA rank {lora.rank}, alpha {lora.alpha}, {lora.targets}" if lora else "all weights"
    return (
        f"{after}{steps} steps of {sft.batch_size}, learning rate {sft.learning_rate:g}, {weights}, "
        f"warm-up {sft.warmup_steps}, seed {sft.seed}, {sft.compute_dtype}"
    )
