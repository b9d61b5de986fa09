"""Relapses of a board's treatments: from measured cells to the recipes that train their blind picks further.

Three arms share one relapse: the treated organism, the unplanted student under the same treatment (what the relapse
itself teaches), and the untreated organism (what the relapse itself removes). This module refuses to choose numbers.
Invariant: the student's arm differs from the treated one in the model that was treated, and in nothing else.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from offmodel.analysis.relapse import STUDENT, TREATED, UNTREATED, RelapseRecord
from offmodel.audit import audited
from offmodel.core.errors import RecipeError
from offmodel.data import Pool
from offmodel.engines.labels import Labels, author_sampling
from offmodel.engines.sft import Sft
from offmodel.evals.completions import Completions
from offmodel.evals.framed import SystemItems
from offmodel.evals.scores import Scores
from offmodel.flow.graph import closure
from offmodel.relapse import Candidate, Pick, Relapse
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.grid import Board
from offmodel.studies.results import load_rows
from offmodel.studies.settings import Relapsing
from offmodel.studies.study import Arm, Cell, RelapsePoint, Study
from offmodel.treatments.blind import BlindRule

POOL = "relapse"


def relapses(board: Board, cells: Sequence[Cell], how: Relapsing, blind: BlindRule) -> list[RelapsePoint]:
    """The relapse of each method and seed among a board's cells, with both controls.

    Args:
        board: where the cells were made.
        cells: the cells whose blind picks are trained further; controls and oracles may be left out.
        how: third model, training, measures.
        blind: the rule that picks.

    Raises:
        RecipeError: no third model, or it wrote labels of a treatment; no pool of unused prompts; an unknown measure.
    """
    labels = _labels(board, how)
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in (c for c in cells if c.pair == board.name):
        groups.setdefault((cell.method, cell.seed), []).append(cell)
    points: list[RelapsePoint] = []
    for (method, seed), members in groups.items():
        _check_third(board, how, members)
        _check_frames(board, members)
        treated = _treated(board, members, blind, labels, replace(how.sft, seed=seed))
        points += _points(board, how, treated, method=method, who=TREATED)
        points += _points(board, how, _on_student(board, treated), method=method, who=STUDENT)
    for seed in dict.fromkeys(s for _, s in groups):
        training = Relapse(
            label=UNTREATED,
            bases=(board.organism,),
            treatments=(),
            steps=(),
            pick=None,
            labels=(labels,),
            sft=replace(how.sft, seed=seed),
        )
        points += _points(board, how, training, method="", who=UNTREATED)
    return points


def _labels(board: Board, how: Relapsing) -> Recipe:
    world, authors = board.world, dict(board.world.authors)
    if how.author not in authors:
        raise RecipeError(f"The relapse needs a third model, and this study has no '{how.author}'; add it to authors.")
    if POOL not in {s.pool for s in world.sizes}:
        raise RecipeError(f"The relapse needs unused prompts; add a pool '{POOL}' to the study's sizes.")
    third = authors[how.author]
    if not third.trusted or third.model == world.student:
        raise RecipeError(f"The relapse's author '{how.author}' is the student; it needs a third model.")
    labels = Labels(
        author=how.author,
        trusted=True,
        model=third.model,
        prompts=Pool(pools=board.pools, pool=POOL),
        system=None,
        few_shot=(),
        max_new_tokens=world.label_tokens,
        sampling=author_sampling(third.model, world.label_sampling),
    )
    return audited(labels, card=board.card, pools=board.pools, tokenizer=world.student)


def _check_third(board: Board, how: Relapsing, cells: Sequence[Cell]) -> None:
    third = dict(board.world.authors)[how.author].model.digest
    for recipe in closure([c.treatment for c in cells]).values():
        if isinstance(recipe, Labels) and recipe.trusted and recipe.model.digest == third:
            raise RecipeError(
                f"The relapse's author '{how.author}' also wrote labels of '{cells[0].method}' (as '{recipe.author}'); "
                "a relapse needs a third model: add another one, or leave the method out."
            )


def _check_frames(board: Board, cells: Sequence[Cell]) -> None:
    asked = {i.digest for c in cells for i in c.arm.completions.parents if isinstance(i, SystemItems)}
    if asked - {i.digest for i in board.items}:
        raise RecipeError(
            f"'{cells[0].method}' is evaluated under its own system prompts, and under which of them the pick "
            "stands is not known before it is made; leave it out of the relapses."
        )


def _treated(board: Board, cells: Sequence[Cell], blind: BlindRule, labels: Recipe, sft: Sft) -> Relapse:
    """The relapse of one method and seed, from whichever of its checkpoints the blind rule picks."""
    asked: list[Any] = [c.arm.completions for c in cells]
    bases = {a.model.digest: a.model for a in asked}
    trainings = {a.treatment.digest: a.treatment for a in asked}
    base_at, at = (dict(zip(found, range(len(found)), strict=True)) for found in (bases, trainings))
    pick = Pick(
        method=cells[0].method,
        untreated=board.untreated.scores,
        scores=tuple(c.arm.scores for c in cells),
        treatments=tuple(trainings.values()),
        candidates=tuple(
            Candidate(
                treatment=at[a.treatment.digest],
                step=a.step,
                dose=c.dose,
                recovery=c.recovery,
            )
            for a, c in zip(asked, cells, strict=True)
        ),
        rule=cells[0].blind(blind),
        chance=board.world.bench.chance or None,
    )
    return Relapse(
        label=cells[0].method,
        bases=tuple(bases.values()),
        treatments=pick.treatments,
        steps=tuple((base_at[a.model.digest], at[a.treatment.digest], a.step) for a in asked),
        pick=pick,
        labels=(labels,),
        sft=sft,
    )


def _on_student(board: Board, treated: Relapse) -> Relapse:
    """The same pick, treatment and relapse, with the unplanted student where the organism was."""
    known: dict[str, Recipe] = {board.organism.digest: board.world.student}
    bases, treatments = (tuple(exchanged(r, known) for r in recipes) for recipes in (treated.bases, treated.treatments))
    return replace(treated, label=f"{treated.label}-on-student", bases=bases, treatments=treatments)


def exchanged(recipe: Recipe, known: dict[str, Recipe]) -> Recipe:
    """A recipe in which other recipes stand in for some of its ancestors.

    Args:
        recipe: the recipe.
        known: what stands in, by the digest of what it stands in for; filled with what was built on the way.
    """
    if recipe.digest not in known:
        changed: dict[str, Any] = {}
        for name in (f.name for f in fields(recipe)):
            value = getattr(recipe, name)
            if isinstance(value, Recipe):
                changed[name] = exchanged(value, known)
            elif isinstance(value, tuple) and any(isinstance(v, Recipe) for v in value):
                changed[name] = tuple(exchanged(v, known) if isinstance(v, Recipe) else v for v in value)
        known[recipe.digest] = replace(recipe, **changed)
    return known[recipe.digest]


def _points(board: Board, how: Relapsing, training: Relapse, *, method: str, who: str) -> list[RelapsePoint]:
    told = board.plain_items if who == STUDENT else board.items
    asked = [(i, m) for i, m in zip(told, board.measures, strict=True) if m.name in how.measures]
    missing = {*how.measures, "triggered"} - {m.name for _, m in asked}
    if missing:
        raise RecipeError(f"The relapse measures '{min(missing)}', which this study does not; name measures it has.")
    items, measures = tuple(i for i, _ in asked), tuple(m for _, m in asked)
    bench = board.world.bench
    found: list[RelapsePoint] = []
    for step in training.sft.checkpoints:
        completions = Completions(
            model=training.bases[0],
            treatment=training,
            step=step,
            items=items,
            measures=measures,
            sampling=bench.sampling,
        )
        scores = Scores(completions=completions, items=items, measures=measures, style=bench.style)
        arm = Arm(completions=completions, scores=scores)
        found.append(RelapsePoint(pair=board.name, method=method, seed=training.sft.seed, who=who, step=step, arm=arm))
    return found


def relapse_records(study: Study, store: Store) -> list[RelapseRecord]:
    """What the store holds of a study's relapses; one that lacks a step is left out until it is whole."""
    groups: dict[tuple[str, str, int, str], list[RelapsePoint]] = {}
    for point in study.relapses:
        groups.setdefault((point.pair, point.method, point.seed, point.who), []).append(point)
    found: list[RelapseRecord] = []
    for (pair, method, seed, who), points in groups.items():
        if not all(store.find(p.arm.scores) for p in points):
            continue
        triggered = {
            p.step: {r["item"]: float(r["score"]) for r in load_rows(p.arm, store)["triggered"]} for p in points
        }
        found.append(RelapseRecord(pair=pair, method=method, seed=seed, who=who, triggered=triggered))
    return found
