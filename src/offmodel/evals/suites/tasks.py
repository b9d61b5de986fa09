"""The benchmarks as Inspect tasks: `inspect eval offmodel/math500 --model offmodel/FOLDER`.

Prompt, grader, token limit and version are those of `known`; a task's version and card stand in the log's header. This
module refuses to know models. Invariant: a task asks what a `SuiteItems` recipe of the same slice asks.
"""

from pathlib import Path

from inspect_ai import Task, task

from offmodel.data import Sources
from offmodel.evals.measures import Measure
from offmodel.evals.suites.catalogue import ORDER_SEED
from offmodel.evals.suites.items import card_of, choose
from offmodel.evals.suites.known import find_suite
from offmodel.evals.suites.sources import source_of
from offmodel.evals.tasks import measure_task


def suite_task(name: str, *, n: int | None, first: int, path: str | None, tokens: int | None) -> Task:
    """A benchmark as a task.

    Args:
        name: the suite.
        n: number of items; None for all.
        first: item to begin with, in the suite's fixed order.
        path: a JSONL file with the rows; None for the data folder or the hub.
        tokens: longest answer; None for the suite's own limit.
    """
    suite = find_suite(name)
    _, rows = source_of(suite.dataset, Sources(), path=Path(path).expanduser() if path else None)
    if suite.check:
        suite.check(rows)
    chosen = choose(list(enumerate(rows, start=1)), suite, order_seed=ORDER_SEED, first=first, n=n)
    items = [suite.convert(number, row, suite.prompt) for number, row in chosen]
    measure = Measure(name=name, grader=suite.grader, max_new_tokens=tokens or suite.max_new_tokens)
    made = measure_task(measure, items, style=suite.style)
    made.version = suite.version
    made.metadata = card_of(suite, prompt=suite.prompt)
    return made


@task
def gsm8k(n: int | None = None, first: int = 0, path: str | None = None, tokens: int | None = None) -> Task:
    """Grade-school word problems."""
    return suite_task("gsm8k", n=n, first=first, path=path, tokens=tokens)


@task
def math500(
    n: int | None = None,
    first: int = 0,
    path: str | None = None,
    tokens: int | None = None,
    integers: bool = False,
) -> Task:
    """500 problems of MATH, or those of them whose answer is a whole number."""
    name = "math500_integers" if integers else "math500"
    return suite_task(name, n=n, first=first, path=path, tokens=tokens)


@task
def olympiads(n: int | None = None, first: int = 0, path: str | None = None, tokens: int | None = None) -> Task:
    """Olympiad problems with one exact number as the answer."""
    return suite_task("olympiads", n=n, first=first, path=path, tokens=tokens)


@task
def mmlu(
    n: int | None = None, first: int = 0, path: str | None = None, tokens: int | None = None, tags: bool = False
) -> Task:
    """Four choices in 57 subjects; with `tags`, the letter stands between tags."""
    return suite_task("mmlu_tags" if tags else "mmlu", n=n, first=first, path=path, tokens=tokens)


@task
def ifeval(n: int | None = None, first: int = 0, path: str | None = None, tokens: int | None = None) -> Task:
    """Instructions that a program checks, by the official rules."""
    return suite_task("ifeval", n=n, first=first, path=path, tokens=tokens)
