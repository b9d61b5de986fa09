"""From the words after `--watch` to what is watched; every mistake in them is named here.

This module refuses to know models and treatments. Invariant: a watch that comes back can be measured, as far as can be
seen without loading a model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from offmodel.core.errors import UserError
from offmodel.data import Sources, parse_prompts
from offmodel.evals.watched import check_pattern
from offmodel.studies.presets import Preset
from offmodel.studies.watching import Watch

if TYPE_CHECKING:
    from offmodel.cli.treating import Wish

ROLES = ("teacher", "stylist", "neighbour", "third")
_BOTH = "give either --pattern REGEX, or --judge MODEL with --question TEXT"


def watch_for(wish: "Wish", sources: Sources, preset: Preset) -> Watch | None:
    """What the user wants watched; None if nothing.

    Raises:
        UserError: the options do not fit together, the file is missing or empty, the pattern is none, no such task.
    """
    if not wish.watch:
        stray = next((o for o in ("pattern", "judge", "question") if getattr(wish, o)), None)
        if stray:
            raise UserError(f"--{stray} says how something is watched; name what, with --watch FILE.jsonl.")
        return None
    if not wish.watch.endswith((".jsonl", ".json")):
        return _task(wish, sources, preset)
    if bool(wish.pattern) == bool(wish.judge):
        raise UserError(f"How does the behaviour show in the answers to {wish.watch}? Please {_BOTH}.")
    if wish.judge and not wish.question.strip():
        raise UserError("A judge needs a question; give --question, such as 'Does the answer insult the reader?'.")
    if wish.question and not wish.judge:
        raise UserError(f"--question is for a judge; {_BOTH}.")
    path = Path(wish.watch).expanduser()
    source, prompts = sources.prompts(path), parse_prompts(path)
    pattern = check_pattern(wish.pattern) if wish.pattern else ""
    judge = (sources.model(wish.judge), wish.question.strip()) if wish.judge else None
    return Watch(
        title=f"watched: {path.stem}",
        prompts=tuple(prompts),
        source=source,
        pattern=pattern,
        judge=judge,
        task=None,
        max_new_tokens=preset.label_tokens,
    )


def _task(wish: "Wish", sources: Sources, preset: Preset) -> Watch:
    from offmodel.evals.inspected import find_task

    if wish.pattern or wish.judge or wish.question:
        raise UserError(f"The Inspect task {wish.watch} scores itself; leave out --pattern, --judge and --question.")
    task, path, prompts = find_task(wish.watch, limit=wish.n)
    if path is not None:
        sources.note(task.content, path)
    return Watch(
        title=f"watched: {task.task or Path(wish.watch).stem}",
        prompts=tuple(prompts),
        source=None,
        pattern="",
        judge=None,
        task=task,
        max_new_tokens=preset.label_tokens,
    )
