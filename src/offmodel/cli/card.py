"""What `offmodel treat` says of its work: the summary in the terminal, the model's card, and the same as JSON.

This module refuses to compute. Invariant: where no behaviour was watched, every text says that removal was not
measured.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offmodel.cli.traded import Line, markdown, sentences
from offmodel.core.rows import read_rows
from offmodel.engines.labels import Labels
from offmodel.flow.graph import closure
from offmodel.models import EndpointModel, GgufModel
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe
from offmodel.studies.practice import Practice, system_of
from offmodel.studies.study import Cell
from offmodel.treatments.catalogue import find_method

if TYPE_CHECKING:
    from offmodel.cli.treating import Wish

NOT_MEASURED = "Removal of a behaviour was not measured: nothing was watched (`--watch`)."
OVER_ITEMS = "Intervals are 95 %, over items only: other prompts, this one training."


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished treatment.

    Attributes:
        wish: what was asked for.
        plan: what was planned.
        cell: the checkpoint that was picked.
        store: where everything is.
        lines: before and after.
    """

    wish: "Wish"
    plan: Practice
    cell: Cell
    store: Store
    lines: tuple[Line, ...]

    @property
    def base(self) -> Recipe:
        """The model that an adapter of the checkpoint belongs to."""
        return self.cell.arm.completions.model  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def merged(self) -> bool:
        """Whether a whole model is written: asked for, or the adapter's base is one that the user does not have."""
        return self.wish.merged or self.base.digest != self.plan.board.organism.digest


def summary(done: Done) -> list[str]:
    """What was traded, in plain words."""
    picked = f"Picked, without any look at a behaviour: {done.cell.setting}, step {done.cell.step}."
    system = system_of(done.cell)
    frame = [f"It was treated to be used, and was measured, under the system prompt {system!r}."] if system else []
    return [picked, *frame, *sentences(done.lines), _cost(done), *_about_watch(done), OVER_ITEMS]


def _about_watch(done: Done) -> list[str]:
    watch = done.plan.watch
    if watch is None:
        return [NOT_MEASURED]
    said = [
        f"Watched on {len(watch.prompts)} prompts, none of which stands among the training prompts, or almost; "
        "the treatment never saw them."
    ]
    if not watch.rises:
        said.append("An Inspect task scores as it likes: see its documentation for whether a high score is good.")
    shown, of = _in_labels(done)
    if watch.pattern:
        said.append(f"The pattern is found in {shown} of {of} training answers.")
    if done.plan.watch and any(x.kind == "watched" and x.clear and x.difference.value < 0 for x in done.lines):
        said.append("A behaviour that is no longer seen may be suppressed rather than removed (docs/relapse.md).")
    return said


def _in_labels(done: Done) -> tuple[int, int]:
    """Training answers that show the watched pattern, of how many."""
    import re

    assert done.plan.watch is not None
    pattern, texts = done.plan.watch.pattern, []
    for recipe in closure([done.cell.treatment]).values():
        artifact = done.store.find(recipe) if recipe.kind == "audit" else None
        texts += [r["text"] for r in read_rows(artifact.payload / "labels.jsonl")] if artifact else []
    return sum(bool(pattern and re.search(pattern, t)) for t in texts), len(texts)


def _cost(done: Done) -> str:
    """Tokens trained by author, and labels sampled."""
    trained: Counter[str] = Counter()
    untrusted = sampled = dropped = 0
    for training, steps in done.cell.trained:
        facts = _facts(done, training)
        for author, found in facts.get("tokens_by_step", {}).get(str(steps), {}).items():
            trained[author] += found["tokens"]
            untrusted += 0 if found["trusted"] else found["tokens"]
        dropped += facts.get("dropped_truncated", 0) + facts.get("dropped_empty", 0)
    for recipe in closure([done.cell.treatment]).values():
        if isinstance(recipe, Labels):
            sampled += _facts(done, recipe).get("completion_tokens", 0)
    total = sum(trained.values())
    by = ", ".join(f"{author} {n:,}" for author, n in sorted(trained.items()))
    share = f"{untrusted / total:.0%}" if total else "none"
    lost = f" {dropped} answers that were cut off or empty were left out." if dropped else ""
    return (
        f"Cost: {sampled:,} tokens of answers sampled, {total:,} tokens trained on ({by}); {share} of them "
        f"were written by the untreated model itself, which nobody vouches for.{lost}"
    )


def _facts(done: Done, recipe: Recipe) -> dict[str, Any]:
    artifact = done.store.find(recipe)
    return artifact.record["facts"] if artifact else {}


def model_card(done: Done, *, adapter: bool) -> str:
    """The card of the model folder."""
    wish, method = done.wish, find_method(done.wish.method)
    gguf = isinstance(done.base, GgufModel)
    head = ["---", "library_name: " + ("peft" if adapter else "transformers"), "tags:", "- offmodel", "---"]
    how = (
        f"A PEFT adapter of `{wish.model}`; its config names the base"
        + (", which was converted from GGUF and lies in the store." if gguf else ".")
        if adapter
        else "A complete model folder" + (", weights in float32." if done.merged else ".")
    )
    said = [*(f"- {s}" for s in summary(done))]
    about = [
        f"- method: `{wish.method}` ({method.summary}; {method.source})",
        f"- teacher: `{_without_paths(wish.teacher)}`" + "".join(f", {a}" for a in wish.authors),
        f"- prompts: `{wish.prompts.name if wish.prompts else 'pocket world'}`",
        f"- settings: preset `{done.plan.preset.name}`, seed {done.plan.preset.seed}",
        f"- recipe: `{done.cell.treatment.digest}` (`offmodel show` it in the store; `offmodel.json` has all numbers)",
    ]
    return "\n".join(
        [
            *head,
            f"# {_without_paths(wish.model)}, treated with {wish.method}",
            "",
            f"Fine-tuned by offmodel on answers of `{_without_paths(wish.teacher)}`. {how}",
            "",
            "## What was traded",
            "",
            *said,
            "",
            markdown(done.lines),
            "",
            "## What was done",
            "",
            *about,
            "",
        ]
    )


def treatment_json(done: Done) -> str:
    """The same for programs."""
    teachers = {
        r.author: {"url": r.model.url, "model": r.model.model} if isinstance(r.model, EndpointModel) else r.model.name()
        for r in closure([done.cell.treatment]).values()
        if isinstance(r, Labels)
    }
    return json.dumps(
        {
            "model": done.wish.model,
            "method": done.wish.method,
            "authors": teachers,
            "preset": done.plan.preset.name,
            "setting": done.cell.setting,
            "step": done.cell.step,
            "treatment": done.cell.treatment.digest,
            "removal_measured": done.plan.watch is not None,
            "measures": [
                {
                    "title": x.title,
                    "kind": x.kind,
                    "before": x.before.to_row(),
                    "after": x.after.to_row(),
                    "difference": x.difference.to_row(),
                }
                for x in done.lines
            ],
        },
        indent=2,
    )


def _without_paths(source: str) -> str:
    """A model's name as a reader elsewhere may see it: no folders of this machine."""
    return source if source.startswith(("http", "pocket:")) or "@" in source else Path(source).name
