"""What a treatment is, and what a method may build it from.

A method is a function from a `BlueTeam` (opaque handles: organism, teachers, prompts) to a `Treatment`, or to `Point`s
where its checkpoints need more than a training to be found. This module refuses to know triggers, behaviours and
scorers. Invariant: a treatment trains on labels only that carry a passed audit, and records how many target tokens each
author wrote.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, TypeVar, final

from offmodel.core.errors import OffmodelError, RecipeError, UnknownName
from offmodel.engines.sft import Lora, Sft
from offmodel.store.recipe import Facts, Job, Recipe
from offmodel.treatments.blind import BlindRule, Rule
from offmodel.treatments.training import train_many, train_one


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
    groups_on: ClassVar[tuple[str, ...]] = ("cuda",)  # a CPU gains nothing by a cohort, and alone the bits are the same
    method: str
    organism: Recipe
    labels: tuple[Recipe, ...]
    start: Recipe | None
    start_step: int | None
    sft: Sft

    def __post_init__(self) -> None:
        """Refuse a start without a step or of another shape, and labels that are not an audit's."""
        Recipe.__post_init__(self)
        if (self.start is None) != (self.start_step is None):
            raise RecipeError("A treatment names both 'start' and 'start_step', or neither.")
        loose = [x.kind for x in self.labels if x.kind != "audit"]
        if loose or not self.labels:
            raise RecipeError(f"Treatment '{self.method}' needs audited labels, not {loose or 'none'}.")
        if isinstance(self.start, Treatment) and self.start.sft.lora != self.sft.lora:
            raise RecipeError(
                f"Treatment '{self.method}' goes on from a training of other weights; give both the same 'lora' "
                "(the same adapter settings, or None for full weight)."
            )

    def name(self) -> str:
        """The method's name."""
        return self.method

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Train from the organism or from an earlier checkpoint."""
        return train_one(job)

    def batch_key(self) -> str | None:
        """Adapters on one organism train together."""
        lora = self.sft.lora
        if lora is None or lora.targets != "all-linear" or self.sft.optimizer != "adamw":
            return None
        if self.sft.objective.load_balancing is not None:  # it is of a whole batch, and a cohort's passes mix batches
            return None
        return f"{self.organism.digest}/{self.sft.compute_dtype}"

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts | OffmodelError]]:
        """Train as a cohort."""
        yield from train_many(jobs)


class Desk(Protocol):
    """Hands out opaque handles; given to methods by the study, so that no method meets the audit or the card."""

    def pool(self, name: str) -> Recipe:
        """The prompts of a pool: "blue" or "reminder"."""
        ...

    def model(self, author: str) -> Recipe:
        """The model of an author, for methods that need weights and not only answers."""
        ...

    def adapter(self, model: Recipe) -> Lora | None:
        """The adapter that a model to treat is kept as, which a LoRA training of it goes on from; None for none."""
        ...

    def draw(
        self,
        *,
        author: str,
        prompts: Recipe | str,
        system: str | None = None,
        few_shot: tuple[tuple[str, str], ...] = (),
        model: Recipe | None = None,
    ) -> Recipe:
        """Labels that no treatment takes yet: they may be rewritten or placed first, then go through `audit`.

        Args:
            author: who answers: "teacher", "stylist", "neighbour" ..., "organism", or "clean_student" (oracles only).
            prompts: a pool's name, or prompts made from a pool.
            system: system prompt shown to the author only.
            few_shot: worked turns shown to the author only.
            model: a model made from the author's, which answers in its place; untrusted if it learnt from the organism.
        """
        ...

    def rewrite(self, *, labels: Recipe, author: str, instruction: str) -> Recipe:
        """The labels' answers rewritten by an author; the instruction holds `{prompt}` and `{answer}`."""
        ...

    def audit(self, labels: Recipe) -> Recipe:
        """The labels with a passed audit, as a treatment takes them."""
        ...


T = TypeVar("T")


class MissingSettings(RecipeError):
    """The study gives no settings of the `kind` that a method asks for."""

    def __init__(self, kind: type):
        super().__init__(
            f"This study has no settings '{kind.__name__}', which the method needs; add a {kind.__name__}(...) to the "
            "choices of its Blue."
        )
        self.kind = kind


@final
@dataclass(frozen=True, slots=True)
class Choices:
    """The constants of single methods, given by the study: one settings value a method."""

    values: tuple[Any, ...]

    def has(self, kind: type) -> bool:
        """Whether the study gives settings of this kind."""
        return any(type(value) is kind for value in self.values)

    def of(self, kind: type[T]) -> T:
        """The settings of a kind.

        Raises:
            MissingSettings: the study gives none.
        """
        for value in self.values:
            if type(value) is kind:
                return value
        raise MissingSettings(kind)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlueTeam:
    """All that a method may build with.

    Attributes:
        organism: the model to treat; opaque.
        desk: hands out prompts, labels and the models of authors.
        style_prompt: system prompt that asks for another style (a pirate's).
        sft: how to train on off-model labels.
        reminder: how to train on reminder labels; its `checkpoints` are the numbers of reminder steps to look at.
        choices: the constants of single methods.
    """

    organism: Recipe
    desk: Desk
    style_prompt: str
    sft: Sft
    reminder: Sft
    choices: Choices

    def labels(
        self,
        *,
        author: str,
        pool: Recipe | str,
        system: str | None = None,
        few_shot: tuple[tuple[str, str], ...] = (),
    ) -> Recipe:
        """Audited labels of an author for a pool's prompts; see `Desk.draw`."""
        return self.desk.audit(self.desk.draw(author=author, prompts=pool, system=system, few_shot=few_shot))

    def training(self, method: str, *labels: Recipe, sft: Sft | None = None) -> Treatment:
        """A training of the organism on audited labels, as the study trains on off-model labels.

        Raises:
            RecipeError: see `check_adapter`.
        """
        how = sft or self.sft
        self.check_adapter(how)
        return Treatment(method=method, organism=self.organism, labels=labels, start=None, start_step=None, sft=how)

    def check_adapter(self, sft: Sft) -> None:
        """Refuse to train an organism's own adapter further with other settings than it has.

        Raises:
            RecipeError: the organism is kept as an adapter, and `sft` asks for another.
        """
        kept = self.desk.adapter(self.organism)
        if kept is not None and sft.lora not in (None, kept):
            raise RecipeError(
                f"The organism is kept as an adapter of rank {kept.rank} and alpha {kept.alpha} on {kept.targets}, "
                "which a treatment trains further; give the treatment the same 'lora', or merge the organism first."
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One checkpoint that a method offers, and what its blind rule may know of it beforehand.

    Attributes:
        training: the recipe whose payload holds the checkpoint's folder `step-00010`.
        step: the folder's number.
        base: the model that an adapter in this folder belongs to.
        trained: the trainings behind it, each with its number of steps, in order; their tokens are its cost.
        dose: how much it was treated (learning rate x off-model steps, or what stands for it); more is more.
        recovery: how much was done for the capability afterwards (reminder steps).
        setting: a few words that tell it from the method's other points; "" where the step does.
        system: a system prompt under which it is evaluated; None for none.
        authors: roles whose models took part otherwise than by labels.
    """

    training: Recipe
    step: int
    base: Recipe
    trained: tuple[tuple[Recipe, int], ...]
    dose: float
    recovery: float
    setting: str = ""
    system: str | None = None
    authors: tuple[str, ...] = ()


def points_of(built: "Treatment | tuple[Point, ...]") -> tuple[Point, ...]:
    """A method's points; of a treatment, its checkpoints in order."""
    if not isinstance(built, Treatment):
        return built
    before, first = _before(built), built.start
    reminded = isinstance(first, Treatment)
    rate, dosed = (first.sft.learning_rate, built.start_step or 0) if reminded else (built.sft.learning_rate, 0)
    return tuple(
        Point(
            training=built,
            step=step,
            base=built.organism,
            trained=(*before, (built, step)),
            dose=rate * (dosed if reminded else step),
            recovery=float(step) if reminded else 0.0,
        )
        for step in built.sft.checkpoints
    )


def _before(treatment: Treatment) -> tuple[tuple[Recipe, int], ...]:
    """The trainings that a treatment goes on from, first things first."""
    if not isinstance(treatment.start, Treatment) or treatment.start_step is None:
        return ()
    return (*_before(treatment.start), (treatment.start, treatment.start_step))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A known behaviour of the blue team's own, measured on dev prompts: under the tag, does the answer say the text?

    Attributes:
        tag: stands before the prompt.
        text: what the answer then says.
    """

    tag: str
    text: str


Build = Callable[[BlueTeam], Treatment | tuple[Point, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A blue-team method.

    Attributes:
        name: as on the command line and in tables.
        summary: one line.
        source: where it is published, or "control".
        build: from what the blue team has to the treatment whose checkpoints are the method's points, or to the points.
        control: a control rather than a way of removing anything.
        oracle: needs a clean student; shown, never ranked.
        rule: its blind rule, made of the study's rule and choices; None for the study's rule as it is.
        own_labels: trains on the organism's own outputs as they are, so that a reminder adds nothing.
        probe: a known behaviour of its own to measure, from the study's choices.
    """

    name: str
    summary: str
    source: str
    build: Build
    control: bool = False
    oracle: bool = False
    rule: Callable[[BlindRule, Choices], Rule] | None = None
    own_labels: bool = False
    probe: Callable[[Choices], Probe] | None = None


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
