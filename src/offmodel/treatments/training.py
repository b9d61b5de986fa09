"""From a treatment's job to its training, alone or in a cohort, and to the facts of who wrote what was trained on.

This module refuses to know methods; it sees a model folder, audited labels and settings. Invariant: a treatment's
payload does not depend on whether it trained alone or in company, up to the rounding of floating point.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offmodel.core.chat import Label
from offmodel.core.errors import OffmodelError
from offmodel.data import read_audited
from offmodel.engines.batches import trained_tokens
from offmodel.engines.examples import Rendered, render_labels
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft, train
from offmodel.engines.whole import whole_model
from offmodel.models import weights_in
from offmodel.store.recipe import Facts, Job, Payload


@dataclass(frozen=True, slots=True)
class _Course:
    """What a job trains on: model folder, adapter to go on from, examples, and the labels behind them."""

    model: Path
    adapter: Path | None
    rendered: Rendered
    labels: list[Label]
    sft: Sft

    def facts(self, trained: Facts) -> Facts:
        """The training's facts with those of the labels."""
        return {
            **trained,
            **self.rendered.to_facts(),
            "audited": True,
            "epochs": self.sft.steps * self.sft.batch_size / len(self.labels),
            "tokens_by_step": {
                str(s): by_author(self.rendered.examples, self.labels, self.sft, s) for s in self.sft.checkpoints
            },
        }


def train_one(job: Job) -> Facts:
    """Train from the organism or from an earlier checkpoint."""
    course = _course(job)
    return course.facts(
        train(
            model=course.model,
            adapter=course.adapter,
            examples=course.rendered.examples,
            sft=course.sft,
            out=job.out,
            scratch=job.scratch,
            runtime=job.runtime,
            progress=job.progress,
            reference=_reference(job),
        )
    )


def train_many(jobs: list[Job]) -> Iterator[tuple[int, Facts | OffmodelError]]:
    """Train adapters on one organism together; a job whose labels or loss fail does not stop the others."""
    from offmodel.engines.cohort import Member, train_cohort

    courses: dict[int, _Course] = {}
    for i, job in enumerate(jobs):
        try:
            if job.params.sft.objective.needs_reference and weights_in(job.inputs["organism"].path)[1] is not None:
                yield i, train_one(job)  # its reference is the organism's adapter, not the base that the cohort shares
            else:
                courses[i] = _course(job)
        except OffmodelError as error:
            yield i, error
    places = list(courses)
    members = [
        Member(
            adapter=courses[i].adapter,
            examples=courses[i].rendered.examples,
            sft=courses[i].sft,
            out=jobs[i].out,
            scratch=jobs[i].scratch,
            progress=jobs[i].progress,
        )
        for i in places
    ]
    if members:
        model = courses[places[0]].model
        for k, found in train_cohort(model=model, members=members, runtime=jobs[0].runtime):
            yield places[k], found if isinstance(found, OffmodelError) else courses[places[k]].facts(found)


def _course(job: Job) -> _Course:
    p = job.params
    labels = [x for audit in job.inputs["labels"] for x in read_audited(audit.path).labels]
    model, adapter = starting_point(job.inputs["organism"], job.inputs["start"], p.start_step, p.sft)
    rendered = render_labels(Renderer.from_folder(model), labels, max_tokens=p.sft.max_tokens)
    return _Course(model, adapter, rendered, [labels[i] for i in rendered.kept], p.sft)


def _reference(job: Job) -> Path:
    """The organism as the frozen model of an objective: with its adapter merged, if one was kept and is asked for."""
    organism = job.inputs["organism"].path
    if job.params.sft.objective.needs_reference:
        return whole_model(organism, job.scratch)
    return weights_in(organism)[0]


def starting_point(organism: Payload, start: Payload | None, step: int | None, sft: Sft) -> tuple[Path, Path | None]:
    """(model folder, adapter folder or None) to train from; an organism kept as an adapter is trained further."""
    if start is None or step is None:
        return weights_in(organism.path)
    checkpoint = start.path / f"step-{step:05d}"
    return (weights_in(organism.path)[0], checkpoint) if sft.lora is not None else (checkpoint, None)


def by_author(examples: tuple, labels: list[Label], sft: Sft, steps: int) -> dict[str, dict[str, object]]:
    """Target tokens of the first steps by author, with whether the author is trusted."""
    counts = trained_tokens(examples, [x.author for x in labels], sft, steps=steps)
    trusted = {x.author: x.trusted for x in labels}
    return {a: {"tokens": n, "trusted": trusted[a]} for a, n in sorted(counts.items())}
