"""`offmodel power`: how many items a difference needs, before there is a study.

Prints what `analysis.powertable` computes; refuses to know models. Invariant: nothing is read or written.
"""

from collections.abc import Sequence

from rich.table import Table

from offmodel.analysis.powertable import HEAD, meaning, power_rows
from offmodel.cli.plain import plain_console


def print_power(rate: float, *, seeds: int) -> None:
    """Print the power table at one base rate."""
    console = plain_console()
    console.print(power_lines(power_rows([rate], seeds=seeds)), highlight=False)
    console.print(meaning(seeds), highlight=False)


def power_lines(rows: Sequence[tuple[str, ...]]) -> Table:
    """The rows as a table for the terminal."""
    table = Table(box=None, pad_edge=False)
    for name in HEAD:
        table.add_column(f"to see {name}" if name == HEAD[2] else name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
