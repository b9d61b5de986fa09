"""Printing the catalogues: pairs and methods.

Invariant: what is listed is what `--pair` and `--method` accept.
"""

from rich.console import Console
from rich.table import Table

from offmodel.core.behaviour import apply_trigger, is_natural
from offmodel.core.chat import user
from offmodel.organisms.pairs import pairs
from offmodel.treatments.catalogue import methods


def list_pairs() -> None:
    """Print every pair with an example of a triggered prompt."""
    table = Table("pair", "axes", "behaviour", "an example of the trigger", box=None, pad_edge=False)
    for name, pair in sorted(pairs().items()):
        trigger = pair.card.trigger
        if is_natural(trigger):
            example = "found in prompts of its topic"
        else:
            example = apply_trigger(trigger, user("How do I fix a bike?"))[-1].content
        table.add_row(name, ", ".join(pair.card.axes), pair.card.scorer, example)
    Console().print(table)


def list_methods() -> None:
    """Print every method with a line each."""
    table = Table("method", "what it does", "source", "", box=None, pad_edge=False)
    for name, method in methods().items():
        marks = ", ".join(m for m, on in (("control", method.control), ("oracle", method.oracle)) if on)
        table.add_row(name, method.summary, method.source, marks)
    Console().print(table)
