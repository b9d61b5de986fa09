"""Completions: a point's answers to all of its measures' items, sampled in one go, with points of the same base.

An artifact of its own, so that a new grader never samples again. This module refuses to know graders. Invariant: one
row for each (measure, item), in the order of the items.
"""

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from offmodel.core.errors import OffmodelError, RecipeError
from offmodel.core.rows import write_rows
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Part, Request, Sampling, sample_many
from offmodel.evals.measures import COMPLETIONS, Item, Measure, read_items
from offmodel.models import weights_in
from offmodel.store.recipe import Facts, Job, Payload, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions(Recipe):
    """Answers of a model, or of one checkpoint of its treatment.

    Attributes:
        model: the model itself: an organism, or the unplanted student.
        treatment: a training of that model, whose checkpoint answers; None for the model itself.
        step: the checkpoint's step; None for the model itself.
        items: one recipe of items for each measure.
        measures: what is measured on them, in the same order; their names differ.
        sampling: temperature, seed, sampler, dtype.
    """

    kind: ClassVar[str] = "completions"
    recipe_version: ClassVar[int] = 1
    model: Recipe
    treatment: Recipe | None
    step: int | None
    items: tuple[Recipe, ...]
    measures: tuple[Measure, ...]
    sampling: Sampling

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        check_measures(self.items, self.measures)
        if (self.treatment is None) != (self.step is None):
            raise RecipeError("Completions name a treatment and its step together, or neither.")

    def name(self) -> str:
        """The treatment with its step, or the model."""
        return self.model.name() if self.treatment is None else f"{self.treatment.name()}-{self.step}"

    def batch_key(self) -> str:
        """Points of one base model share the loaded weights."""
        return f"{self.model.digest}/{self.sampling.sampler}/{self.sampling.dtype}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Sample all items of all measures in one batch."""
        ((_, found),) = cls.execute_many([job])
        if isinstance(found, OffmodelError):
            raise found
        return found

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts | OffmodelError]]:
        """Checkpoint by checkpoint, or several in one submission where the sampler can; prompts are rendered once.

        On a GPU, points of the very same weights (the student, measured for several pairs) are one batch, in which a
        request that occurs again is sampled once; on a CPU a batch's make-up could change bits, for nothing.
        """
        rendered: dict[tuple[str, str, int], list[Request]] = {}
        bases: dict[Hashable, dict[Hashable, list[_Point]]] = {}
        for i, job in enumerate(jobs):
            try:
                point = _Point(i, job, weights_of(job), _requests(job, rendered))
            except OffmodelError as error:
                yield i, error
                continue
            _, model_key, _, adapter_key = point.weights
            alone = not job.runtime.device.startswith("cuda")
            same = bases.setdefault((model_key, job.params.sampling), {})
            same.setdefault(i if alone else adapter_key, []).append(point)
        for same in bases.values():
            yield from _sample_base(list(same.values()))


@dataclass(frozen=True, slots=True)
class _Point:
    """A job, its place among the jobs, its weights and what it asks."""

    place: int
    job: Job
    weights: tuple[Path, str, Path | None, str | None]
    asked: list[Request]


def check_measures(items: Sequence[Recipe], measures: Sequence[Measure]) -> None:
    """Raises `RecipeError` unless there is one source of items a measure, and the measures' names differ."""
    if len(items) != len(measures) or not measures:
        raise RecipeError(f"{len(measures)} measures need as many sources of items, not {len(items)}; give one each.")
    names = [m.name for m in measures]
    if len(set(names)) != len(names):
        raise RecipeError(f"Two measures of one point have the same name ({', '.join(names)}); name them apart.")


def _sample_base(groups: Sequence[Sequence[_Point]]) -> Iterator[tuple[int, Facts | OffmodelError]]:
    """Points of one base and sampling, in groups of the same weights; the time of a submission is shared equally."""
    began = time.monotonic()
    model, model_key, _, _ = groups[0][0].weights
    job = groups[0][0].job
    notices: list[list[str]] = [[] for _ in groups]
    parts = [_part(group, told) for group, told in zip(groups, notices, strict=True)]
    for found in sample_many(
        model=model, model_key=model_key, parts=parts, sampling=job.params.sampling, runtime=job.runtime
    ):
        seconds = (time.monotonic() - began) / sum(len(groups[k]) for k in found)
        for k, answers in found.items():
            told = {"sampler_notice": notices[k][0]} if notices[k] else {}
            for point in groups[k]:
                if isinstance(answers, OffmodelError):
                    yield point.place, answers
                else:
                    yield point.place, _written(point.job, _own(point, parts[k], answers), seconds) | told
        began = time.monotonic()


def _part(group: Sequence[_Point], told: list[str]) -> Part:
    """What points of the same weights ask: a point alone keeps its batch as it is, of several each request once."""
    _, _, adapter, adapter_key = group[0].weights
    asked = [r for point in group for r in point.asked]
    return Part(
        adapter=adapter,
        adapter_key=adapter_key,
        requests=list(dict.fromkeys(asked)) if len(group) > 1 else asked,
        progress=group[0].job.progress,
        notice=told.append,
    )


def _own(point: _Point, part: Part, answers: Sequence[Generation]) -> Sequence[Generation]:
    """A point's answers among those of all points of its weights: equal requests have equal answers."""
    if part.requests == point.asked:
        return answers
    by_request = dict(zip(part.requests, answers, strict=True))
    return [by_request[r] for r in point.asked]


def _requests(job: Job, rendered: dict[tuple[str, str, int], list[Request]]) -> list[Request]:
    """A point's requests, in the order of its measures and items."""
    base: Payload = job.inputs["model"]
    requests: list[Request] = []
    for measure, source in zip(job.params.measures, job.inputs["items"], strict=True):
        key = (base.content, source.content, measure.max_new_tokens)
        if key not in rendered:
            renderer = Renderer.from_folder(weights_in(base.path)[0])
            rendered[key] = requests_of(renderer, read_items(source.path), measure.max_new_tokens)
        requests += rendered[key]
    return requests


def _written(job: Job, found: Sequence[Generation], seconds: float) -> Facts:
    """Write a point's rows; what the record says of them."""
    sources: tuple[Payload, ...] = job.inputs["items"]
    asked = [
        (m.name, item.id) for m, s in zip(job.params.measures, sources, strict=True) for item in read_items(s.path)
    ]
    write_rows(job.out / COMPLETIONS, (_row(*a, g) for a, g in zip(asked, found, strict=True)))
    return {
        "answers": len(found),
        "tokens": sum(len(g.ids) for g in found),
        "truncated": sum(g.finish == "length" for g in found),
        "seconds": round(seconds, 3),
    }


def requests_of(renderer: Renderer, items: Sequence[Item], max_new_tokens: int) -> list[Request]:
    """Items as requests to a sampler."""
    prompts = renderer.prompts_ids([i.messages for i in items])
    return [Request(tuple(ids), max_new_tokens) for ids in prompts]


def weights_of(job: Job) -> tuple[Path, str, Path | None, str | None]:
    """(model folder, its key, adapter folder, its key): what to load for a point."""
    base: Payload = job.inputs["model"]
    treatment: Payload | None = job.inputs.get("treatment")
    model, adapter = weights_in(base.path)
    if treatment is None:
        return model, base.content, adapter, None if adapter is None else f"{base.content}/adapter"
    step = f"step-{job.params.step:05d}"
    folder, key = treatment.path / step, f"{treatment.content}/{step}"
    if not folder.is_dir():
        there = ", ".join(sorted(d.name for d in treatment.path.glob("step-*"))) or "none"
        raise RecipeError(f"The treatment has no checkpoint {step}; it has: {there}.")
    if (folder / "adapter_config.json").exists():
        return model, base.content, folder, key
    return folder, key, None, None


def _row(measure: str, item: str, answer: Generation) -> dict[str, str | int]:
    return {
        "measure": measure,
        "item": item,
        "text": answer.text,
        "finish": answer.finish,
        "tokens": len(answer.ids),
    }
