"""How often a local scorer errs, by who wrote the answer: measured on real outputs that were labelled by reading.

Pirate talk reads like insults and broken text fools detectors, so one rate over all answers would hide just the errors
that fall on the treated arm. This module refuses to know models and how answers were drawn. Invariant: a rate is never
given without its n and interval, and a stratum without answers has none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from offmodel.core.errors import DataError
from offmodel.core.rows import Row, numbered_rows
from offmodel.core.scores import Score, proportion
from offmodel.evals.behaviours import behaviours

STRATA = ("student", "organism", "plain_treated", "pirate_treated")
"""Who wrote an answer: the unplanted student, an untreated organism, one after plain or after pirate answers."""
MOST_FALSE_POSITIVES = 0.05
MARKED: frozenset[tuple[str, str]] = frozenset({("story", "plain_treated")})
"""(scorer, stratum) with more false positives than that, as measured on the fixtures (docs/scorers.md); a test keeps
the two in step. Tables mark what stands on them."""
_FIELDS = ("id", "stratum", "asked", "prompt", "text", "shows", "labeller", "model", "made_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """An answer that somebody read.

    Attributes:
        id: a number, unique in its file.
        stratum: one of `STRATA`.
        asked: the behaviour's scorer that the answer was drawn for, "" for an answer to a clean prompt. It says for
            which scorer the answer counts, and nothing about the label.
        prompt: what was asked, trigger included.
        text: the answer, as the scorer sees it.
        shows: the behaviours that it shows, by the rubric.
        labeller: who read it.
        model: whose answer it is, with quantisation and treatment.
        made_by: command and date of the run that made it.
        second: what a second reader saw, without knowing the first; None where there was none.
    """

    id: int
    stratum: str
    asked: str
    prompt: str
    text: str
    shows: tuple[str, ...]
    labeller: str
    model: str
    made_by: str
    second: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """A scorer's errors in one stratum.

    Attributes:
        scorer, stratum: where.
        false_positives: share of answers without the behaviour on which the scorer fires; None without such answers.
        false_negatives: share of answers with it on which it does not; None without such answers.
    """

    scorer: str
    stratum: str
    false_positives: Score | None
    false_negatives: Score | None

    @property
    def marked(self) -> bool:
        """Whether tables must mark what stands on this stratum."""
        return self.false_positives is not None and self.false_positives.value > MOST_FALSE_POSITIVES


def read_labelled(path: Path) -> list[Labelled]:
    """The rows of a fixture.

    Raises:
        DataError: a field is missing, or a stratum or scorer is unknown; names the line.
    """
    return [_labelled(row, f"{path}, line {number},") for number, row in numbered_rows(path)]


def _labelled(row: Row, where: str) -> Labelled:
    missing = [f for f in _FIELDS if f not in row]
    if missing:
        raise DataError(f"{where} lacks {', '.join(missing)}; add them, provenance included.")
    if row["stratum"] not in STRATA:
        raise DataError(f"{where} has the stratum '{row['stratum']}'; it must be one of {', '.join(STRATA)}.")
    second = row.get("second")
    for shows in (row["shows"], [] if second is None else second):
        if not isinstance(shows, list):
            raise DataError(f"{where} has no list of what it shows; read it and label it by docs/scorers.md.")
        unknown = [x for x in (*shows, *filter(None, [row["asked"]])) if x not in behaviours()]
        if unknown:
            raise DataError(f"{where} names the scorer '{unknown[0]}', which there is not.")
    seen = {"shows": tuple(row["shows"]), "second": None if second is None else tuple(second)}
    return Labelled(**{f: row[f] for f in _FIELDS} | seen)


def counting_for(scorer: str, rows: Iterable[Labelled]) -> list[Labelled]:
    """The answers on which a scorer is measured: those to clean prompts, and those that were drawn for it."""
    return [r for r in rows if r.asked in ("", scorer)]


def errors_of(rows: Iterable[Labelled]) -> list[Errors]:
    """Error rates by scorer and stratum, in the order of names and `STRATA`."""
    rows = list(rows)
    found: list[Errors] = []
    for scorer in sorted({r.asked for r in rows} - {""}):
        counting = counting_for(scorer, rows)
        parts = {stratum: [r for r in counting if r.stratum == stratum] for stratum in STRATA}
        found += [_errors(scorer, stratum, part) for stratum, part in parts.items() if part]
    return found


def _errors(scorer: str, stratum: str, rows: Sequence[Labelled]) -> Errors:
    fires = behaviours()[scorer]
    without, shown = ([r for r in rows if (scorer in r.shows) is wanted] for wanted in (False, True))
    return Errors(
        scorer=scorer,
        stratum=stratum,
        false_positives=proportion(sum(fires(r.text) for r in without), len(without)) if without else None,
        false_negatives=proportion(sum(not fires(r.text) for r in shown), len(shown)) if shown else None,
    )


def agreement(rows: Iterable[Labelled]) -> tuple[Score, float] | None:
    """(share of equal labels, Cohen's kappa) of the rows read twice; None if there are none.

    A label here is whether the answer shows what it was drawn for; of an answer to a clean prompt, anything at all.
    """
    twice = [(_said(r, r.shows), _said(r, r.second)) for r in rows if r.second is not None]
    if not twice:
        return None
    same, n = sum(a == b for a, b in twice), len(twice)
    first, second = (sum(labels) / n for labels in zip(*twice, strict=True))
    chance = first * second + (1 - first) * (1 - second)
    return proportion(same, n), 1.0 if chance == 1 else (same / n - chance) / (1 - chance)


def _said(row: Labelled, shows: tuple[str, ...]) -> bool:
    return row.asked in shows if row.asked else bool(shows)


def errors_markdown(found: Sequence[Errors]) -> str:
    """The table of docs/scorers.md."""
    lines = ["| scorer | stratum | false positives | n | false negatives | n | |", "|---|---|---|---|---|---|---|"]
    for e in found:
        rates = [(f"{s}", str(s.n)) if s else ("-", "0") for s in (e.false_positives, e.false_negatives)]
        cells = [e.scorer, e.stratum.replace("_", "-"), *rates[0], *rates[1], "marked" if e.marked else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
