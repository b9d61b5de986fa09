"""The recipe of labels: a model's completions for prompts.

The author may be shown more than the label keeps: a system prompt and worked turns precede what it sees, and are not in
the label's prompt. This module refuses to know whose model it samples and which prompts; it takes a role's name for the
author and whether it is trusted. Invariant: one label a prompt, in the prompts' order, truncated ones included and
marked, so that dropping them stays visible.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from offmodel.core.chat import Label, Message, Prompt
from offmodel.core.errors import DataError
from offmodel.data import read_prompts, write_labels
from offmodel.engines.sampling import Generation, Request, Sampling, sample
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Recipe):
    """Completions of prompts by one author.

    Attributes:
        author: a role: "teacher", "stylist", "organism", "student", ...
        trusted: false for the student and any model made of it.
        model: the author, a model folder.
        prompts: an artifact with `prompts.jsonl`.
        system: a system prompt shown to the author, or None.
        few_shot: (user, assistant) turns shown to the author before the prompt.
        max_new_tokens: longer completions are marked as truncated.
        sampling: temperature, seed, sampler, dtype.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1

    author: str
    trusted: bool
    model: Recipe
    prompts: Recipe
    system: str | None
    few_shot: tuple[tuple[str, str], ...]
    max_new_tokens: int
    sampling: Sampling

    def name(self) -> str:
        return self.author

    @classmethod
    def execute(cls, job: Job) -> Facts:
        from offmodel.engines.rendering import Renderer

        started = time.monotonic()
        p = job.params
        prompts = read_prompts(job.inputs["prompts"].path)
        if not prompts:
            raise DataError("There are no prompts to label; give a prompt source that is not empty.")
        renderer = Renderer.from_folder(job.inputs["model"].path)
        shown = renderer.prompts_ids([shown_to_author(q.messages, p.system, p.few_shot) for q in prompts])
        generations = sample(
            model=job.inputs["model"].path,
            model_key=job.inputs["model"].content,
            adapter=None,
            adapter_key=None,
            requests=[Request(tuple(ids), p.max_new_tokens) for ids in shown],
            sampling=p.sampling,
            runtime=job.runtime,
            progress=job.progress,
        )
        labels = [_label(q, g, p.author, p.trusted) for q, g in zip(prompts, generations, strict=True)]
        write_labels(job.out, labels)
        return _facts(labels, time.monotonic() - started) | {"prompt_tokens": sum(map(len, shown))}


def shown_to_author(
    messages: Sequence[Message], system: str | None, few_shot: Sequence[tuple[str, str]]
) -> tuple[Message, ...]:
    """What the author sees: the system prompt (before the prompt's own, if it has one), worked turns, the prompt."""
    own = [m.content for m in messages if m.role == "system"]
    texts = [t for t in (system, *own) if t is not None]
    first = (Message("system", "\n\n".join(texts)),) if texts else ()
    turns = [Message(role, text) for pair in few_shot for role, text in zip(("user", "assistant"), pair, strict=True)]  # pyright: ignore[reportArgumentType]
    return (*first, *turns, *(m for m in messages if m.role != "system"))


def _label(prompt: Prompt, generation: Generation, author: str, trusted: bool) -> Label:
    return Label(
        prompt=prompt,
        text=generation.text,
        author=author,
        trusted=trusted,
        finish=generation.finish,
        tokens=len(generation.ids),
    )


def _facts(labels: Sequence[Label], seconds: float) -> dict[str, Any]:
    tokens = sum(label.tokens for label in labels)
    return {
        "labels": len(labels),
        "truncated": sum(label.finish == "length" for label in labels),
        "empty": sum(not label.text.strip() for label in labels),
        "completion_tokens": tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
    }
