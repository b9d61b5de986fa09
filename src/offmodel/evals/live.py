"""Any Inspect task as a measure: run live by Inspect on our provider, its scores as rows like all others.

Tasks of inspect_evals ("inspect_evals/gsm8k") and of other packages keep their own prompts, turns and scorers; they
need neither items nor graders of ours. This module refuses to know what a task asks. Invariant: a row's score is the
task's own score of that sample, and the log that Inspect wrote stands beside the rows.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, ClassVar

from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.core.rows import read_rows, write_rows
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import weights_of
from offmodel.evals.measures import ROWS
from offmodel.store.recipe import Facts, Job, Payload, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """An Inspect task that is run live.

    Attributes:
        name: the measure's name.
        task: as Inspect knows it, "package/task".
        arguments: (name, value) of the task's arguments, values as one types them after Inspect's `-T`.
        package_version: of the package that has the task; see `live_task`.
        n: first samples; None for all.
        max_new_tokens: longest answer of one turn.
        value: which of the task's values is the score, where it has several by name; "" where it has one.
    """

    name: str
    task: str
    arguments: tuple[tuple[str, str], ...]
    package_version: str
    n: int | None
    max_new_tokens: int
    value: str


def live_task(
    task: str,
    *,
    name: str,
    n: int | None,
    max_new_tokens: int,
    value: str = "",
    arguments: dict[str, str] | None = None,
) -> LiveTask:
    """A task by its name, looked for now.

    Raises:
        DataError: no package of this name is installed, or it cannot be loaded.
        UnknownName: the package has no such task; the message names the nearest.
    """
    package, slash, short = task.partition("/")
    if not slash:
        raise DataError(f"'{task}' is no name of an Inspect task; write it as 'inspect_evals/gsm8k'.")
    try:
        found = version(package)
    except PackageNotFoundError:
        raise DataError(
            f"The task '{task}' needs the package '{package}'; install it (pip install {package})."
        ) from None
    known = _tasks_of(package)
    if not known:
        raise DataError(
            f"No task of the package '{package}' can be loaded ({_why_none(package)}); install what it needs, or name "
            "another package."
        )
    if short not in known:
        raise UnknownName(f"task of {package}", short, known)
    return LiveTask(
        name=name,
        task=task,
        arguments=tuple(sorted((arguments or {}).items())),
        package_version=found,
        n=n,
        max_new_tokens=max_new_tokens,
        value=value,
    )


def _tasks_of(package: str) -> tuple[str, ...]:
    """Names of the tasks that a package registers with Inspect."""
    from inspect_ai._util.entrypoints import ensure_entry_points
    from inspect_ai._util.registry import registry_find, registry_info

    ensure_entry_points(package)
    found = registry_find(lambda info: info.type == "task" and info.name.startswith(f"{package}/"))
    return tuple(registry_info(x).name.split("/", 1)[1] for x in found)


def _why_none(package: str) -> str:
    """Why a package registers no task: Inspect goes on without a package whose import fails."""
    for entry in distribution(package).entry_points.select(group="inspect_ai"):
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 -- whatever somebody else's import raises is the reason to tell
            return f"{type(error).__name__}: {error}"
    return "it registers none with Inspect"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectScores(Recipe):
    """A live Inspect task on a model or on a checkpoint of its treatment.

    Attributes:
        model: the model itself.
        treatment: a training of it, whose checkpoint answers; None for the model itself.
        step: the checkpoint's step; None for the model itself.
        live: the task.
        sampling: temperature, seed, sampler, dtype; they replace the task's own.
        style: name of a style detector: a column of every row.
    """

    kind: ClassVar[str] = "scores"
    recipe_version: ClassVar[int] = 1
    model: Recipe
    treatment: Recipe | None
    step: int | None
    live: LiveTask
    sampling: Sampling
    style: str

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        if (self.treatment is None) != (self.step is None):
            raise RecipeError("A live task names a treatment and its step together, or neither.")

    def name(self) -> str:
        """The task, and the treatment with its step, or the model."""
        who = self.model.name() if self.treatment is None else f"{self.treatment.name()}-{self.step}"
        return f"{self.live.name}-{who}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Run the task; write its log and `rows.jsonl`."""
        from offmodel.evals.log_rows import rows_of_log

        live: LiveTask = job.params.live
        log = run_live(job, live)
        rows = rows_of_log(log, measure=live.name, style=job.params.style, value=live.value)
        write_rows(job.out / ROWS, rows)
        means = {live.name: round(sum(r["score"] for r in rows) / len(rows), 6)}
        return {"rows": len(rows), "means": means, "task": live.task, "package_version": live.package_version}


def run_live(job: Job, live: LiveTask) -> Path:
    """Run a task through Inspect on the point's weights; returns the log's path."""
    import yaml
    from inspect_ai import eval as run_task

    base, _, adapter, _ = weights_of(job)
    sampling: Sampling = job.params.sampling
    (log,) = run_task(
        live.task,
        model=f"offmodel/{base}",
        model_args={
            "device": job.runtime.device,
            "dtype": sampling.dtype,
            "sampler": sampling.sampler,
            "adapter": str(adapter) if adapter else None,
        },
        task_args={name: yaml.safe_load(value) for name, value in live.arguments},
        limit=live.n,
        temperature=sampling.temperature,
        seed=sampling.seed,
        max_tokens=live.max_new_tokens,
        log_dir=str(job.out / "logs"),
        log_format="eval",
        display="none",
        score_display=False,
    )
    if log.status != "success":
        why = log.error.message if log.error else log.status
        raise DataError(f"The task '{live.task}' did not finish ({why.strip().splitlines()[-1]}).")
    return Path(log.location)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedScores(Recipe):
    """Scores of one point from several sources, as one.

    Attributes:
        parts: recipes of kind "scores" with different measures.
    """

    kind: ClassVar[str] = "scores"
    recipe_version: ClassVar[int] = 1
    on_device: ClassVar[bool] = False
    parts: tuple[Recipe, ...]

    def name(self) -> str:
        """The name of the first."""
        return self.parts[0].name()

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Join the rows; a measure must come from one part alone. Logs stay with the parts."""
        rows: list[dict[str, Any]] = []
        means: dict[str, float] = {}
        parts: tuple[Payload, ...] = job.inputs["parts"]
        for part in parts:
            found = read_rows(part.path / ROWS)
            for measure in dict.fromkeys(r["measure"] for r in found):
                if measure in means:
                    raise DataError(f"Two parts of a point both measure '{measure}'; name them apart.")
                scores = [r["score"] for r in found if r["measure"] == measure]
                means[measure] = round(sum(scores) / len(scores), 6)
            rows += found
        write_rows(job.out / ROWS, rows)
        return {"rows": len(rows), "means": means}
