"""`offmodel plan STUDY --on H100x8`: the table of what a study would cost on a machine.

This module refuses to estimate; it prints. Invariant: what was assumed is named below the table.
"""

from rich.table import Table

from offmodel.cli.plain import plain_console
from offmodel.cli.running import sliced
from offmodel.engines.footprint import GIB
from offmodel.flow.graph import closure
from offmodel.flow.progress import duration
from offmodel.studies.catalogue import load_study
from offmodel.studies.scale.estimate import Estimate, estimate_study
from offmodel.studies.scale.machines import find_machine

_WIDTH = 130  # so that no column is cut in a log


def print_estimate(name: str, *, on: str, price: float | None, only: tuple[str, ...]) -> None:
    """Print GPU-hours, wall time, memory, disk and cost of a whole study, by kind of step."""
    machine = find_machine(on, price)
    study = load_study(name)
    recipes = list(closure(sliced(study, only)).values())
    found = estimate_study(recipes, machine, dict(study.locations))
    console = plain_console(width=max(plain_console().width, _WIDTH))
    console.print(f"{study.question}\n")
    console.print(table_of(found))
    for line in words(found):
        console.print(line, highlight=False)


def table_of(found: Estimate) -> Table:
    """One line a kind of step."""
    columns = ("step", "number", "GPUs each", "GiB a GPU", "time each", "GPU-hours", "hours", "disk", "dollars")
    table = Table(box=None, pad_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for x in found.lines:
        gpu = (str(x.gpus), f"{x.memory / GIB:.0f}{' r' if x.recompute else ''}") if x.gpus else ("-", "-")
        hours = (f"{x.gpu_hours:,.1f}", f"{x.gpu_hours / found.machine.gpus:,.1f}") if x.gpus else ("-", "-")
        dollars = f"{x.gpu_hours * found.machine.dollars:,.0f}" if x.gpus else "-"
        table.add_row(x.kind, f"{x.steps:,}", *gpu, duration(x.seconds), *hours, _size(x.disk), dollars)
    return table


def _size(count: float) -> str:
    return f"{count / 1e12:.1f} TB" if count >= 1e12 else f"{count / 1e9:.1f} GB"


def words(found: Estimate) -> list[str]:
    """The sum, and what it rests on."""
    m = found.machine
    small = 1 if found.gpu_hours < 10 else 0
    lines = [
        f"\n{found.gpu_hours:,.{small}f} GPU-hours: {found.hours:,.1f} hours on {m.name}x{m.gpus} if its GPUs are "
        f"always at work, {_size(found.disk)} on disk, about {found.dollars:,.{small}f} dollars at {m.dollars:g} a "
        "GPU-hour.",
        "Memory, launches and trainings are measured at 0.5B and 8B, the link between GPUs at two of them; a mixture's "
        "share of the peak, answers and price are assumed (studies/scale/calibration.json): expect a factor of 2.",
    ]
    if any(x.recompute for x in found.lines):
        lines.append("r: with recompute (`offmodel run --recompute`), which keeps less of each layer.")
    return lines
