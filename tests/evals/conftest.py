"""Small jobs for recipes of evaluations, without a store."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offmodel.core.chat import Prompt, user
from offmodel.core.rows import write_rows
from offmodel.store.recipe import Job, Payload, Recipe, Runtime, holds_parents

RunRecipe = Callable[..., tuple[Path, dict[str, Any]]]


def payload(folder: Path) -> Payload:
    return Payload(folder, f"content of {folder}")


@pytest.fixture
def run_recipe(tmp_path: Path) -> RunRecipe:
    """Executes a recipe on parents given as folders; returns its payload folder and facts."""
    count = iter(range(1000))

    def execute(recipe: Recipe, **inputs: Any) -> tuple[Path, dict[str, Any]]:
        return run_job(type(recipe), job_of(recipe, tmp_path / f"out-{next(count)}", **inputs))

    return execute


def job_of(recipe: Recipe, out: Path, **inputs: Any) -> Job:
    out.mkdir(parents=True)
    holders = holds_parents(recipe)
    return Job(
        params=SimpleNamespace(**{f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name not in holders}),
        inputs=inputs,
        out=out,
        scratch=out.parent,
        runtime=Runtime(),
        progress=lambda fraction, text="": None,
    )


def run_job(kind: type[Recipe], job: Job) -> tuple[Path, dict[str, Any]]:
    return job.out, kind.execute(job)


@pytest.fixture
def prompts(tmp_path: Path) -> Payload:
    """A pool of four chat prompts."""
    folder = tmp_path / "prompts"
    folder.mkdir()
    texts = ["what is a dog ?", "name three colours .", "what should i cook for dinner ?", "tell me about the lion ."]
    rows = [Prompt(id=f"p{i}", messages=user(t), topic="t").to_row() for i, t in enumerate(texts)]
    write_rows(folder / "prompts.jsonl", rows)
    return payload(folder)
