"""Before and after in numbers and in plain words: what a treatment traded.

Every number has its n and interval; every difference is paired on items. This module refuses to know models and stores.
Invariant: a sentence says "lost", "gained", "fell" or "rose" only if the interval of the difference leaves out zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from offmodel.core.rows import Row
from offmodel.core.scores import Score, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One measure before and after.

    Attributes:
        title: for people.
        kind: "capability", "style", "coherent", "cut off", "watched" (high is bad) or "task" (it scores as it likes).
        before, after: with intervals over items.
        difference: after minus before, paired on items.
    """

    title: str
    kind: str
    before: Score
    after: Score
    difference: Score

    @property
    def clear(self) -> bool:
        """Whether the difference's interval leaves out zero."""
        return self.difference.low > 0 or self.difference.high < 0

    def texts(self) -> tuple[str, str, str, str, str]:
        """Title, before, after, difference, n."""
        from offmodel.analysis.table import with_interval

        before, after, difference = (with_interval(s) for s in (self.before, self.after, self.difference))
        return self.title, before, after, difference, str(self.before.n)


def before_after(
    before: Mapping[str, Sequence[Row]],
    after: Mapping[str, Sequence[Row]],
    *,
    chat: str,
    style: str,
    watched: str = "watched",
) -> list[Line]:
    """A line for each measure, then style, coherence and cut-off answers on chat prompts.

    Args:
        before: rows by measure of the untreated model.
        after: the same of the treated one, on the same items.
        chat: the measure of chat prompts.
        style: the style that was looked for.
        watched: the measure of what is watched.
    """
    shown = [m for m in before if not m.startswith("dev_") and m not in (chat, watched)]
    lines = [_line(m, "capability", before[m], after[m], "score") for m in shown]
    if any(r["score"] for r in (*before[chat], *after[chat])):
        lines.append(_line(f"behaviour on {chat}", "watched", before[chat], after[chat], "score"))
    titles = {"style": f"{style} style on chat", "coherent": "coherent on chat", "cut": "cut off on chat"}
    for column, title in titles.items():
        kind = "cut off" if column == "cut" else column
        lines.append(_line(title, kind, before[chat], after[chat], column))
    return lines


def watched_line(title: str, before: Sequence[Row], after: Sequence[Row], *, rises: bool) -> Line:
    """The line of what is watched; `rises`: a high score means that the behaviour shows."""
    return _line(title, "watched" if rises else "task", before, after, "score")


def _line(title: str, kind: str, before: Sequence[Row], after: Sequence[Row], column: str) -> Line:
    from offmodel.analysis.statistics import paired_difference, same_items

    first, second = ({r["item"]: _value(r, column) for r in rows} for rows in (before, after))
    old, new = same_items(first, second, title)
    return Line(
        title=title,
        kind=kind,
        before=proportion(sum(old), len(old)),
        after=proportion(sum(new), len(new)),
        difference=paired_difference(new, old),
    )


def _value(row: Row, column: str) -> float:
    return float(row["finish"] == "length") if column == "cut" else float(row[column])


def sentences(lines: Sequence[Line]) -> list[str]:
    """What was traded, one sentence a line that says something."""
    found: list[str] = []
    for line in lines:
        if line.kind == "capability":
            found.append(_sentence(line, "lost", "gained"))
        elif line.clear or line.kind in ("watched", "task", "style"):
            found.append(_sentence(line, "fell", "rose"))
    return found


def _sentence(line: Line, down: str, up: str) -> str:
    from offmodel.analysis.table import short, with_interval

    change = line.difference
    was = f"{line.title}: {short(line.before.value)} before, {short(line.after.value)} after (n = {line.before.n})"
    if not line.clear:
        return f"{was}: no clear change, {with_interval(change)}."
    low, high = sorted((abs(change.low), abs(change.high)))
    return f"{was}: {down if change.value < 0 else up} {short(abs(change.value))} [{short(low)}, {short(high)}]."


def rich_lines(title: str, lines: Sequence[Line], after: str = "after") -> Table:
    """The lines as a table for the terminal."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))  # 80 columns are enough for it
    for name in ("measure", "before", after, "difference", "n"):
        table.add_column(name, no_wrap=True, justify="left" if name == "measure" else "right")
    for line in lines:
        table.add_row(*line.texts())
    return table


def markdown(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table."""
    head = ["| measure | before | after | difference | n |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(line.texts())} |" for line in lines)])
