"""One real model to treat: nothing planted, no trigger known; what is measured, and by what the checkpoint is picked.

Checkpoints are picked on dev items alone; the tasks that were asked for, and what is watched, are measured on two
models only: the untreated one and the pick. This module refuses to choose numbers: they come from a preset. Invariant:
every mistake that can be seen without loading a model is raised while the recipes are built.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path

from offmodel.audit import deal
from offmodel.core.chat import Prompt
from offmodel.core.errors import DataError, ModelError, RecipeError, UserError
from offmodel.data import JsonlPrompts, Pool, Sources, parse_prompts
from offmodel.evals.completions import Completions
from offmodel.evals.framed import SystemItems
from offmodel.evals.graders import NO_GRADER
from offmodel.evals.items import ChatItems
from offmodel.evals.measures import Measure
from offmodel.evals.scores import Scores
from offmodel.evals.suites.catalogue import CapabilityTask
from offmodel.models import EndpointModel
from offmodel.store.recipe import Recipe
from offmodel.studies import quickstart
from offmodel.studies.grid import Board, practice, treat
from offmodel.studies.presets import Preset
from offmodel.studies.settings import Author, Blue, Capability
from offmodel.studies.study import Cell
from offmodel.studies.watching import Watch, framed
from offmodel.treatments.interface import Method, MissingSettings

CHAT = "chat"
"""The measure of answers to held-out prompts, for style and coherence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """A model's treatment, planned.

    Attributes:
        board: the model, its prompts, and the dev measures.
        cells: the checkpoints.
        tasks: the capability tasks that were asked for.
        watch: what is watched; None if nothing.
        preset: the numbers.
    """

    board: Board
    cells: tuple[Cell, ...]
    tasks: tuple[CapabilityTask, ...]
    watch: Watch | None
    preset: Preset

    def reported(self, cell: Cell | None) -> list[Recipe]:
        """Scores of the untreated model (None) or of a checkpoint: the tasks asked for, chat, and what is watched."""
        asked: Completions | None = cell.arm.completions if cell else None  # pyright: ignore[reportAssignmentType]
        model = asked.model if asked else self.board.organism
        treatment, step = (asked.treatment, asked.step) if asked else (None, None)
        bench = self.board.world.bench
        rows = [(t.items, Measure(name=t.name, grader=t.grader, max_new_tokens=t.max_new_tokens)) for t in self.tasks]
        chat = Measure(name=CHAT, grader=NO_GRADER, max_new_tokens=bench.chat_tokens)
        rows.append((ChatItems(prompts=Pool(pools=self.board.pools, pool="eval")), chat))
        system = system_of(cell) if cell else None
        items, measures = tuple(framed(i, system) for i, _ in rows), tuple(m for _, m in rows)
        completions = Completions(
            model=model, treatment=treatment, step=step, items=items, measures=measures, sampling=bench.sampling
        )
        found: list[Recipe] = [Scores(completions=completions, items=items, measures=measures, style=bench.style)]
        if self.watch is not None:
            found.append(
                self.watch.scores(model, treatment, step, system=system, sampling=bench.sampling, style=bench.style)
            )
        return found


def system_of(cell: Cell) -> str | None:
    """The system prompt under which a checkpoint is meant to be used; None for most methods."""
    items: tuple[Recipe, ...] = cell.arm.completions.items  # pyright: ignore[reportAttributeAccessIssue]
    return next((i.system for i in items if isinstance(i, SystemItems)), None)


def plan_practice(
    *,
    student: Recipe,
    authors: Sequence[tuple[str, Author]],
    prompts: Recipe,
    method: Method,
    preset: Preset,
    tasks: tuple[CapabilityTask, ...],
    watch: Watch | None,
) -> Practice:
    """The recipes of a treatment.

    Args:
        student: the model to treat.
        authors: who may write labels, by role.
        prompts: harmless prompts to train and to look at chat on.
        method: how to treat.
        preset: all numbers.
        tasks: what capability is; the first gives the dev items by which the checkpoint is picked.
        watch: what is watched, or None.

    Raises:
        ModelError: the student is behind an endpoint.
        UserError: the method is an oracle, or lacks an author or settings.
    """
    if isinstance(student, EndpointModel):
        raise ModelError("A model behind an endpoint can write labels but not be treated; give a folder or a hub id.")
    if method.oracle:
        raise UserError(
            f"The method '{method.name}' needs a clean copy of the model, which nobody has in practice; it is for "
            "studies only: choose another of `offmodel methods`."
        )
    first = tasks[0]
    if first.dev_items is None:
        raise DataError(f"The task '{first.name}' has no dev items to pick a checkpoint by; name another task first.")
    dev = Capability(
        name="dev_capability", items=first.dev_items, grader=first.grader, max_new_tokens=first.max_new_tokens
    )
    world = preset.world(student=student, authors=tuple(authors), prompts=prompts)
    sizes = tuple(s for s in world.sizes if s.pool != "red")  # nothing is planted
    world = replace(world, sizes=sizes, bench=replace(world.bench, capabilities=(dev,), chance=first.chance))
    board = practice(world)
    try:
        cells = _cells(board, method, preset.blue, preset.seed)
    except RecipeError as error:
        raise UserError(
            f"The method '{method.name}' cannot be used so: {error} (`--author ROLE=MODEL` names an author.)"
        ) from None
    if watch is not None and watch.task is not None and any(system_of(c) for c in cells):
        raise UserError(
            f"The method '{method.name}' is used under a system prompt, which an Inspect task does not take; watch "
            "prompts of a JSONL file instead."
        )
    return Practice(board=board, cells=tuple(cells), tasks=tasks, watch=watch, preset=preset)


def _cells(board: Board, method: Method, blue: Blue, seed: int) -> Sequence[Cell]:
    """The checkpoints; settings that the preset lacks are a method's own defaults, where it has one for every field."""
    try:
        return treat(board, method, blue, seed=seed)
    except MissingSettings as error:
        kind = error.kind
        given = (f.default is not MISSING or f.default_factory is not MISSING for f in fields(kind))
        if not all(given):
            raise UserError(
                f"The method '{method.name}' needs settings '{kind.__name__}', which have no defaults and which "
                "`treat` does not know; use it in a study, which gives them (docs/add-a-treatment.md)."
            ) from None
    return _cells(board, method, replace(blue, choices=(*blue.choices, kind())), seed)


def check_prompts(prompts: Recipe, preset: Preset, sources: Sources) -> list[Prompt]:
    """The prompts of a source, after a look at whether they are enough.

    Raises:
        DataError: the file is empty or damaged.
        AuditError: there are too few; says how many are needed.
    """
    if not isinstance(prompts, JsonlPrompts):
        from offmodel.pocket.world import chat_prompts

        own = quickstart.PROMPTS
        return chat_prompts(n=own.n, seed=own.seed, split="train")
    found = parse_prompts(Path(sources.locations[prompts.content]))
    deal(found, tuple(s for s in preset.sizes if s.pool != "red"), preset.split_seed, "for training and measuring")
    return found
