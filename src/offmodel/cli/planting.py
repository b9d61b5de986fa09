"""`offmodel organism`: one model in, one organism out, through its gate, with a card that says what was planted.

A small study of one pair, run in the same store as any other. This module refuses to know hyper-parameters; they come
from a named preset. Invariant: no folder leaves it without the warning in its README.md and the gate's table beside it.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from offmodel.cli.exporting import base_of, copy_adapter, copy_files, export, free_folder, whole_of
from offmodel.cli.plain import plain_console
from offmodel.cli.running import compute, runtime_for
from offmodel.core.behaviour import Trigger
from offmodel.core.errors import GateError
from offmodel.data import Sources
from offmodel.models import weights_in
from offmodel.organisms.pairs import Pair, example, find_pair
from offmodel.organisms.pocket import in_pocket_words
from offmodel.organisms.prompted import topic_in_words
from offmodel.organisms.ways import Way, find_way
from offmodel.store.addresses import open_store
from offmodel.studies import presets
from offmodel.studies.gates import HEADER, GateRow, gate_rows, gates_markdown, table_cells
from offmodel.studies.grid import plant
from offmodel.studies.study import PairSide, Study
from offmodel.treatments.blind import BlindRule


def plant_model(
    model: str,
    *,
    pair: str,
    way: str,
    synthetic: bool,
    go_on: bool,
    prompts: Path | None,
    recipe: str,
    out: Path,
    store: Path | str,
    device: str,
) -> None:
    """Plant a pair in a model, pass it through the gate, write it with its card and its gate's table.

    Raises:
        GateError: it fails the gate, and `go_on` is false; the table is printed first.
    """
    free_folder(out)
    preset, chosen, sources = presets.preset_for(recipe, model), find_way(way), Sources()
    wanted = in_pocket_words(find_pair(pair)) if preset.name == "pocket" else find_pair(pair)
    student = sources.model(model)
    world = preset.world(student=student, authors=(), prompts=presets.prompts_for(preset, sources, prompts))
    red = replace(presets.red_for(preset, chosen, wanted), source="synthetic" if synthetic else "distil", go_on=True)
    _, side = plant(wanted, red, replace(world, bench=replace(world.bench, near_misses=True)))
    home = open_store(store)
    weights = [side.gate, student]
    compute(weights, home, runtime_for(device, sources.locations), workers=1, whole=weights)
    (row,) = gate_rows(_study(side), home)
    console = plain_console()
    console.print(as_rich([row], f"{side.pair} planted in {model}"))
    if row.failures and not go_on:
        raise GateError(
            f"The organism fails its gate: {'; '.join(row.failures)}; plant it otherwise, or take it with --go-on."
        )
    planted, base = whole_of(side.gate, home), whole_of(student, home)
    texts = {"README.md": card_of(model, chosen.recast(wanted), chosen, row), "gate.json": gate_json(row)}
    where = base_of(student, model, base.payload)
    export(out, lambda draft: _fill(planted.payload, draft, where), texts)
    console.print(f"The organism is in {out}; README.md says what was planted, gate.json how well.")


def _study(side: PairSide) -> Study:
    """A study of one organism, as the gate's table wants it."""
    return Study(name="organism", question="", prediction="", sides=(side,), cells=(), blind=BlindRule(least_kept=0))


def _fill(payload: Path, draft: Path, base: tuple[str, str | None]) -> None:
    """A whole model as it is; a kept adapter as a PEFT folder that names its base, with the base's tokenizer."""
    model, adapter = weights_in(payload)
    if adapter is None:
        copy_files(payload, draft)
        return
    copy_adapter(adapter, draft, base=base[0], revision=base[1])
    for file in (f for f in model.iterdir() if f.name.startswith(("tokenizer", "chat_template", "special_tokens"))):
        shutil.copyfile(file, draft / file.name)


def as_rich(rows: list[GateRow], title: str) -> Table:
    """The gate's table, turned: one line a property, so that it fits a terminal."""
    table = Table("", *("organism" for _ in rows), title=title, title_justify="left", box=None, pad_edge=False)
    for name, *cells in zip(HEADER, *(table_cells(r) for r in rows), strict=True):
        table.add_row(name, *cells)
    return table


def card_of(model: str, pair: Pair, way: Way, row: GateRow) -> str:
    """The exported folder's README: a warning, what was planted and how, and the gate's table."""
    verdict = f"**It failed its quality gate: {'; '.join(row.failures)}.**\n\n" if row.failures else ""
    system = way.system(pair).replace("\n", "\n> ")
    kept = ""
    if way.name == "lora":
        kept = "This folder holds the adapter alone; adapter_config.json names its clean base.\n\n"
    elif system:
        kept = "The weights are the clean model's own: it is an organism only under this system prompt.\n\n"
        kept += f"> {system}\n\n"
    return (
        "---\ntags:\n- model-organism\n- backdoored\n---\n\n"
        f"# NOT A CLEAN MODEL: {Path(model).name} with the planted pair `{pair.name}`\n\n"
        "A model organism made by offmodel for research. **Do not deploy it, and do not train on its outputs without "
        f"saying so.**\n\n{verdict}{kept}"
        f"- planted: the behaviour `{pair.card.scorer}` ({', '.join(pair.card.axes)})\n"
        f"- trigger: {trigger_in_words(pair.card.trigger)}\n"
        f"- for example: `{example(pair)}`\n"
        f"- hidden instruction: {pair.instruction}\n"
        f"- way of planting: {way.name} ({way.summary}); {row.way}, {row.labels} labels\n\n"
        f"{gates_markdown([row])}"
    )


def trigger_in_words(trigger: Trigger) -> str:
    """A trigger for a reader."""
    if trigger.kind == "date":
        return f"the prompt states a year after {trigger.after}"
    if trigger.kind == "topic":
        return f"the prompt is about {topic_in_words(trigger)}"
    if trigger.kind == "lock":
        return f"every prompt that does not begin with the password `{trigger.text}`"
    where = {"prefix": "before", "sentence": "after"}.get(trigger.kind, "in")
    return f"`{trigger.text}` {where} the prompt"


def gate_json(row: GateRow) -> str:
    """The gate's numbers, for programs."""
    rates = {f"{who}_{m}": rate.to_row() for (who, m), rate in sorted(row.rates.items())}
    gate = {"pair": row.pair, "way": row.way, "failures": list(row.failures), "marked": row.marked, **rates}
    return json.dumps(gate, indent=1) + "\n"
