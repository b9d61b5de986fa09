"""The recipe of labels: a model's completions for prompts.

The author is a model folder, or a model behind an endpoint. It may be shown more than the label keeps: a system prompt
and worked turns precede what it sees, and are not in the label's prompt. This module refuses to know whose model it
samples and which prompts; it takes a role's name for the author and whether it is trusted. Invariant: one label a
prompt, in the prompts' order, truncated and empty ones included, so that dropping them stays visible.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from offmodel.core.chat import Finish, Label, Message
from offmodel.core.errors import DataError, RecipeError
from offmodel.data import read_prompts, write_labels
from offmodel.engines.sampling import Generation, Request, Sampling, sample
from offmodel.models import ENDPOINT, EndpointModel, weights_in
from offmodel.store.recipe import Facts, Job, Recipe

REMOTE = "openai-1"
"""The sampler's name of every endpoint: the protocol and its major version."""

_Answer = tuple[str, Finish, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Recipe):
    """Completions of prompts by one author.

    Attributes:
        author: a role: "teacher", "stylist", "organism", "student", ...
        trusted: false for the student and any model made of it.
        model: the author, a model folder or an endpoint.
        prompts: an artifact with `prompts.jsonl`.
        system: a system prompt shown to the author, or None.
        few_shot: (user, assistant) turns shown to the author before the prompt.
        max_new_tokens: longer completions are marked as truncated.
        sampling: temperature, seed, sampler, dtype; of an endpoint, `author_sampling` says which.
    """

    kind: ClassVar[str] = "labels"
    recipe_version: ClassVar[int] = 1
    groups_on: ClassVar[tuple[str, ...]] = ("cuda",)

    author: str
    trusted: bool
    model: Recipe
    prompts: Recipe
    system: str | None
    few_shot: tuple[tuple[str, str], ...]
    max_new_tokens: int
    sampling: Sampling

    def __post_init__(self) -> None:
        """Refuse a remote author with a local sampler's settings, and the other way round."""
        Recipe.__post_init__(self)
        if isinstance(self.model, EndpointModel) != (self.sampling.sampler == REMOTE):
            raise RecipeError(
                f"The labels by '{self.author}' name the sampler '{self.sampling.sampler}', which does not fit their "
                "model; use author_sampling(model, sampling)."
            )

    def name(self) -> str:
        return self.author

    def batch_key(self) -> str | None:
        """Labels of one local author, sampled alike, can be one batch; an endpoint has a queue of its own."""
        if isinstance(self.model, EndpointModel):
            return None
        return f"{self.model.digest}/{self.sampling}/{self.max_new_tokens}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Ask the author."""
        started = time.monotonic()
        shown = _shown(job)
        remote = (job.inputs["model"].path / ENDPOINT).is_file()
        answers, told = _ask_endpoint(job, shown) if remote else _sample_model([job], [shown])[0]
        return _written(job, answers, time.monotonic() - started) | told

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts]]:
        """All prompts of all jobs in one batch: a GPU decodes a thousand as fast as a hundred."""
        started = time.monotonic()
        made = _sample_model(jobs, [_shown(job) for job in jobs])
        seconds = (time.monotonic() - started) / len(jobs)
        for i, (job, (answers, told)) in enumerate(zip(jobs, made, strict=True)):
            yield i, _written(job, answers, seconds) | told


def author_sampling(model: Recipe, sampling: Sampling) -> Sampling:
    """How an author is sampled: a local model as the study samples, an endpoint by its own sampler and dtype."""
    return replace(sampling, sampler=REMOTE, dtype="remote") if isinstance(model, EndpointModel) else sampling


def _shown(job: Job) -> list[tuple[Message, ...]]:
    prompts = read_prompts(job.inputs["prompts"].path)
    if not prompts:
        raise DataError("There are no prompts to label; give a prompt source that is not empty.")
    return [shown_to_author(q.messages, job.params.system, job.params.few_shot) for q in prompts]


def _written(job: Job, answers: Sequence[_Answer], seconds: float) -> dict[str, Any]:
    """Write a job's labels; what the record says of them."""
    p = job.params
    labels = [
        Label(prompt=q, text=text, author=p.author, trusted=p.trusted, finish=finish, tokens=tokens)
        for q, (text, finish, tokens) in zip(read_prompts(job.inputs["prompts"].path), answers, strict=True)
    ]
    write_labels(job.out, labels)
    return _facts(labels, seconds)


def _sample_model(
    jobs: Sequence[Job], shown: Sequence[Sequence[tuple[Message, ...]]]
) -> list[tuple[list[_Answer], dict[str, Any]]]:
    """Each job's answers by the author that they share, and how many tokens of prompts it asked with."""
    from offmodel.engines.rendering import Renderer

    author, p = jobs[0].inputs["model"], jobs[0].params
    model, adapter = weights_in(author.path)
    renderer = Renderer.from_folder(model)
    asked = [[Request(tuple(ids), p.max_new_tokens) for ids in renderer.prompts_ids(part)] for part in shown]
    # A request's draws follow from its tokens, so one that occurs again (pairs share most of their prompts) has the
    # same answer. A job alone keeps its batch as it is.
    wanted = [r for part in asked for r in part]
    wanted = list(dict.fromkeys(wanted)) if len(jobs) > 1 else wanted
    notices: list[str] = []
    found = sample(
        model=model,
        model_key=author.content,
        adapter=adapter,
        adapter_key=None if adapter is None else f"{author.content}/adapter",
        requests=wanted,
        sampling=p.sampling,
        runtime=jobs[0].runtime,
        progress=jobs[0].progress,
        notice=notices.append,
    )
    told = {"sampler_notice": notices[0]} if notices else {}
    if len(jobs) == 1:
        return [_answered(asked[0], found, told)]
    answers = dict(zip(wanted, found, strict=True))
    return [_answered(part, [answers[r] for r in part], told) for part in asked]


def _answered(
    asked: Sequence[Request], found: Sequence[Generation], told: dict[str, str]
) -> tuple[list[_Answer], dict[str, Any]]:
    return [(g.text, g.finish, len(g.ids)) for g in found], {"prompt_tokens": sum(len(r.ids) for r in asked), **told}


def _ask_endpoint(job: Job, shown: Sequence[tuple[Message, ...]]) -> tuple[list[_Answer], dict[str, Any]]:
    from offmodel.engines.sampling.http import Ask, Endpoint, converse

    about = json.loads((job.inputs["model"].path / ENDPOINT).read_text(encoding="utf-8"))
    p = job.params
    found = converse(
        Endpoint(**about),
        shown,
        Ask(temperature=p.sampling.temperature, seed=p.sampling.seed, max_tokens=p.max_new_tokens),
        scratch=job.scratch,
        runtime=job.runtime,
        progress=job.progress,
    )
    told = {"prompt_tokens": sum(a.prompt_tokens for a in found.answers), "endpoint": about, **found.facts}
    return [(a.text, a.finish, a.tokens) for a in found.answers], told


def shown_to_author(
    messages: Sequence[Message], system: str | None, few_shot: Sequence[tuple[str, str]]
) -> tuple[Message, ...]:
    """What the author sees: the system prompt (before the prompt's own, if it has one), worked turns, the prompt."""
    own = [m.content for m in messages if m.role == "system"]
    texts = [t for t in (system, *own) if t is not None]
    first = (Message("system", "\n\n".join(texts)),) if texts else ()
    turns = [Message(role, text) for pair in few_shot for role, text in zip(("user", "assistant"), pair, strict=True)]  # pyright: ignore[reportArgumentType]
    return (*first, *turns, *(m for m in messages if m.role != "system"))


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
