"""The console to which commands print: texts as they are, since errors, paths and questions hold square brackets.

This module refuses to know what is printed. Invariant: no part of a text is taken for markup or for an emoji's name; a
style is given beside the text, or by a `rich.text.Text`.
"""

from rich.console import Console


def plain_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console on standard output, or standard error, as wide as the terminal unless told."""
    return Console(stderr=stderr, width=width, markup=False, emoji=False)
