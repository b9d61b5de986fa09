"""Inspect tasks run live, and logs as rows: equal to what our own scorer says, refused when they are not whole."""

import gc
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from offmodel.core.errors import DataError, RecipeError, UnknownName
from offmodel.core.rows import read_rows, write_rows
from offmodel.engines.sampling import Sampling
from offmodel.evals.live import InspectScores, JoinedScores, live_task
from offmodel.evals.log_rows import rows_of_log
from offmodel.models import LocalModel
from offmodel.pocket.world import model_folder
from offmodel.store.recipe import Payload

pytestmark = pytest.mark.filterwarnings(
    # Inspect's own runner, which is not ours to mend
    "ignore:The 'initial' parameter:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
)
GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
MODEL = LocalModel(label="student", content="0" * 64)
STUDENT = Payload(model_folder("student"), "student")


def recipe(**changes) -> InspectScores:
    live = live_task("offmodel/pocket_math", name="sums", n=5, max_new_tokens=80, arguments={"n": "8"})
    base = InspectScores(model=MODEL, treatment=None, step=None, live=live, sampling=GREEDY, style="steps")
    return replace(base, **changes)


@pytest.fixture
def scored(run_recipe) -> Path:
    out, facts = run_recipe(recipe(), model=STUDENT, treatment=None)
    gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
    assert facts["rows"] == 5
    assert facts["task"] == "offmodel/pocket_math"
    return out


def test_a_live_tasks_scores_are_rows_like_all_others(scored, tmp_path):
    rows = read_rows(scored / "rows.jsonl")
    assert [r["measure"] for r in rows] == ["sums"] * 5
    assert set(rows[0]) == {
        "measure", "item", "score", "style", "coherent", "finish", "tokens", "difficulty", "answer", "text",
    }  # fmt: skip
    assert sum(r["score"] for r in rows) >= 2
    assert {r["difficulty"] for r in rows} <= {3, 4, 5}
    assert sum(r["style"] for r in rows) >= 4

    (log,) = (scored / "logs").glob("*.eval")
    assert rows_of_log(log, measure="sums", style="steps") == rows
    _refused(log, tmp_path)
    # In a fresh process too, where no import of Inspect has taught zipfile its compression.
    check = "import sys, pathlib; from offmodel.evals.log_rows import check_log; check_log(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", check, str(log)], check=True)


def _refused(log: Path, folder: Path) -> None:
    """The same log, changed in its header: another version, or a run that was cut off."""
    for change, text in (({"version": 3}, "is of version 3, and version 2"), ({"status": "cancelled"}, "'cancelled'")):
        other = folder / "other.eval"
        with zipfile.ZipFile(log) as old, zipfile.ZipFile(other, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, json.dumps(json.loads(data) | change) if name == "header.json" else data)
        with pytest.raises(DataError, match=text):
            rows_of_log(other, measure="m", style="none")
    (folder / "x.eval").write_text("no zip")
    (folder / "x.json").write_text("[]")
    for name in ("x.eval", "x.json", "nowhere.eval"):
        with pytest.raises(DataError, match="is no log of Inspect"):
            rows_of_log(folder / name, measure="m", style="none")


def test_a_log_without_samples_and_scores_by_name(tmp_path):
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    spec = EvalSpec(
        created="2000-01-01T00:00:00+00:00", task="t", dataset=EvalDataset(), model="m", config=EvalConfig()
    )
    log = EvalLog(status="success", eval=spec, samples=[])
    path = tmp_path / "log.json"
    write_eval_log(log, str(path))
    with pytest.raises(DataError, match="holds no samples"):
        rows_of_log(path, measure="m", style="none")
    several = Score(value={"strict": True, "loose": 0.5})
    sample = EvalSample(
        id=1, epoch=2, input="q", target="", output=ModelOutput.from_content("m", "yes"), scores={"s": several}
    )
    write_eval_log(EvalLog(status="success", eval=spec, samples=[sample]), str(path))
    with pytest.raises(DataError, match="are strict, loose; say which"):
        rows_of_log(path, measure="m", style="none")
    (row,) = rows_of_log(path, measure="m", style="none", value="loose")
    assert (row["score"], row["item"]) == (0.5, "1-2")


def test_joined_scores_hold_each_measure_once(run_recipe, tmp_path):
    parts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "rows.jsonl", [{"measure": name, "item": "1", "score": 1.0}])
        parts.append(Payload(tmp_path / name, name))
    joined = JoinedScores(parts=(recipe(), recipe(style="none")))
    out, facts = run_recipe(joined, parts=tuple(parts))
    assert [r["measure"] for r in read_rows(out / "rows.jsonl")] == ["a", "b"]
    assert facts["means"] == {"a": 1.0, "b": 1.0}
    with pytest.raises(DataError, match="both measure 'a'"):
        run_recipe(joined, parts=(parts[0], parts[0]))


def test_tasks_are_looked_for_before_any_model():
    with pytest.raises(UnknownName, match="did you mean 'pocket_math'"):
        live_task("offmodel/poket_math", name="x", n=1, max_new_tokens=1)
    with pytest.raises(DataError, match="needs the package 'no_such_evals'"):
        live_task("no_such_evals/gsm8k", name="x", n=1, max_new_tokens=1)
    with pytest.raises(DataError, match="is no name of an Inspect task"):
        live_task("gsm8k", name="x", n=1, max_new_tokens=1)
    with pytest.raises(RecipeError, match="together"):
        recipe(step=4)


def test_a_package_whose_import_fails_is_told_with_the_reason(tmp_path, monkeypatch):
    about = tmp_path / "broken_evals-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken_evals\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[inspect_ai]\nbroken_evals = broken_evals\n")
    (tmp_path / "broken_evals.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"can be loaded \(ModuleNotFoundError: No module named 'no_such_module'\)"):
        live_task("broken_evals/sums", name="x", n=1, max_new_tokens=1)


@pytest.mark.skipif("OFFMODEL_SLOW" not in os.environ, reason="importing all of inspect_evals takes half a minute")
def test_a_task_of_inspect_evals_runs_on_our_provider(run_recipe, monkeypatch):
    """Its own prompt and scorer, on rows of the hub's format in place of the hub."""
    gsm8k = pytest.importorskip("inspect_evals.gsm8k.gsm8k")
    from inspect_ai.dataset import json_dataset

    rows = Path(__file__).parents[1] / "fixtures" / "suites" / "gsm8k.jsonl"
    monkeypatch.setattr(gsm8k, "hf_dataset", lambda **k: json_dataset(str(rows), k["sample_fields"]))
    live = live_task("inspect_evals/gsm8k", name="gsm8k", n=3, max_new_tokens=20, arguments={"fewshot": "0"})
    out, facts = run_recipe(recipe(live=live), model=STUDENT, treatment=None)
    gc.collect()
    found = read_rows(out / "rows.jsonl")
    assert len(found) == 3
    assert facts["package_version"] == live.package_version
    assert all(r["item"].startswith("gsm8k_") and r["tokens"] > 0 for r in found)
