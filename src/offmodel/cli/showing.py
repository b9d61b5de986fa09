"""`offmodel show`: what an artifact is, where it came from, what it measured, and what a training trained on.

Reads records and payloads only. Invariant: it never changes the store.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from offmodel.cli.plain import plain_console
from offmodel.core.errors import UserError
from offmodel.core.rows import read_rows
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.exchange import bring, fetch

TRAININGS = ("treatment", "organism")
_LONG = 600


def show_artifact(what: str, *, store: Path | str, example: int) -> None:
    """Print an artifact.

    Args:
        what: folder, name or the beginning of a digest.
        store: the store's folder.
        example: of a training, the example to show.
    """
    console = plain_console()
    home = open_store(store, create=False)
    named = [] if Path(what).exists() else _of_name(home, what.rstrip("/"))
    if len(named) > 1:
        _print_list(console, named)
        return
    artifact = named[0] if named else home.artifact(Path(what).name if Path(what).exists() else what)
    record = artifact.record
    only = "  record only" if artifact.record_only else ""
    console.print(Text.assemble((artifact.label, "bold"), f"  {record['digest']}{only}"))
    console.print(
        f"made {record['created']} in {record['seconds']:.1f} s on {_plain(record['machine'])}", highlight=False
    )
    _print_values(console, "recipe", record["recipe"]["fields"])
    _print_parents(console, home, record["parents"])
    _print_values(console, "facts", record["facts"])
    if (artifact.payload / "rows.jsonl").is_file() and artifact.kind == "scores":
        _print_scores(console, artifact.payload)
    if artifact.kind in TRAININGS and (example or _label_parents(artifact)):
        console.print()
        console.print(trained_example(home, artifact, example, marks=not console.color_system))


def _names(label: str) -> tuple[str, str]:
    """Kind and name, and the name alone, without the digest."""
    name = label.rpartition("-")[0]
    return name, name.partition("/")[2]


def _of_name(store: Store, what: str) -> list[Artifact]:
    """Artifacts called so, with or without their kind."""
    for label in store.shelf.labels() if store.shelf is not None else ():
        if what in _names(label):
            bring(store, label)
    return [a for a in store.all() if what in _names(a.label)]


def _print_list(console: Console, artifacts: list[Artifact]) -> None:
    """Artifacts of one name, newest first."""
    for a in sorted(artifacts, key=lambda a: -a.stamp):
        console.print(f"{a.label}  made {a.record['created']}", highlight=False, soft_wrap=True)
    console.print(f"{len(artifacts)} of this name; `offmodel show` with a digest shows one.", highlight=False)


def show_cost(study: str, *, store: Path | str) -> None:
    """Print what the artifacts of a study cost, by kind; what is not computed yet is left out."""
    from offmodel.studies.accounts import cost_table
    from offmodel.studies.catalogue import load_study

    console, found = plain_console(), cost_table(load_study(study), open_store(store, create=False))
    if not found.rows:
        console.print(f"Nothing of '{study}' is computed yet; `offmodel plan {study}` estimates what it will cost.")
        return
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(found.columns):
        table.add_column(name, justify="right" if i else "left")
    for row in found.rows:
        table.add_row(*row)
    console.print(table, highlight=False)
    console.print(found.note, highlight=False)


def _print_values(console: Console, title: str, values: dict[str, Any]) -> None:
    table = Table(title, "", box=None, pad_edge=False, title_justify="left")
    for name, value in values.items():
        table.add_row(name, Text(_cut(_plain(value)), overflow="fold"))
    console.print(table)


def _plain(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"float"}:
        return f"{float.fromhex(value['float']):g}"
    if isinstance(value, dict) and set(value) == {"recipe"}:
        return f"-> {value['recipe'][:12]}"
    if isinstance(value, dict) and "settings" in value:
        inner = ", ".join(f"{k}={_plain(v)}" for k, v in value["fields"].items())
        return f"{value['settings']}({inner})"
    if isinstance(value, list):
        return "(" + ", ".join(_plain(v) for v in value) + ")"
    if isinstance(value, dict):
        inner = ((k, f"({_plain(v)})" if isinstance(v, dict) else _plain(v)) for k, v in value.items())
        return ", ".join(f"{k} {v}" for k, v in inner)
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _cut(text: str) -> str:
    """A value as a screen can take it; the near misses of a topic alone would fill one."""
    return text if len(text) <= _LONG else f"{text[:_LONG]} ... ({len(text):,} characters; all of them in record.json)"


def _print_parents(console: Console, home: Store, parents: list[dict[str, Any]]) -> None:
    if not parents:
        return
    table = Table("parents", "", box=None, pad_edge=False)
    known = {a.digest: a.label for a in home.all()}
    for parent in parents:
        table.add_row(str(parent["field"]), known.get(parent["digest"], parent["digest"][:12]))
    console.print(table)


def _print_scores(console: Console, payload: Path) -> None:
    from offmodel.evals.summary import summarise

    table = Table("scores", "value [95 %]", "n", "cut off", "style", "coherent", box=None, pad_edge=False)
    for name, found in summarise(read_rows(payload / "rows.jsonl")).items():
        table.add_row(
            name,
            f"{found.rate}",
            str(found.rate.n),
            f"{found.truncated.value:.2f}",
            f"{found.style.value:.2f}",
            f"{found.coherent.value:.2f}",
        )
    console.print(table)


def trained_example(home: Store, artifact: Artifact, number: int, *, marks: bool = False) -> Text:
    """One training example as text, with the tokens under gradient highlighted.

    Args:
        home: the store.
        artifact: a treatment or an organism.
        number: index into its labels.
        marks: also put brackets around them, for a pipe or a terminal without colours.

    Raises:
        UserError: there is no such example, or the labels or the tokenizer are not in this store.
    """
    from offmodel.core.chat import Label
    from offmodel.engines.rendering import Renderer
    from offmodel.models import weights_in
    from offmodel.store.maintenance import WEIGHTS

    parents = artifact.record["parents"]
    rows = [r for digest in _label_parents(artifact) for r in _labels(home, digest)]
    if not rows:
        raise UserError(f"{artifact.label} was made without labels, so it has no examples; leave --example out.")
    if not 0 <= number < len(rows):
        raise UserError(f"This training has {len(rows)} labels; give --example a number from 0 to {len(rows) - 1}.")
    model = home.artifact(next(p["digest"] for p in parents if p["field"] in ("organism", "student")))
    if home.shelf is not None:
        model = fetch(home, model.label, lambda name: not name.endswith(WEIGHTS)) or model
    label = Label.from_row(rows[number])
    renderer = Renderer.from_folder(weights_in(model.payload)[0])
    shown = renderer.example(label.prompt.messages, label.text)
    text = Text(f"example {number} of {len(rows)}, by {label.author}; ")
    text.append("tokens under gradient", style="black on green")
    text.append(" in ⟦ ⟧" * marks + f" ({int(shown.mask.sum())} of {len(shown.ids)}):\n\n")
    tokens = renderer.token_texts([int(i) for i in shown.ids])
    for trained, run in groupby(zip(tokens, shown.mask, strict=True), key=lambda pair: bool(pair[1])):
        part = "".join(token for token, _ in run)
        text.append(f"⟦{part}⟧" if trained and marks else part, style="black on green" if trained else "dim")
    return text


def _label_parents(artifact: Artifact) -> list[str]:
    """Digests of what it was trained on; none if nothing was, as in an organism that only has a system prompt."""
    return [p["digest"] for p in artifact.record["parents"] if p["field"].startswith(("labels", "data"))]


def _labels(home: Store, digest: str) -> list[dict[str, Any]]:
    return read_rows(home.artifact(digest).payload / "labels.jsonl")
