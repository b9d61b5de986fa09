"""Watched Inspect tasks: a row a sample and epoch, and no guess which of several values is the score."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.errors import DataError
from offmodel.core.rows import read_rows
from offmodel.engines.sampling import Sampling
from offmodel.evals.inspected import InspectScores, find_task
from offmodel.models import LocalModel
from offmodel.pocket.world import model_folder
from offmodel.store.recipe import Payload, Runtime
from tests.evals.conftest import job_of, run_job

pytestmark = pytest.mark.filterwarnings(
    # Inspect's own runner, which is not ours to mend
    "ignore:The 'initial' parameter:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
)
TASK = """
from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, accuracy, mean, scorer
from inspect_ai.solver import generate

@scorer(metrics={{"kind": [mean()], "short": [mean()]}} if {several} else [accuracy()])
def marked():
    async def score(state, target):
        return Score(value={{"kind": 1, "short": 0}} if {several} else state.epoch == 2)
    return score

@task
def greetings():
    samples = [Sample(id=f"g{{i}}", input=f"say {{i}} ?", target="") for i in range(2)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=marked(), epochs=Epochs(3))
"""
GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")


def rows_of(folder: Path, *, several: bool) -> list[dict[str, object]]:
    file = folder / "greetings.py"
    file.write_text(TASK.format(several=several))
    task, path, _ = find_task(f"{file}@greetings", limit=None)
    recipe = InspectScores(
        model=LocalModel(label="student", content="0" * 64),
        treatment=None,
        step=None,
        task=task,
        measure="watched",
        max_new_tokens=4,
        style="none",
        sampling=GREEDY,
    )
    job = job_of(recipe, folder / "out", model=Payload(model_folder("student"), "student"), treatment=None)
    job = replace(job, runtime=Runtime(locations=((task.content, str(path)),)))
    try:
        out, _ = run_job(InspectScores, job)
    finally:
        gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
    return read_rows(out / "rows.jsonl")


def test_every_epoch_has_a_row_of_its_own(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, several=False)
    assert {r["item"]: r["score"] for r in rows} == {
        "g0": 0.0, "g1": 0.0, "g0-2": 1.0, "g1-2": 1.0, "g0-3": 0.0, "g1-3": 0.0,
    }  # fmt: skip
    assert len(rows) == 6


def test_of_several_values_none_is_taken_for_the_score(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are kind, short; say which of them is the value, or take a task whose scorer"):
        rows_of(tmp_path, several=True)
