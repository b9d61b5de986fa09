"""Recipes that compute next to nothing, importable by worker processes; what they did is counted outside of the store.

The environment variable TOY_LOG names a file to which each execution adds a line, so that tests can tell a result that
was computed from one that was found. TOY_SLEEP is how long an execution takes; the one whose line is TOY_HANG never
ends. TOY_MEET names a folder in which the first executions of two processes wait for each other.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from offmodel.core.errors import GateError, NonFiniteLoss, OffmodelError
from offmodel.flow.execution import Outcome, execute
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Facts, Job, Recipe, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rate: float
    steps: int


def compute_alone(store: Store, *recipes: Recipe) -> list[Outcome]:
    """Compute recipes one after the other in this process, without a runner."""
    return [o for r in recipes for o in execute(store, [r], Runtime(), lambda _: lambda fraction, text="": None)]


def log(text: str) -> None:
    if "TOY_LOG" in os.environ:
        with Path(os.environ["TOY_LOG"]).open("a") as file:
            file.write(text + "\n")
    if "TOY_MEET" in os.environ:
        meet(Path(os.environ["TOY_MEET"]))
    while os.environ.get("TOY_HANG") == text:
        time.sleep(1)
    time.sleep(float(os.environ.get("TOY_SLEEP", "0")))


def meet(folder: Path) -> None:
    """Wait until two processes have come here, for a minute at most."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Recipe):
    """Writes a number that depends on all fields."""

    kind: ClassVar[str] = "number"
    recipe_version: ClassVar[int] = 1
    seed: int
    lr: float = 0.5

    def name(self) -> str:
        return f"n{self.seed}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        log(f"number {job.params.seed} {job.params.lr}")
        (job.out / "value.json").write_text(json.dumps(job.params.seed + job.params.lr))
        return {"value": job.params.seed + job.params.lr}


@dataclass(frozen=True, slots=True, kw_only=True)
class Total(Recipe):
    """Adds its parents' numbers."""

    kind: ClassVar[str] = "total"
    recipe_version: ClassVar[int] = 1
    parts: tuple[Recipe, ...]
    extra: Recipe | None = None
    label: str = "t"

    def name(self) -> str:
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        log(f"total {job.params.label}")
        found = [*job.inputs["parts"], *([job.inputs["extra"]] if job.inputs["extra"] else [])]
        job.progress(0.5, "adding")
        total = sum(json.loads((p.path / "value.json").read_text()) for p in found)
        (job.out / "value.json").write_text(json.dumps(total))
        return {"value": total}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights(Recipe):
    """Something like a model: weights, a tokenizer and rows."""

    kind: ClassVar[str] = "weights"
    recipe_version: ClassVar[int] = 1
    label: str
    size: int = 1000

    def name(self) -> str:
        return self.label

    @classmethod
    def execute(cls, job: Job) -> Facts:
        log(f"weights {job.params.label}")
        folder = job.out / "step-00010"
        folder.mkdir()
        block = bytes(range(256)) * 64 + job.params.label.encode()
        (folder / "model.safetensors").write_bytes((block * (job.params.size // len(block) + 1))[: job.params.size])
        (job.out / "tokenizer.json").write_text("{}")
        (job.out / "value.json").write_text("7")
        (job.out / "losses.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
        return {"tokens": 12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort(Recipe):
    """A recipe that is computed in groups."""

    kind: ClassVar[str] = "cohort"
    recipe_version: ClassVar[int] = 1
    seed: int
    base: Recipe
    breaks_groups: bool = False

    def name(self) -> str:
        return f"c{self.seed}"

    def batch_key(self) -> str:
        return self.base.digest

    @classmethod
    def execute(cls, job: Job) -> Facts:
        log(f"alone {job.params.seed}")
        (job.out / "value.json").write_text(str(job.params.seed))
        return {}

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts]]:
        log(f"group {len(jobs)}")
        for i, job in reversed(list(enumerate(jobs))):
            if job.params.breaks_groups:
                raise ValueError("this group is too large")
            (job.out / "value.json").write_text(str(job.params.seed))
            yield i, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Company(Recipe):
    """A group in which the members of odd seed are refused and the others go on."""

    kind: ClassVar[str] = "company"
    recipe_version: ClassVar[int] = 1
    groups_on: ClassVar[tuple[str, ...]] = ("cpu",)
    seed: int

    def name(self) -> str:
        return f"m{self.seed}"

    def batch_key(self) -> str:
        return "all"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        raise AssertionError("never alone")

    @classmethod
    def execute_many(cls, jobs: list[Job]) -> Iterator[tuple[int, Facts | OffmodelError]]:
        for i, job in enumerate(jobs):
            if job.params.seed % 2:
                yield i, NonFiniteLoss(f"member {job.params.seed} diverged")
            else:
                (job.out / "value.json").write_text(str(job.params.seed))
                yield i, {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing(Recipe):
    """Fails in the way that `how` says; "die-once" leaves a mark in its scratch and dies."""

    kind: ClassVar[str] = "failing"
    recipe_version: ClassVar[int] = 1
    how: str
    base: Recipe | None = None

    def name(self) -> str:
        return self.how

    @classmethod
    def execute(cls, job: Job) -> Facts:
        log(f"failing {job.params.how}")
        mark = job.scratch / "mark"
        match job.params.how:
            case "user":
                raise GateError("The organism is not fit; train it longer.")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "full":
                (job.out / "big").write_text("half")
                raise OSError(28, "No space left on device")
            case "library-full":
                raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
            case "die-once" if mark.exists():
                (job.out / "value.json").write_text("1")
                return {"resumed": True}
            case "tamper":
                path = job.inputs["base"].path / "value.json"
                path.chmod(0o644)
                path.write_text("666666")
                return {}
            case "exit":
                print("I leave", flush=True)
                for descriptor in range(3, 64):  # the pipe is at its end before the process is
                    with contextlib.suppress(OSError):
                        os.close(descriptor)
                time.sleep(0.3)
                os._exit(3)
        mark.write_text("begun")
        print("these are my last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spy(Recipe):
    """Writes down all that it can reach: names, paths up to its work folder, and every file's text."""

    kind: ClassVar[str] = "spy"
    recipe_version: ClassVar[int] = 1
    base: Recipe
    others: tuple[Recipe, ...]

    def name(self) -> str:
        return "spy"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        root = job.out
        while root.parent.name != "tmp":
            root = root.parent
        files = [p for p in root.rglob("*") if p.is_file()]
        seen = [repr(job), str(root), *(str(p.relative_to(root)) for p in root.rglob("*"))]
        seen += [p.read_text(errors="replace") for p in files]
        (job.out / "seen.json").write_text(json.dumps(seen))
        return {"files": len(files)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Recipe):
    """Writes down what a worker is like."""

    kind: ClassVar[str] = "environment"
    recipe_version: ClassVar[int] = 1
    seed: int

    def name(self) -> str:
        return f"e{self.seed}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        import sys

        heavy = [m for m in ("torch", "transformers", "numpy", "rich", "inspect_ai") if m in sys.modules]
        return {
            "threads": os.environ["OMP_NUM_THREADS"],
            "heavy": heavy,
            "pid": os.getpid(),
            "device": job.runtime.device,
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading(Recipe):
    """Writes down what the worker of a recipe is like that needs no device."""

    kind: ClassVar[str] = "grading"
    recipe_version: ClassVar[int] = 1
    on_device: ClassVar[bool] = False
    part: Recipe

    def name(self) -> str:
        return "g"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        return {"pid": os.getpid(), "device": job.runtime.device}
