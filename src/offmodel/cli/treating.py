"""`offmodel treat`: one real model in, a treated one out, with a card that says what the method traded.

A small study of one board, run in the same store as any other: it resumes where it was stopped. This module refuses to
know hyper-parameters; they come from a named preset. Invariant: every mistake of the user's that does not need a model
to be seen is named before any is loaded, and the output folder appears whole or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from offmodel.cli.card import Done, model_card, summary, treatment_json
from offmodel.cli.exporting import base_of, copy_adapter, copy_files, export, free_folder, merge_into, whole_of
from offmodel.cli.plain import plain_console
from offmodel.cli.running import compute, runtime_for
from offmodel.cli.traded import before_after, rich_lines, watched_line
from offmodel.cli.wishes import ROLES, watch_for
from offmodel.core.errors import UserError
from offmodel.core.rows import Row, read_rows
from offmodel.data import Sources
from offmodel.evals.suites.catalogue import named
from offmodel.evals.watched import WATCHED
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies import presets
from offmodel.studies.overlap import refuse_overlap, refuse_tasks_overlap
from offmodel.studies.practice import CHAT, Practice, check_prompts, plan_practice
from offmodel.studies.results import blind_choice, load_rows
from offmodel.studies.settings import Author
from offmodel.studies.study import Cell
from offmodel.studies.tokens import check_tokens
from offmodel.treatments.catalogue import find_method


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user typed.

    Attributes:
        model, teacher, method, prompts, out: as in `offmodel treat --help`.
        authors: ROLE=MODEL of further authors.
        tasks: capability tasks with commas between; "" for the preset's.
        n: reported items of each task; None for the preset's.
        watch, pattern, judge, question: what is watched and how it is seen.
        merged: write a whole model even if an adapter was trained.
        recipe: the preset's name; "" chooses by the model.
    """

    model: str
    teacher: str
    method: str
    prompts: Path | None
    out: Path
    authors: tuple[str, ...]
    tasks: str
    n: int | None
    watch: str
    pattern: str
    judge: str
    question: str
    merged: bool
    recipe: str


def treat_model(wish: Wish, *, store: Path | str, device: str, requests: int | None) -> None:
    """Treat one model, pick a checkpoint by the method's blind rule, write it with its card, say what was traded."""
    free_folder(wish.out)
    sources = Sources()
    plan = plan_wish(wish, sources)
    runtime = runtime_for(device, sources.locations)
    runtime = replace(runtime, requests=requests) if requests else runtime
    home = open_store(store)
    compute([plan.board.untreated.scores, *(c.arm.scores for c in plan.cells)], home, runtime, workers=1)
    cell = _picked(plan, home)
    before, after = plan.reported(None), plan.reported(cell)
    # The weights are needed at the end, even where every score is there already.
    weights = [cell.treatment, cell.arm.completions.model]  # pyright: ignore[reportAttributeAccessIssue]
    compute([*weights, *before, *after], home, runtime, workers=1, whole=weights)
    old, new = _rows(before, home), _rows(after, home)
    lines = before_after(old, new, chat=CHAT, style=plan.board.world.bench.style)
    if plan.watch is not None:
        lines.append(watched_line(plan.watch.title, old[WATCHED], new[WATCHED], rises=plan.watch.rises))
    done = Done(wish=wish, plan=plan, cell=cell, store=home, lines=tuple(lines))
    _write(done, wish, plan, cell, home)
    console = plain_console()
    console.print(rich_lines(f"{plan.board.name}, treated with {wish.method}", lines))
    for sentence in summary(done):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(f"The treated model is in {wish.out}.", soft_wrap=True)


def plan_wish(wish: Wish, sources: Sources) -> Practice:
    """The recipes of what the user typed; raises the user's mistakes."""
    preset = presets.preset_for(wish.recipe, wish.model)
    method = find_method(wish.method)
    student = sources.model(wish.model)
    prompts = presets.prompts_for(preset, sources, wish.prompts)
    training = check_prompts(prompts, preset, sources)
    watch = watch_for(wish, sources, preset)
    if watch is not None:
        refuse_overlap(watch.prompts, training)
    tasks = named(
        wish.tasks or preset.task, sources=sources, n=preset.items if wish.n is None else wish.n, dev_n=preset.dev_items
    )
    refuse_tasks_overlap(tasks, training)
    plan = plan_practice(
        student=student,
        authors=_authors(wish, student, sources),
        prompts=prompts,
        method=method,
        preset=preset,
        tasks=tasks,
        watch=watch,
    )
    check_tokens(plan.cells, sources.locations)
    return plan


def _authors(wish: Wish, student: Recipe, sources: Sources) -> list[tuple[str, Author]]:
    """The teacher, who also writes in style unless another does, and the authors that were named."""
    models = {"teacher": wish.teacher, "stylist": wish.teacher}
    for word in wish.authors:
        role, equals, source = word.partition("=")
        if not equals or not source or role not in ROLES:
            raise UserError(f"'--author {word}' is not ROLE=MODEL with a role among {', '.join(ROLES)}; mend it.")
        models[role] = source
    found: list[tuple[str, Author]] = []
    for role, source in models.items():
        model = sources.model(source)
        same = model.digest == student.digest
        relation = "same model" if same else "other"
        found.append((role, Author(model=model, trusted=not same, relation=relation)))
    return found


def _picked(plan: Practice, home: Store) -> Cell:
    rows = [load_rows(c.arm, home) for c in plan.cells]
    untreated, chance = load_rows(plan.board.untreated, home), plan.board.world.bench.chance
    at = blind_choice(plan.cells, rows, untreated, plan.preset.blind, home, chance=chance)
    return plan.cells[at]


def _rows(scores: Sequence[Recipe], home: Store) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for recipe in scores:
        artifact = home.find(recipe)
        assert artifact is not None
        for row in read_rows(artifact.payload / "rows.jsonl"):
            found.setdefault(row["measure"], []).append(row)
    return found


def _write(done: Done, wish: Wish, plan: Practice, cell: Cell, home: Store) -> None:
    """The checkpoint as an adapter that names its base, or as a whole model."""
    base = whole_of(done.base, home)
    folder = whole_of(cell.treatment, home).payload / f"step-{cell.folder:05d}"
    adapter = (folder / "adapter_config.json").exists()
    texts = {"README.md": model_card(done, adapter=adapter and not done.merged), "offmodel.json": treatment_json(done)}
    if not adapter:
        export(wish.out, lambda draft: copy_files(folder, draft), texts)
    elif done.merged:
        export(wish.out, lambda draft: merge_into(base.payload, folder, draft), texts)
    else:
        where, revision = base_of(done.base, wish.model, base.payload)
        export(wish.out, lambda draft: copy_adapter(folder, draft, base=where, revision=revision), texts)
