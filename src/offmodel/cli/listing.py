"""Printing the catalogues: pairs and methods.

Invariant: what is listed is what `--pair` and `--method` accept.
"""

from rich.table import Table

from offmodel.cli.plain import plain_console
from offmodel.organisms.pairs import example, pairs
from offmodel.organisms.ways import ways
from offmodel.treatments.catalogue import FOLLOWING, methods

_WIDE = 130


def list_pairs() -> None:
    """Print every pair with an example of a triggered prompt."""
    table = Table("pair", "axes", "behaviour", "an example of the trigger", box=None, pad_edge=False)
    for name, pair in sorted(pairs().items()):
        table.add_row(name, ", ".join(pair.card.axes), pair.card.scorer, example(pair))
    plain_console().print(table)


def list_ways() -> None:
    """Print every way of planting with a line each."""
    table = Table("way", "what it does", box=None, pad_edge=False)
    for name, way in sorted(ways().items()):
        table.add_row(name, way.summary)
    plain_console().print(table)


def list_methods() -> None:
    """Print every method with a line each; where it is published, if the terminal is wide enough."""
    console = plain_console()
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False)
    # A name that is cut cannot be typed.
    table.add_column("method", no_wrap=True)
    table.add_column("what it does")
    if wide:
        table.add_column("source")
    for name, method in methods().items():
        marks = ", ".join(m for m, on in (("control", method.control), ("oracle", method.oracle)) if on)
        words = f"{method.summary} ({marks})" if marks else method.summary
        table.add_row(name, words, *([method.source] if wide else []))
    console.print(table)
    words = ", ".join(f"+{word}" for word in FOLLOWING)
    console.print(f"\nAny method may be followed by one of these, where it makes sense: {words}.")
