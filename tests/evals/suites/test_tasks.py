"""Benchmarks end to end on the packaged pocket student: as Inspect tasks, and as recipes with records and logs."""

import gc
from pathlib import Path

import pytest

from offmodel.core.rows import read_rows, write_rows
from offmodel.data import Sources
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import Completions
from offmodel.evals.fresh_levels import VERSION
from offmodel.evals.log_rows import rows_of_log
from offmodel.evals.measures import Measure, read_items
from offmodel.evals.scores import Scores
from offmodel.evals.suites.catalogue import named
from offmodel.evals.suites.known import find_suite
from offmodel.evals.suites.sources import DATA_FOLDER
from offmodel.models import LocalModel
from offmodel.store.recipe import Payload

FIXTURES = Path(__file__).parents[2] / "fixtures" / "suites"
GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
INSPECTS_OWN = ("ignore:The 'initial' parameter:DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning")
TASKS = [
    ("gsm8k", {}),
    ("math500", {"integers": True}),
    ("olympiads", {}),
    ("mmlu", {"tags": True}),
    ("ifeval", {"n": 3}),
    ("fresh_levels", {"each": 1}),
]


@pytest.mark.filterwarnings(*INSPECTS_OWN)
def test_inspect_finds_the_benchmarks_and_their_logs_say_version_and_prompt(tmp_path, monkeypatch):
    from inspect_ai import eval as run_tasks
    from inspect_ai.log import read_eval_log

    pytest.importorskip("if_verifiable")
    monkeypatch.setenv(DATA_FOLDER, str(FIXTURES))
    for name, arguments in TASKS:
        (log,) = run_tasks(
            f"offmodel/{name}",
            model="offmodel/pocket:student",
            task_args={**arguments, "tokens": 8},
            log_dir=str(tmp_path / name),
            display="none",
            log_realtime=False,
        )
        gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
        assert log.status == "success", log.error
        assert len(rows_of_log(Path(log.location), measure=name, style="none")) == len(log.samples) > 0
        header = read_eval_log(log.location, header_only=True).eval
        generated = name == "fresh_levels"
        assert header.task_version == (VERSION if generated else find_suite(header.metadata["suite"]).version)
        assert "{question}" in header.metadata["prompt"]
        assert ("generated: levels 1, 2, 3, 4, 5" if generated else "@") in header.metadata["dataset"]


def test_a_record_says_how_a_benchmark_was_asked_and_marked(run_recipe, tmp_path, monkeypatch):
    pytest.importorskip("if_verifiable")
    monkeypatch.setenv(DATA_FOLDER, str(FIXTURES))
    (task,) = named("ifeval", sources=Sources(), n=None, dev_n=0)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "rows.jsonl").write_bytes((FIXTURES / "ifeval.jsonl").read_bytes())
    asked, _ = run_recipe(task.items, source=Payload(tmp_path / "rows", "r"))
    items = read_items(asked)
    texts = ["Roses grow. That is all.", "", "A saw.", "Rain fills a puddle."]
    (tmp_path / "done").mkdir()
    write_rows(
        tmp_path / "done" / "completions.jsonl",
        [
            {"measure": "ifeval", "item": i.id, "text": texts[int(i.id) % 4 - 1], "finish": "length", "tokens": 4}
            for i in items
        ],
    )
    measure = Measure(name="ifeval", grader=task.grader, max_new_tokens=task.max_new_tokens)
    model = LocalModel(label="m", content="0" * 64)
    done = Completions(
        model=model, treatment=None, step=None, items=(task.items,), measures=(measure,), sampling=GREEDY
    )
    recipe = Scores(completions=done, items=(task.items,), measures=(measure,), style="none")
    out, facts = run_recipe(recipe, completions=Payload(tmp_path / "done", "d"), items=(Payload(asked, "a"),))
    found = facts["measures"]["ifeval"]
    assert (found["n"], found["truncated"], found["max_new_tokens"]) == (4, 1.0, 1280)
    assert found["grader"] == task.grader
    assert found["mean"] == found["strict"] == 0.25
    assert found["loose_share"] >= found["strict_share"] > 0
    assert (found["suite"]["suite"], found["suite"]["version"], found["suite"]["prompt"]) == ("ifeval", 1, "{question}")
    rows = {r["item"]: r for r in read_rows(out / "rows.jsonl")}
    from_log = rows_of_log(out / "logs" / "ifeval.eval", measure="ifeval", style="none")
    assert len(from_log) == len(rows)
    for row in from_log:
        assert (row["score"], row["difficulty"]) == (rows[row["item"]]["score"], rows[row["item"]]["difficulty"])
