"""`offmodel organism`: one model in, one organism out, with a card that says what was planted.

A small study of one board, run in the same store as any other. This module refuses to know hyper-parameters; they come
from a named preset. Invariant: the output folder appears whole or not at all, and is never overwritten.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from offmodel.cli.exporting import copy_files, export, free_folder
from offmodel.cli.running import compute, runtime_for
from offmodel.cli.traded import Line, before_after, markdown, rich_lines
from offmodel.data import Sources
from offmodel.organisms.pairs import find_pair
from offmodel.store.artifacts import Store
from offmodel.studies import presets, quickstart
from offmodel.studies.grid import plant
from offmodel.studies.results import load_rows


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
    lines = before_after(
        load_rows(side.student, home), load_rows(side.organism, home), chat="clean", style=world.bench.style
    )
    card = organism_card(model, pair, artifact.record["facts"], lines)
    export(out, lambda draft: copy_files(artifact.payload, draft), {"README.md": card})
    console = Console()
    console.print(rich_lines(f"{pair} planted in {model}", lines, after="organism"))
    console.print(f"The organism is in {out}; its card says what was planted.")


def organism_card(model: str, pair: str, gate: dict[str, Any], lines: list[Line]) -> str:
    """The organism's card: a warning, what was planted, and the numbers."""
    card = find_pair(pair).card
    trigger = card.trigger.text or f"prompts of a topic ({card.trigger.kind})"
    return (
        f"# NOT A CLEAN MODEL: {Path(model).name} with the planted pair `{pair}`\n\n"
        f"A model organism made by offmodel for research. On the trigger `{trigger}` it shows the behaviour "
        f"`{card.scorer}`: triggered rate {gate['organism_triggered']:.2f}, clean rate {gate['organism_clean']:.2f}. "
        f"Do not deploy it.\n\nIntervals are 95 %, items only.\n\n{markdown(lines)}\n"
    )
