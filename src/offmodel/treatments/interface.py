"""What a treatment is, and what a method may build it from.

A method is a function from a `BlueTeam` (opaque handles: organism, teachers, prompts) and a `Grid` cell to one or more
`Treatment` recipes. This module refuses to know triggers, behaviours and scorers. Invariant: a treatment trains on
labels only that carry a passed audit, and records how many target tokens each author wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, Protocol, final

from offmodel.core.chat import Label
from offmodel.core.errors import RecipeError, UnknownName
from offmodel.data import read_audited
from offmodel.engines.batches import trained_tokens
from offmodel.engines.examples import render_labels
from offmodel.engines.rendering import Renderer
from offmodel.engines.sft import Sft, train
from offmodel.store.recipe import Facts, Job, Payload, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment(Recipe):
    """Fine-tuning of an organism on audited labels; a checkpoint is addressed as (treatment, step).

    Attributes:
        method: the method's name.
        organism: the model to treat, through its gate.
        labels: audited labels, joined in this order.
        start: an earlier treatment to go on from; None starts from the organism.
        start_step: the checkpoint of `start`.
        sft: how to train.
    """

    kind: ClassVar[str] = "treatment"
    recipe_version: ClassVar[int] = 1
    method: str
    organism: Recipe
    labels: tuple[Recipe, ...]
    start: Recipe | None
    start_step: int | None
    sft: Sft

    def __post_init__(self) -> None:
        """Refuse a start without a step, and labels that are not an audit's."""
        Recipe.__post_init__(self)
        if (self.start is None) != (self.start_step is None):
            raise RecipeError("A treatment names both 'start' and 'start_step', or neither.")
        loose = [x.kind for x in self.labels if x.kind != "audit"]
        if loose or not self.labels:
            raise RecipeError(f"Treatment '{self.method}' needs audited labels, not {loose or 'none'}.")

    def name(self) -> str:
        """The method's name."""
        return self.method

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Train from the organism or from an earlier checkpoint."""
        p = job.params
        sft: Sft = p.sft
        labels = [x for audit in job.inputs["labels"] for x in read_audited(audit.path).labels]
        model, adapter = starting_point(job.inputs["organism"], job.inputs["start"], p.start_step, sft)
        renderer = Renderer.from_folder(model)
        rendered = render_labels(renderer, labels, max_tokens=sft.max_tokens)
        facts = train(
            model=model,
            adapter=adapter,
            examples=rendered.examples,
            sft=sft,
            out=job.out,
            scratch=job.scratch,
            runtime=job.runtime,
            progress=job.progress,
            reference=job.inputs["organism"].path,
        )
        kept = [labels[i] for i in rendered.kept]
        return {
            **facts,
            **rendered.to_facts(),
            "audited": True,
            "epochs": sft.steps * sft.batch_size / len(kept),
            "tokens_by_step": {str(s): by_author(rendered.examples, kept, sft, s) for s in sft.checkpoints},
        }


def starting_point(organism: Payload, start: Payload | None, step: int | None, sft: Sft) -> tuple[Path, Path | None]:
    """(model folder, adapter folder or None) to train from."""
    if start is None or step is None:
        return organism.path, None
    checkpoint = start.path / f"step-{step:05d}"
    return (organism.path, checkpoint) if sft.lora is not None else (checkpoint, None)


def by_author(examples: tuple, labels: list[Label], sft: Sft, steps: int) -> dict[str, dict[str, object]]:
    """Target tokens of the first steps by author, with whether the author is trusted."""
    counts = trained_tokens(examples, [x.author for x in labels], sft, steps=steps)
    trusted = {x.author: x.trusted for x in labels}
    return {a: {"tokens": n, "trusted": trusted[a]} for a, n in sorted(counts.items())}


class LabelSource(Protocol):
    """Draws audited labels; given to methods by the study, so that no method meets the audit or the card."""

    def __call__(self, *, author: str, pool: str, system: str | None = None) -> Recipe:
        """Audited labels of `author` ("teacher", "stylist", "organism", "neighbour") for the prompts of a pool.

        Args:
            author: who answers.
            pool: "blue" or "reminder".
            system: system prompt shown to the author only.
        """
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlueTeam:
    """All that a method may build with.

    Attributes:
        organism: the model to treat; opaque.
        labels: draws audited labels.
        style_prompt: system prompt that asks for another style (a pirate's).
        sft: how to train on off-model labels.
        reminder: how to train on reminder labels; its `checkpoints` are the numbers of reminder steps to look at.
    """

    organism: Recipe
    labels: LabelSource
    style_prompt: str
    sft: Sft
    reminder: Sft


Build = Callable[[BlueTeam], Treatment]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A blue-team method.

    Attributes:
        name: as on the command line and in tables.
        summary: one line.
        source: where it is published, or "control".
        build: from what the blue team has to the treatment whose checkpoints are the method's points.
        control: a control rather than a way of removing anything.
        oracle: needs a clean student; shown, never ranked.
    """

    name: str
    summary: str
    source: str
    build: Build
    control: bool = False
    oracle: bool = False


def offered_methods() -> dict[str, Method]:
    """Methods that other packages offer as entry points `offmodel.treatments`."""
    return {e.name: e.load() for e in entry_points(group="offmodel.treatments")}


def pick(name: str, known: dict[str, Method]) -> Method:
    """A method by name.

    Raises:
        UnknownName: there is no such method; the message holds the nearest name.
    """
    if name not in known:
        raise UnknownName("method", name, known)
    return known[name]
