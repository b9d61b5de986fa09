"""Completions: a point's answers to all of its measures' items, sampled in one go.

An artifact of its own, so that a new grader never samples again. This module refuses to know graders. Invariant: one
row for each (measure, item), in the order of the items.
"""

import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from offmodel.core.errors import RecipeError
from offmodel.core.rows import write_rows
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Generation, Request, Sampling, sample
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
        """Points of one base model share the loaded weights, one after another."""
        return f"{self.model.digest}/{self.sampling.sampler}/{self.sampling.dtype}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Sample all items of all measures in one batch."""
        return _sample_points([job], {})[0]

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts]]:
        """Checkpoint by checkpoint; tokens of prompts and the base model are made ready once.

        On a GPU, points of the very same weights (the student, measured for several pairs) are one batch, in which a
        request that occurs again is sampled once; on a CPU a batch's make-up could change bits, for nothing.
        """
        rendered: dict[tuple[str, str, int], list[Request]] = {}
        together: dict[Hashable, list[int]] = {}
        for i, job in enumerate(jobs):
            alone = not job.runtime.device.startswith("cuda")
            key = i if alone else (*weights_of(job)[1::2], job.params.sampling)
            together.setdefault(key, []).append(i)
        for group in together.values():
            yield from zip(group, _sample_points([jobs[i] for i in group], rendered), strict=True)


def check_measures(items: Sequence[Recipe], measures: Sequence[Measure]) -> None:
    """Raises `RecipeError` unless there is one source of items a measure, and the measures' names differ."""
    if len(items) != len(measures) or not measures:
        raise RecipeError(f"{len(measures)} measures need as many sources of items, not {len(items)}; give one each.")
    names = [m.name for m in measures]
    if len(set(names)) != len(names):
        raise RecipeError(f"Two measures of one point have the same name ({', '.join(names)}); name them apart.")


def _sample_points(jobs: Sequence[Job], rendered: dict[tuple[str, str, int], list[Request]]) -> list[Facts]:
    """Points of the same weights and sampling, in one batch."""
    began = time.monotonic()
    asked = [_requests(job, rendered) for job in jobs]
    # A point alone keeps its batch as it is; among several, equal requests have equal answers.
    merged = [r for part in asked for r in part]
    merged = list(dict.fromkeys(merged)) if len(jobs) > 1 else merged
    model, model_key, adapter, adapter_key = weights_of(jobs[0])
    notices: list[str] = []
    found = sample(
        model=model,
        model_key=model_key,
        adapter=adapter,
        adapter_key=adapter_key,
        requests=merged,
        sampling=jobs[0].params.sampling,
        runtime=jobs[0].runtime,
        progress=jobs[0].progress,
        notice=notices.append,
    )
    seconds, told = (time.monotonic() - began) / len(jobs), {"sampler_notice": notices[0]} if notices else {}
    if len(jobs) == 1:
        return [_written(jobs[0], found, seconds) | told]
    answers = dict(zip(merged, found, strict=True))
    return [_written(job, [answers[r] for r in part], seconds) | told for job, part in zip(jobs, asked, strict=True)]


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
