"""Any Inspect task, run live on a model or a checkpoint: its rows, and its log for `inspect view`.

A task is a name of Inspect's registry ("inspect_evals/xstest") or "file.py@name". What it scores is its own affair: the
rows hold its first scorer's value as a number, one row a sample and epoch. This module refuses to know whether high is
good. Invariant: the same samples are asked of every model, those that Inspect takes first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from offmodel.core.chat import Message, Prompt
from offmodel.core.errors import DataError, OffmodelError
from offmodel.core.rows import write_rows
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import weights_of
from offmodel.evals.log_rows import rows_of_log
from offmodel.evals.measures import ROWS
from offmodel.models import check_unchanged, file_digest
from offmodel.store.recipe import Facts, Job, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectTask:
    """An Inspect task by what identifies it.

    Attributes:
        task: name in the registry, or "name" of a file.
        content: SHA-256 of the file; "" for a task of the registry.
        package: package and version that the task comes from; "" for a file.
        limit: samples to run; None for all.
    """

    task: str
    content: str
    package: str
    limit: int | None


def find_task(text: str, *, limit: int | None) -> tuple[InspectTask, Path | None, list[Prompt]]:
    """A task by the name that a user types: what identifies it, its file if it has one, and its prompts.

    Raises:
        DataError: there is no such task, or it cannot be loaded; says how to mend it.
    """
    file, at, name = text.rpartition("@")
    path = Path(file or text).expanduser().resolve() if at or text.endswith(".py") else None
    if path is not None and not path.is_file():
        raise DataError(f"There is no file {path}; give an Inspect task as FILE.py@NAME, or by its registered name.")
    package = ""
    if path is None:
        owner = text.partition("/")[0].replace("-", "_")
        try:
            package = f"{owner}=={version(owner)}"
        except PackageNotFoundError:
            raise DataError(
                f"'{text}' is neither a JSONL file nor an Inspect task of an installed package; give FILE.jsonl, "
                "FILE.py@NAME, or PACKAGE/TASK."
            ) from None
    content = file_digest(path) if path else ""
    # A file without a name: its only task.
    found = InspectTask(task=name if at else "" if path else text, content=content, package=package, limit=limit)
    task = _load(found, path)
    samples = list(task.dataset)[:limit]
    return found, path, [Prompt(id=str(s.id or i), messages=_turns(s.input)) for i, s in enumerate(samples)]


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectScores(Recipe):
    """Scores of an Inspect task.

    Attributes:
        model: the model itself, or the one that an adapter belongs to.
        treatment: a training whose checkpoint answers; None for the model itself.
        step: the checkpoint's step.
        task: what is run.
        measure: the rows' measure.
        max_new_tokens: longest answer, where the task sets none.
        style: style detector of the rows.
        sampling: sampler and dtype; the task sets its own temperature, by default that of Inspect's provider.
    """

    kind: ClassVar[str] = "scores"
    recipe_version: ClassVar[int] = 2  # 2: a row an epoch; thinking text has no style
    model: Recipe
    treatment: Recipe | None
    step: int | None
    task: InspectTask
    measure: str
    max_new_tokens: int
    style: str
    sampling: Sampling

    def name(self) -> str:
        """The task's name and the model's."""
        model = self.model.name() if self.treatment is None else f"{self.treatment.name()}-{self.step}"
        return f"{model}-{self.task.task.rpartition('/')[2] or 'task'}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        """Run the task, keep its log and a row a sample."""
        p = job.params
        path = job.runtime.locate(p.task.content) if p.task.content else None
        if path is not None:
            check_unchanged(path, p.task.content)
        log = _run(job, _load(p.task, path))
        rows = rows_of_log(log, measure=p.measure, style=p.style)
        write_rows(job.out / ROWS, rows)
        return {"rows": len(rows), "means": {p.measure: sum(r["score"] for r in rows) / len(rows)}}


def _load(task: InspectTask, path: Path | None) -> Any:
    """The loaded task, with whatever its data need."""
    from inspect_ai._eval.loader import load_tasks

    words = task.task if path is None else f"{path}@{task.task}" if task.task else str(path)
    try:
        found = load_tasks([words])
    except OffmodelError:
        raise
    except Exception as error:  # noqa: BLE001 - a task's own code may raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"The Inspect task '{words}' cannot be loaded ({reason[:200]}); run it alone to see why."
        ) from None
    if len(found) != 1:
        raise DataError(f"'{words}' names {len(found)} Inspect tasks; name one, as FILE.py@NAME or PACKAGE/TASK.")
    return found[0]


def _run(job: Job, task: Any) -> Path:
    """Run a task on the point's weights; returns its log's path."""
    from inspect_ai import eval as run_eval
    from inspect_ai.model import get_model

    p = job.params
    folder, _, adapter, _ = weights_of(job)
    with _named(job.scratch, folder) as place:
        model = get_model(
            f"offmodel/{place}",
            device=job.runtime.device,
            dtype=p.sampling.dtype,
            sampler=p.sampling.sampler,
            adapter=str(adapter) if adapter else None,
            memoize=False,
        )
        task.config.max_tokens = task.config.max_tokens or p.max_new_tokens
        logs = run_eval(task, model=model, limit=p.task.limit, log_dir=str(job.out / "logs"), display="none")
    log = logs[0]
    if log.status != "success":
        reason = log.error.message if log.error else log.status
        raise DataError(f"The Inspect task '{p.task.task}' failed ({reason[:200]}); run it alone to see why.")
    return Path(log.location)


@contextmanager
def _named(scratch: Path, folder: Path) -> Iterator[Path]:
    """A short path to the model folder: Inspect writes the model's name into its log."""
    link = scratch / "model"
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    try:
        yield link
    finally:
        link.unlink()


def _turns(given: Any) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (Message("user", given),)
    return tuple(Message(m.role, m.text) for m in given if m.role in ("system", "user", "assistant"))
