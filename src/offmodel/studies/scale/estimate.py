"""What a study costs on a machine, by kind of step, and whether each step fits.

Seconds come from `speed`, bytes from `engines.footprint`. This module refuses to know recipes beyond their work.
Invariant: a step that fits on no part of the machine is refused, and the refusal says what would hold it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from offmodel.core.errors import RecipeError
from offmodel.engines import lone
from offmodel.engines.footprint import GIB, PASS_TOKENS, Shape, sampling_memory, training_memory
from offmodel.store.recipe import Recipe, Runtime
from offmodel.studies.scale import machines
from offmodel.studies.scale.machines import Machine, calibration
from offmodel.studies.scale.speed import step_seconds, token_seconds
from offmodel.studies.scale.work import Drawing, Fetching, Training, Work, work_of

_FEWEST_ROWS = 8  # sampled at once; fewer would make a GPU wait for its memory
_MOST_ROWS = 1536
_LARGER = (1, 2, 4, 8)  # GPUs of one host that train one model together


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One recipe on a machine.

    Attributes:
        seconds: wall time.
        gpus: how many work together; 0 for work on the CPU.
        memory: bytes on each of them.
        recompute: activation checkpointing.
        disk: bytes of the result.
    """

    seconds: float
    gpus: int
    memory: float
    recompute: bool
    disk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """All steps of one kind.

    Attributes:
        kind: of the recipes, with the model and way where these tell steps apart.
        steps: how many.
        gpus: GPUs that one step takes.
        seconds: of one step, the mean.
        memory: bytes on each GPU, the most of any step.
        recompute: whether some step needs activation checkpointing.
        gpu_hours: of all steps.
        disk: bytes of all results.
    """

    kind: str
    steps: int
    gpus: int
    seconds: float
    memory: float
    recompute: bool
    gpu_hours: float
    disk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A study on a machine.

    Attributes:
        machine: which.
        lines: by kind, in the order of computation.
    """

    machine: Machine
    lines: tuple[Line, ...]

    @property
    def gpu_hours(self) -> float:
        """Of all steps."""
        return sum(x.gpu_hours for x in self.lines)

    @property
    def hours(self) -> float:
        """Wall time, if the machine's GPUs are always at work."""
        return self.gpu_hours / self.machine.gpus

    @property
    def disk(self) -> float:
        """Bytes of all results."""
        return sum(x.disk for x in self.lines)

    @property
    def dollars(self) -> float:
        """Price of the GPU-hours."""
        return self.gpu_hours * self.machine.dollars


def estimate_study(recipes: Sequence[Recipe], machine: Machine, locations: Mapping[str, str]) -> Estimate:
    """What some recipes cost on a machine.

    Args:
        recipes: all that has to be computed, parents first.
        machine: where.
        locations: paths of local models by their content.

    Raises:
        RecipeError: a step does not fit; the message says what would hold it.
    """
    groups: dict[str, list[Step]] = {}
    for recipe in recipes:
        work = work_of(recipe, locations)
        groups.setdefault(_label(recipe, work), []).append(step_of(work, machine, recipe))
    return Estimate(machine=machine, lines=tuple(_line(kind, steps) for kind, steps in groups.items()))


def _label(recipe: Recipe, work: Work) -> str:
    if isinstance(work, Training):
        return f"{recipe.kind}, {_way(work)}, {_short(work.shape)}"
    if isinstance(work, Drawing):
        return f"{recipe.kind}, {_short(work.shape)}"
    return recipe.kind if isinstance(work, Fetching) else "on the CPU"


def _way(work: Training) -> str:
    return "all weights" if work.sft.lora is None else f"LoRA r{work.sft.lora.rank}"


def _short(shape: Shape) -> str:
    return shape.name.rsplit("/", 1)[-1]


def _line(kind: str, steps: Sequence[Step]) -> Line:
    return Line(
        kind=kind,
        steps=len(steps),
        gpus=max(s.gpus for s in steps),
        seconds=sum(s.seconds for s in steps) / len(steps),
        memory=max(s.memory for s in steps),
        recompute=any(s.recompute for s in steps),
        gpu_hours=sum(s.seconds * s.gpus for s in steps) / 3600,
        disk=sum(s.disk for s in steps),
    )


def step_of(work: Work, machine: Machine, recipe: Recipe) -> Step:
    """One recipe's cost.

    Raises:
        RecipeError: it does not fit.
    """
    assumed = calibration()["assumed"]
    if isinstance(work, Training | Drawing):
        step = _fitting(work, machine)
        if step is None:
            raise RecipeError(_refusal(work, machine, f"{recipe.kind}/{recipe.name()}"))
        return step
    seconds = assumed["cpu_seconds"]
    if isinstance(work, Fetching):
        seconds = work.bytes / assumed["download_bytes_a_second"]
    return Step(seconds=seconds, gpus=0, memory=0.0, recompute=False, disk=work.bytes)


def _fitting(work: Training | Drawing, machine: Machine) -> Step | None:
    """The step on as few GPUs as hold it; None if all of them do not."""
    if isinstance(work, Drawing):
        step = _drawing(work, machine)
        return step if step.memory <= machine.usable else None
    for gpus in (n for n in _LARGER if n <= machine.gpus and work.sft.batch_size % n == 0):
        for recompute in (False, True) if gpus > 1 else (False,):
            step = _training(work, machine, gpus, recompute)
            if step.memory <= machine.usable:
                return step
    return None


def _training(work: Training, machine: Machine, gpus: int, recompute: bool) -> Step:
    shape, sft, fitted, assumed = work.shape, work.sft, calibration()["fitted"], calibration()["assumed"]
    trained = "full" if sft.lora is None else "lora"
    own = work.tokens / gpus
    # Lengths vary by half of their mean: of n sequences, the largest batch is two deviations above the mean one.
    largest = own * (1 + (sft.batch_size / gpus) ** -0.5)
    seconds = step_seconds(
        machine,
        shape,
        trained,
        gpus=gpus,
        tokens=own,
        passes=math.ceil(own / PASS_TOKENS),
        recompute=recompute,
        captured=_captured(work, gpus),
    )
    memory = training_memory(
        shape,
        sft,
        processes=gpus,
        recompute=recompute,
        pass_tokens=round(min(largest, PASS_TOKENS)),
        passes=math.ceil(largest / PASS_TOKENS),
        frozen=work.frozen,
    )
    stepping = sft.steps * seconds + (fitted["first_seconds_sharded"] if gpus > 1 else 0)
    loading = (2.0 * shape.parameters + work.bytes) / assumed["disk_bytes_a_second"]
    start = assumed["start_seconds"]["sharded" if gpus > 1 else trained]
    return Step(
        seconds=stepping + loading + start, gpus=gpus, memory=memory.total, recompute=recompute, disk=work.bytes
    )


def _captured(work: Training, gpus: int) -> bool:
    """Whether passes are captured; of mixtures that has not been seen."""
    if work.shape.feed_active < work.shape.feed:
        return False
    return lone.fits(Path(), work.sft, Runtime(device="cuda", processes=gpus), "auto", None)


def _drawing(work: Drawing, machine: Machine) -> Step:
    shape, assumed = work.shape, calibration()["assumed"]
    sampler = "vllm" if "vllm" in work.sampler else "transformers"
    # vLLM gives memory to a row as it grows, the other sampler at once for the longest answer.
    length = work.tokens + assumed["prompt_tokens"] if sampler == "vllm" else work.longest
    row = 2.0 * length * shape.cache * shape.layers
    weights = sampling_memory(shape)
    spare = machine.usable - weights
    slots = max(_FEWEST_ROWS, min(_MOST_ROWS, work.rows, int(spare / row))) if work.rows else _FEWEST_ROWS
    rounds = math.ceil(work.rows / slots)
    # Whether our own sampler's steps of a mixture can be captured has not been seen.
    way = f"{sampler}, plain" if sampler == "transformers" and shape.feed_active < shape.feed else sampler
    mean = assumed["prompt_tokens"] + work.tokens / 2
    seconds = rounds * work.tokens * token_seconds(machine, shape, way, rows=slots, length=mean)
    seconds += 2.0 * shape.parameters / assumed["disk_bytes_a_second"]
    memory = weights + min(slots, max(work.rows, 1)) * row
    return Step(seconds=seconds, gpus=1, memory=memory, recompute=False, disk=work.bytes)


def _refusal(work: Training | Drawing, machine: Machine, label: str) -> str:
    shape = work.shape
    if isinstance(work, Training):
        divides = [n for n in _LARGER if n <= machine.gpus and work.sft.batch_size % n == 0]
        least = _training(work, machine, max(divides), recompute=max(divides) > 1)
        what = f"training ({_way(work)})"
    else:
        least, what = _drawing(work, machine), "sampling"
    need, have = least.memory / GIB, machine.usable / GIB
    mend = _what_would(work) or "nothing that this table knows"
    return (
        f"{label}: {what} of {_short(shape)} needs about {need:.0f} GiB on each of {least.gpus} "
        f"{machine.name}{'s' if least.gpus > 1 else ''}, which have {have:.0f} GiB to give; {mend} would hold it."
    )


def _what_would(work: Training | Drawing) -> str:
    """The smallest machines that hold a step."""
    found: list[str] = []
    for name in machines.names():
        for gpus in _LARGER:
            if _fitting(work, machines.machine(name, gpus)) is not None:
                found.append(f"{name}x{gpus}")
                break
    return " or ".join(found)
