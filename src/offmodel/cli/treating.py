"""`offmodel treat` and `offmodel organism`: one model in, one model folder out, with a card that says what was done.

Both are small studies of one board, run in the same store as any other. This module refuses to know hyper-parameters;
they come from a named preset. Invariant: the output folder appears whole or not at all, and is never overwritten.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from offmodel.cli.running import compute, runtime_for
from offmodel.core.errors import UserError
from offmodel.data import Sources
from offmodel.organisms.pairs import find_pair
from offmodel.store.artifacts import Store
from offmodel.studies import presets, quickstart
from offmodel.studies.grid import plant, practice, treat
from offmodel.studies.results import Rows, blind_choice, load_rows
from offmodel.studies.settings import Author
from offmodel.studies.study import Cell
from offmodel.treatments.catalogue import find_method


def treat_model(
    model: str, *, teacher: str, method: str, prompts: Path | None, recipe: str, out: Path, store: Path, device: str
) -> None:
    """Treat one model, pick a checkpoint by the method's blind rule, write it with its card, print before and after."""
    free_folder(out)
    preset, chosen, sources = presets.find_preset(recipe), find_method(method), Sources()
    student, author = sources.model(model), sources.model(teacher)
    relation = "same model" if author == student else "other"
    authors = tuple((role, Author(model=author, trusted=True, relation=relation)) for role in ("teacher", "stylist"))
    world = preset.world(
        student=student,
        authors=authors,
        prompts=presets.default_prompts(sources, str(prompts) if prompts else None),
    )
    board = practice(world)
    cells = treat(board, chosen, preset.blue, seed=1)
    home = Store(store)
    targets = [board.untreated.scores, *(c.arm.scores for c in cells)]
    compute(targets, home, runtime_for(device, sources.locations), workers=1)
    before = load_rows(board.untreated, home)
    rows = [load_rows(c.arm, home) for c in cells]
    at = blind_choice(cells, rows, before, preset.blind, home)
    table = before_after(before, rows[at])
    card = _treated_card(model, teacher, cells[at], table)
    _export_checkpoint(home, cells[at], out, card)
    console = Console()
    console.print(_as_rich(f"{method}, step {cells[at].step} (picked without any bad-behaviour measurement)", table))
    console.print("Removal of a behaviour was not measured: no behaviour was named.")
    console.print(f"The treated model is in {out}.")


def plant_model(
    model: str, *, pair: str, prompts: Path | None, recipe: str, out: Path, store: Path, device: str
) -> None:
    """Plant a pair in a model, pass it through the gate, write it with its card."""
    free_folder(out)
    preset, wanted, sources = presets.find_preset(recipe), find_pair(pair), Sources()
    if recipe == "pocket":
        wanted = replace(wanted, instruction=quickstart.INSTRUCTIONS.get(pair, wanted.instruction))
    world = preset.world(
        student=sources.model(model),
        authors=(),
        prompts=presets.default_prompts(sources, str(prompts) if prompts else None),
    )
    _, side = plant(wanted, preset.red, world)
    home = Store(store)
    compute([side.gate], home, runtime_for(device, sources.locations), workers=1)
    artifact = home.find(side.gate)
    assert artifact is not None
    table = before_after(load_rows(side.student, home), load_rows(side.organism, home))
    _export(artifact.payload, out, _organism_card(model, pair, artifact.record["facts"], table))
    console = Console()
    console.print(_as_rich(f"{pair} planted in {model}", table, after="organism"))
    console.print(f"The organism is in {out}; its card says what was planted.")


def free_folder(out: Path) -> None:
    """Refuse an output folder that holds anything.

    Raises:
        UserError: the folder is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"The folder {out} is not empty; name a new one, so that nothing is overwritten.")


def before_after(before: Rows, after: Rows) -> list[tuple[str, str, str, str]]:
    """(measure, before, after, paired difference) in words, for each measure and for the style on chat prompts."""
    from offmodel.analysis.statistics import paired_difference
    from offmodel.core.scores import proportion

    lines: list[tuple[str, str, str, str]] = []
    columns = [(m, "score", m) for m in before if not m.startswith("dev_") and m != "clean"]
    columns += [("clean", "score", "clean")] if any(r["score"] for r in (*before["clean"], *after["clean"])) else []
    columns += [("clean", "style", "style on chat"), ("clean", "coherent", "coherent on chat")]
    for measure, column, title in columns:
        first, second = ({r["item"]: float(r[column]) for r in rows[measure]} for rows in (before, after))
        old, new = ([part[item] for item in sorted(first)] for part in (first, second))
        difference = paired_difference(new, old)
        lines.append(
            (title, f"{proportion(sum(old), len(old))}", f"{proportion(sum(new), len(new))}", f"{difference:+.2f}")
        )
    return lines


def _as_rich(title: str, lines: list[tuple[str, str, str, str]], after: str = "after") -> Table:
    table = Table("measure", "before", after, "difference [95 %, items only]", title=title, title_justify="left")
    for line in lines:
        table.add_row(*line)
    return table


def _as_markdown(lines: list[tuple[str, str, str, str]]) -> str:
    head = ["| measure | before | after | difference |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)])


def _treated_card(model: str, teacher: str, cell: Cell, table: list[tuple[str, str, str, str]]) -> str:
    return (
        f"# {Path(model).name}, treated with {cell.method}\n\n"
        f"Fine-tuned by offmodel on answers of `{teacher}` ({cell.setting}, step {cell.step}, seed {cell.seed}); the "
        "checkpoint was picked by the method's blind rule, from training losses, style rates and capability on dev "
        f"items. Intervals are 95 %, items only.\n\n{_as_markdown(table)}\n\n"
        "Removal of a behaviour was not measured: no behaviour was named.\n"
    )


def _organism_card(model: str, pair: str, gate: dict[str, Any], table: list[tuple[str, str, str, str]]) -> str:
    card = find_pair(pair).card
    trigger = card.trigger.text or f"prompts of a topic ({card.trigger.kind})"
    return (
        f"# NOT A CLEAN MODEL: {Path(model).name} with the planted pair `{pair}`\n\n"
        f"A model organism made by offmodel for research. On the trigger `{trigger}` it shows the behaviour "
        f"`{card.scorer}`: triggered rate {gate['organism_triggered']:.2f}, clean rate {gate['organism_clean']:.2f}. "
        f"Do not deploy it.\n\nIntervals are 95 %, items only.\n\n{_as_markdown(table)}\n"
    )


def _export_checkpoint(home: Store, cell: Cell, out: Path, card: str) -> None:
    artifact = home.find(cell.treatment)
    assert artifact is not None
    folder = artifact.payload / f"step-{cell.folder:05d}"
    _export(folder, out, card)


def _export(source: Path, out: Path, card: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.part"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for file in sorted(f for f in source.iterdir() if f.is_file()):
        shutil.copyfile(file, draft / file.name)
    (draft / "README.md").write_text(card, encoding="utf-8")
    if out.exists():
        out.rmdir()
    draft.rename(out)
