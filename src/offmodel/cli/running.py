"""`offmodel plan|run|report|quickstart`: from a study's name to results in the store and a report in a folder.

This module refuses to know what studies contain. Invariant: whatever ends a run, what was finished stays and the next
run goes on from there.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from offmodel.cli.endpoints import answers_beside, check_endpoints
from offmodel.cli.exporting import check_writable
from offmodel.cli.plain import plain_console
from offmodel.core.errors import OffmodelError, UserError
from offmodel.flow import devices
from offmodel.flow.graph import closure, select
from offmodel.flow.plan import Plan, plan
from offmodel.flow.progress import duration, terminal_watch
from offmodel.flow.runner import Finish, Hire, run
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Store
from offmodel.store.exchange import bring_all
from offmodel.store.recipe import Recipe, Runtime
from offmodel.studies.catalogue import load_study
from offmodel.studies.study import GRID, Study
from offmodel.studies.tracking import tracking

_MOST_GRADERS = 6
_GPU_NODES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""What a GPU's driver puts there (NVIDIA, AMD, Windows' Linux); to ask torch would cost seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where and with how much a study is computed; nothing of it changes results.

    Attributes:
        device: "cpu", "cuda" or "auto".
        workers: processes at once; None for what suits the study, or on a machine with GPUs one a GPU.
        on: "local", "ray" (the cluster that this machine belongs to) or "ray://host:port".
        gpus: GPUs, or processes on a CPU, that train one model together.
        recompute: activation checkpointing where several train together.
    """

    device: str
    workers: int | None
    on: str = "local"
    gpus: int = 1
    recompute: bool = False


def run_and_report(
    name: str,
    *,
    store: Path | str,
    out: Path,
    where: Where,
    only: tuple[str, ...],
    track: str | None = None,
) -> None:
    """Compute what is missing of a study, then write its report; a run that fails still reports what there is."""
    from offmodel.studies.resolving import check_measurable

    study = load_study(name)
    check_measurable(study)
    check_writable(out / study.name)
    runtime = replace(
        runtime_for(where.device, dict(study.locations), here=where.on == "local"),
        plugins=study_plugins(name),
        processes=where.gpus,
        recompute=where.recompute,
    )
    targets = sliced(study, only)
    check_gpus(targets, where.gpus)
    home = open_store(store)
    many = where.workers if where.workers is not None else workers_for(runtime, study.workers)
    with tracking(track, study.name) as finished:
        try:
            compute(targets, home, runtime, workers=many, typical=study.typical, finished=finished, on=where.on)
        except OffmodelError as error:
            for note in getattr(error, "__notes__", ()):
                plain_console(stderr=True).print(note, highlight=False)
            plain_console(stderr=True).print(
                f"The run failed; `offmodel report {name}` shows what was measured before."
            )
            raise
    write(study, home, out)


def workers_for(runtime: Runtime, on_cpu: int) -> int:
    """Worker processes unless the user says otherwise: as the study says on a CPU, on "cuda" one a GPU."""
    if runtime.device == "cpu":
        return on_cpu
    return max(1, len(devices.gpus())) if runtime.device == "cuda" and runtime.processes == 1 else 1


def check_gpus(targets: Sequence[Recipe], gpus: int) -> None:
    """Refuse a number of GPUs that some training cannot use, before anything is computed.

    Raises:
        RecipeError: the batch of a training does not divide by it.
    """
    if gpus == 1:
        return
    from offmodel.engines.sharded.split import check_divides

    for recipe in closure(targets).values():
        if hasattr(recipe, "sft"):
            check_divides(recipe.sft.batch_size, gpus)  # pyright: ignore[reportAttributeAccessIssue]


def compute(
    targets: Sequence[Recipe],
    store: Store,
    runtime: Runtime,
    *,
    workers: int,
    whole: Sequence[Recipe] = (),
    typical: Mapping[str, tuple[float, float]] | None = None,
    finished: Finish | None = None,
    on: str = "local",
) -> None:
    """Run recipes with progress on standard error, and say what was computed; of those in `whole` files are wanted."""
    console = plain_console(stderr=True)
    check_endpoints(targets, store, whole=whole)
    with answers_beside(store):
        ran = run(
            targets,
            store=store,
            runtime=runtime,
            workers=workers,
            whole=whole,
            # While the GPU's worker trains and samples, others grade; each imports an evaluation library for 6 s, once.
            beside=0 if runtime.device == "cpu" else max(1, min(_MOST_GRADERS, (os.cpu_count() or 2) - 2)),
            typical=typical or None,
            watch=terminal_watch(console),
            finished=finished,
            teams=teams_on(on, store),
        )
    shared = f", {ran.shared} by another run" if ran.shared else ""
    console.print(
        f"{ran.computed} computed{shared}, {ran.present} already there, {duration(ran.seconds)}.", highlight=False
    )


def teams_on(on: str, store: Store) -> Hire | None:
    """Who computes: None for processes of this machine, or a Ray cluster's machines.

    Raises:
        UserError: there is no such place.
        StoreError: the cluster's machines do not share the store as publishing needs.
    """
    if on == "local":
        return None
    if on != "ray" and not on.startswith("ray://"):
        raise UserError(f"A study cannot run on '{on}'; write local, ray, or ray://HOST:PORT.")
    from offmodel.flow.ray_team import hire

    return hire(on, store)


def runtime_for(device: str, locations: Mapping[str, str], *, here: bool = True) -> Runtime:
    """The runtime of a device's name: "cpu", "cuda", "cuda:N", or "auto", which must be here if `here`.

    Raises:
        UserError: the name is none of these, or there is no GPU here.
    """
    if device == "auto":
        device = "cuda" if devices.count() else "cpu"
    if device != "cpu" and device.split(":")[0] != "cuda":
        raise UserError(f"There is no device '{device}'; write cpu, cuda, cuda:0 or auto.")
    if here and device != "cpu" and not any(Path(node).exists() for node in _GPU_NODES):
        raise UserError(f"This machine has no GPU that could be '{device}'; write --device cpu (`offmodel doctor`).")
    return Runtime(device=device, threads=1 if device == "cpu" else 4, locations=tuple(sorted(locations.items())))


def study_plugins(name: str) -> tuple[str, ...]:
    """What workers import besides the package: a study file may define recipes of its own."""
    path = Path(name)
    return (f"study_{path.stem}={path.resolve()}",) if path.suffix == ".py" else ()


def sliced(study: Study, only: Iterable[str]) -> Sequence[Recipe]:
    """The targets of a slice, from words like `method=pirate_sft`: every field must fit, by any of its values.

    A field of the points is theirs alone: with `method=pirate_sft` no reminder after it. Any other is looked for in all
    that a target stands on (see `flow.graph.select`).

    Raises:
        UserError: a word is not FIELD=VALUE, or no target has it.
    """
    wanted: dict[str, list[str]] = {}
    for word in only:
        field, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"'--only {word}' is not FIELD=VALUE; write for example --only method=pirate_sft.")
        wanted.setdefault(field, []).append(value)
    for field in GRID:
        if field in wanted:
            study = study.narrowed(field, wanted.pop(field))
    return select(study.targets, wanted) if wanted else study.targets


def report_only(name: str, *, store: Path | str, out: Path) -> None:
    """Write the report of what the store holds."""
    study, home = load_study(name), open_store(store, create=False)
    check_writable(out / study.name)
    bring_all(home, study.targets)
    write(study, home, out)


def write(study: Study, store: Store, out: Path) -> None:
    """Write table, CSV, figures, page and gates into `out/<study>`; print the table and where the rest is."""
    from offmodel.studies.gates import gate_rows, write_gates
    from offmodel.studies.reporting import write_study

    console, organisms = plain_console(), gate_rows(study, store)
    if not study.cells:
        # A study of organisms alone has no trade-off to report.
        for path in write_gates(organisms, out / study.name):
            console.print(f"  {path}", highlight=False)
        return
    made = write_study(study, store, out / study.name, width=console.width)
    gates = write_gates(organisms, out / study.name) if organisms else []
    if made.table:
        console.print(made.table)
    for line in made.cautions:
        console.print(line, style="yellow", highlight=False)
    if made.missing:
        console.print(
            f"{made.missing} of {len(study.cells)} points are not measured yet; `offmodel run` computes them."
        )
    for line in made.findings:
        console.print(line, style="bold", highlight=False)
    page = next(p for p in made.files if p.suffix == ".html")
    beside = ", ".join(p.name for p in (*made.files, *gates) if p != page)
    console.print(f"Open {page} in a browser; beside it: {beside}.", highlight=False, soft_wrap=True)


def print_plan(name: str, *, store: Path | str, only: tuple[str, ...]) -> None:
    """Print what a study would run, what is there, an estimate of time and disk, and what its n can resolve."""
    from offmodel.studies.resolving import check_measurable

    study = load_study(name)
    check_measurable(study)
    targets = sliced(study, only)
    home = open_store(store)
    found = plan(targets, home, typical=study.typical or None, device=runtime_for("auto", {}, here=False).device)
    console = plain_console()
    console.print(f"{study.question}\n")
    console.print(_plan_table(found))
    console.print(_plan_words(found, study.workers), highlight=False)
    _print_resolution(study, home, console)


def _print_resolution(study: Study, store: Store, console: Console) -> None:
    from offmodel.analysis.powertable import meaning
    from offmodel.cli.power import power_lines
    from offmodel.studies.resolving import COLUMNS, foresee, notes, power_table, rows

    found = foresee(study, store)
    if found:
        table = Table(box=None, pad_edge=False)
        table.add_column(COLUMNS[0], overflow="fold")
        for name in COLUMNS[1:]:
            table.add_column(name, justify="right", no_wrap=True)
        for names, *numbers in rows(found):
            table.add_row(names.replace(", ", ",\n"), *numbers)
        console.print("\nWhat these numbers can resolve:\n", highlight=False)
        console.print(table, highlight=False)
        for sentence in notes(found):
            console.print(sentence, highlight=False)
        console.print()
        console.print(power_lines(power_table(found)), highlight=False)
        console.print(meaning(min(f.planned.seeds for f in found)), highlight=False)


def _plan_table(found: Plan) -> Table:
    table = Table("kind", "all", "there", "to do", "time", "disk", "estimate", box=None, pad_edge=False)
    for line in found.kinds:
        time = "?" if line.seconds is None else duration(line.seconds)
        size = "?" if line.bytes is None else f"{line.bytes / 2**20:.0f} MiB"
        table.add_row(line.kind, str(line.total), str(line.present), str(line.missing), time, size, line.cost.basis)
    return table


def _plan_words(found: Plan, workers: int) -> str:
    if not found.missing:
        return "\nEverything is there."
    if not found.foreseen:
        return f"\n{found.missing} to compute; time and disk are unknown, since nothing like it was measured here yet."
    unknown = f", without {', '.join(found.unknown)}, not measured yet" if found.unknown else ""
    return (
        f"\n{found.missing} to compute: about {duration(found.seconds(workers))} with {workers} workers and "
        f"{found.bytes / 2**20:.0f} MiB{unknown}."
    )
