"""`offmodel store gc|export|merge`: words around the store's own functions.

Invariant: without `--really`, gc removes nothing.
"""

from collections.abc import Sequence
from pathlib import Path

from offmodel.cli.plain import plain_console
from offmodel.flow.graph import closure
from offmodel.store import maintenance, transfer
from offmodel.store.addresses import open_store
from offmodel.store.exchange import share
from offmodel.studies.catalogue import load_study


def collect_garbage(studies: Sequence[str], *, store: Path | str, really: bool) -> None:
    """Remove, or list, leftovers and every artifact that none of the named studies needs."""
    home = open_store(store, create=False)
    keep = {digest for name in studies for digest in closure(load_study(name).targets)}
    swept = maintenance.gc(home, keep=keep, dry_run=not really)
    console = plain_console()
    for what in swept.what:
        console.print(f"  {what}", highlight=False)
    word = "Removed" if really else "Would remove"
    console.print(f"{word} {len(swept.what)} of them, {swept.bytes / 2**20:.1f} MiB.", highlight=False)


def export(out: Path, *, store: Path | str, rows: bool) -> None:
    """Write the store into files."""
    files = transfer.export(open_store(store, create=False), out, rows_only=rows)
    plain_console().print(
        f"{len(files)} files in {out}; `offmodel store merge {out}/*` takes them in.", highlight=False
    )


def merge(files: Sequence[Path], *, store: Path | str) -> None:
    """Take in the files of an export, and say what came of it."""
    home = open_store(store)
    merged = transfer.merge(home, list(files))
    for label in (*merged.added, *merged.completed) if home.shelf is not None else ():
        share(home, home.artifact(label))
    plain_console().print(
        f"{len(merged.added)} added, {len(merged.completed)} completed, {len(merged.present)} already there, of which "
        f"{len(merged.differing)} differ (the store's own were kept).",
        highlight=False,
    )
