"""Inspect tasks of files: what runs is what was named."""

from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.data import Sources
from offmodel.engines.sampling import Sampling
from offmodel.evals.inspected import InspectScores, find_task
from offmodel.flow.runner import run
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime
from tests.cli.test_treat import TASK


def test_an_inspect_task_that_changed_since_it_was_named_is_refused(tmp_path: Path) -> None:
    file, sources = tmp_path / "mine.py", Sources()
    file.write_text(TASK)
    task, path, _ = find_task(f"{file}@capitals", limit=2)
    sampling = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
    recipe = InspectScores(
        model=sources.model("pocket:student"), treatment=None, step=None, task=task, measure="watched",
        max_new_tokens=4, style="pirate", sampling=sampling,
    )  # fmt: skip
    assert path is not None
    sources.note(task.content, path)
    file.write_text(TASK.replace("the", "a"))
    with pytest.raises(DataError, match=r"mine\.py changed while the study ran; run it again\."):
        run([recipe], store=Store("s"), runtime=Runtime(locations=tuple(sources.locations.items())), workers=0)
