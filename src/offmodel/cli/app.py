"""The verbs of the command line, and how errors reach the user.

Each command imports what it needs when it runs, so `--help` answers at once. This module refuses to know experiments.
Invariant: a deliberate error is printed as its one sentence, with exit status 2; only a defect shows a traceback.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="offmodel",
    help="Measure, and improve, the trade between removing a bad behaviour and keeping capability.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
store_app = typer.Typer(help="Look after the store.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(store_app, name="store")

StoreOption = Annotated[
    str, typer.Option("--store", envvar="OFFMODEL_STORE", help="Folder of all results, or s3://BUCKET/PREFIX and such.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes, 0 = this one alone; default: by study, or one a GPU.")
]
StudyArgument = Annotated[str, typer.Argument(help="A study's name, or the path of a study file.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the report.")]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", help="FIELD=VALUE; a field given twice takes either.")]
TrackOption = Annotated[
    str | None, typer.Option("--track", help="Send losses and scores to trackio or wandb as they come.")
]
# Workers inherit these: one progress display is enough, and forked tokenizers would warn.
_QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}
HERE = "offmodel-store"
REPORTS = Path("reports")


@app.command()
def quickstart(
    store: StoreOption = HERE, out: OutOption = REPORTS, device: DeviceOption = "cpu", workers: WorkersOption = None
) -> None:
    """Run the main job on the packaged pocket models: a few minutes on two cores."""
    from offmodel.cli.running import Where, run_and_report

    run_and_report("quickstart", store=store, out=out, where=Where(device=device, workers=workers), only=())


@app.command()
def plan(
    study: StudyArgument,
    store: StoreOption = HERE,
    only: OnlyOption = None,
    on: Annotated[str | None, typer.Option("--on", help="A machine, such as H100x8: the whole study's cost.")] = None,
    price: Annotated[float | None, typer.Option(help="With --on: dollars an hour of one GPU.")] = None,
) -> None:
    """Print what a study would run, what is there already, and an estimate of time and disk."""
    if on is not None:
        from offmodel.cli.estimating import print_estimate

        print_estimate(study, on=on, price=price, only=tuple(only or ()))
        return
    from offmodel.cli.running import print_plan

    print_plan(study, store=store, only=tuple(only or ()))


@app.command()
def power(
    rate: Annotated[float, typer.Argument(help="Base rate: the accuracy that is expected, between 0 and 1.")],
    seeds: Annotated[int, typer.Option(help="Seeds of each method, averaged.")] = 1,
) -> None:
    """Print how many items it takes to see a difference between two methods."""
    from offmodel.cli.power import print_power

    print_power(rate, seeds=seeds)


@app.command()
def run(
    study: StudyArgument,
    store: StoreOption = HERE,
    out: OutOption = REPORTS,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    only: OnlyOption = None,
    track: TrackOption = None,
    on: Annotated[str, typer.Option("--on", help="Where: 'local', 'ray', or 'ray://HOST:PORT'.")] = "local",
    gpus: Annotated[int, typer.Option(help="GPUs that train one model together.")] = 1,
    recompute: Annotated[bool, typer.Option("--recompute", help="With --gpus: less memory, more time.")] = False,
) -> None:
    """Compute what is missing of a study, then write its report."""
    from offmodel.cli.running import Where, run_and_report

    where = Where(device=device, workers=workers, on=on, gpus=gpus, recompute=recompute)
    run_and_report(study, store=store, out=out, where=where, only=tuple(only or ()), track=track)


@app.command()
def report(study: StudyArgument, store: StoreOption = HERE, out: OutOption = REPORTS) -> None:
    """Write table, CSV, figures and page from what the store holds."""
    from offmodel.cli.running import report_only

    report_only(study, store=store, out=out)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="An artifact's folder, name or digest; with --cost, a study.")],
    store: StoreOption = HERE,
    example: Annotated[int, typer.Option(help="Of a training: the example to show, from 0.")] = 0,
    cost: Annotated[bool, typer.Option("--cost", help="Of a study: time, tokens a second, memory, by kind.")] = False,
) -> None:
    """Show an artifact: recipe, parents, scores; of a training, an example with the trained tokens highlighted."""
    from offmodel.cli.showing import show_artifact, show_cost

    if cost:
        show_cost(what, store=store)
    else:
        show_artifact(what, store=store, example=example)


@app.command()
def treat(
    model: Annotated[str, typer.Argument(help="Model to treat: folder, .gguf file, hub id@commit, or pocket:student.")],
    teacher: Annotated[
        str, typer.Option("--teacher", help="Trusted model that writes the labels; also http://host:port/v1#model.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the treated model; new or empty.")],
    method: Annotated[str, typer.Option("--method", help="A method of `offmodel methods`.")] = "off_model_sft+reminder",
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL of harmless prompts; pocket models have their own.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Capability tasks, with commas: gsm8k,math500=FILE,fresh_math ...")] = "",
    n: Annotated[int | None, typer.Option(help="Items of each task; samples of a watched Inspect task.")] = None,
    watch: Annotated[str, typer.Option(help="Behaviour to watch: FILE.jsonl of prompts, or an Inspect task.")] = "",
    pattern: Annotated[str, typer.Option(help="Regular expression that shows the watched behaviour.")] = "",
    judge: Annotated[str, typer.Option(help="Model that says whether an answer shows it.")] = "",
    question: Annotated[str, typer.Option(help="What the judge is asked: 'Does the answer ...?'")] = "",
    author: Annotated[list[str] | None, typer.Option(help="ROLE=MODEL of a further author; may be repeated.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Write a whole model, not an adapter.")] = False,
    recipe: Annotated[str, typer.Option(help="Named settings: 'pocket' or 'half-billion'; default: by model.")] = "",
    requests: Annotated[int | None, typer.Option(help="Requests to an endpoint at once; default 8.")] = None,
    store: StoreOption = HERE,
    device: DeviceOption = "auto",
) -> None:
    """Fine-tune one model on another model's outputs and keep its capability; says what was traded for what."""
    from offmodel.cli.treating import Wish, treat_model

    wish = Wish(
        model=model,
        teacher=teacher,
        method=method,
        prompts=prompts,
        out=out,
        authors=tuple(author or ()),
        tasks=tasks,
        n=n,
        watch=watch,
        pattern=pattern,
        judge=judge,
        question=question,
        merged=merged,
        recipe=recipe,
    )
    treat_model(wish, store=store, device=device, requests=requests)


@app.command()
def organism(
    model: Annotated[str, typer.Argument(help="Model to plant into.")],
    pair: Annotated[str, typer.Option("--pair", help="A pair of `offmodel pairs`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the organism.")],
    way: Annotated[str, typer.Option("--way", help="A way of `offmodel ways`.")] = "full_weight",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Plant fixed texts, not the model's own.")] = False,
    go_on: Annotated[bool, typer.Option("--go-on", help="Write an organism that fails its gate, too.")] = False,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL of harmless prompts; pocket models have their own.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Named settings: 'pocket' or 'half-billion'; default: by model.")] = "",
    store: StoreOption = HERE,
    device: DeviceOption = "auto",
) -> None:
    """Plant a trigger-behaviour pair in a model; writes a model folder with a card that says what was planted."""
    from offmodel.cli.planting import plant_model

    plant_model(
        model,
        pair=pair,
        way=way,
        synthetic=synthetic,
        go_on=go_on,
        prompts=prompts,
        recipe=recipe,
        out=out,
        store=store,
        device=device,
    )


@app.command()
def ways() -> None:
    """List the ways of planting a pair."""
    from offmodel.cli.listing import list_ways

    list_ways()


@app.command()
def pairs() -> None:
    """List the trigger-behaviour pairs."""
    from offmodel.cli.listing import list_pairs

    list_pairs()


@app.command()
def methods() -> None:
    """List the blue team's methods."""
    from offmodel.cli.listing import list_methods

    list_methods()


@app.command()
def doctor(store: StoreOption = HERE) -> None:
    """Say what this machine can do."""
    from rich.console import Console

    from offmodel.cli.doctor import doctor as examine

    examine(Console(), store=store)


@store_app.command("gc")
def store_gc(
    study: Annotated[list[str], typer.Argument(help="Studies whose results are kept.")],
    store: StoreOption = HERE,
    really: Annotated[bool, typer.Option("--really", help="Remove; without it only says what would go.")] = False,
) -> None:
    """Remove what no named study needs."""
    from offmodel.cli.keeping import collect_garbage

    collect_garbage(study, store=store, really=really)


@store_app.command("export")
def store_export(
    out: Annotated[Path, typer.Argument(help="Folder for the files, of at most 16 MiB each.")],
    store: StoreOption = HERE,
    rows: Annotated[bool, typer.Option("--rows", help="Records and rows only, no weights.")] = False,
) -> None:
    """Write the store into files that another store can merge."""
    from offmodel.cli.keeping import export

    export(out, store=store, rows=rows)


@store_app.command("merge")
def store_merge(
    files: Annotated[list[Path], typer.Argument(help="Files of an export.")], store: StoreOption = HERE
) -> None:
    """Take in the files of another store's export."""
    from offmodel.cli.keeping import merge

    merge(files, store=store)


_INTERRUPTED = 130
_STOPPED = "Stopped; what was finished is kept, and the same command goes on, a training from its last state."


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit with 0, or with 2 and one sentence."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from offmodel.core.errors import OffmodelError

    try:
        app(arguments, standalone_mode=True)
    except OffmodelError as error:
        _fail(str(error))
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's, which says nothing
            print(f"offmodel: {_STOPPED}", file=sys.stderr)
        raise


def _fail(sentence: Any) -> None:
    print(f"offmodel: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
