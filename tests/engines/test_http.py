"""Labels by a remote endpoint that fails, is slow, says nothing, or dies in the middle; and what a resumed run pays."""

from pathlib import Path
from typing import Any

import pytest

from offmodel.core.chat import Label, user
from offmodel.core.errors import ModelError, RecipeError, RunError
from offmodel.core.rows import read_rows, write_rows
from offmodel.data import JsonlPrompts, Sources
from offmodel.engines.examples import render_labels
from offmodel.engines.labels import Labels, author_sampling
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Sampling
from offmodel.engines.sampling.http import Ask, Endpoint, check_reachable, converse
from offmodel.engines.sampling.journal import ANSWERS
from offmodel.flow.runner import run
from offmodel.models import EndpointModel, resolve_model
from offmodel.pocket.world import model_folder
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Runtime
from tests.engines.endpoint_server import Server, failed, said, serving

LOCAL = Sampling(temperature=0.7, seed=3, sampler="transformers-5", dtype="float32")
QUICK = Runtime(requests=4, request_seconds=5.0, request_tries=3)


@pytest.fixture(autouse=True)
def _quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    monkeypatch.delenv(ANSWERS, raising=False)


def prompts(path: Path, n: int) -> tuple[JsonlPrompts, tuple[tuple[str, str], ...]]:
    write_rows(path, ({"id": f"p{i}", "prompt": f"question {i}"} for i in range(n)))
    sources = Sources()
    return sources.prompts(path), tuple(sources.locations.items())


def labels(source: JsonlPrompts, url: str, *, system: str | None = None, tokens: int = 20) -> Labels:
    model = EndpointModel(url=url, model="tiny")
    return Labels(
        author="teacher",
        trusted=True,
        model=model,
        prompts=source,
        system=system,
        few_shot=(),
        max_new_tokens=tokens,
        sampling=author_sampling(model, LOCAL),
    )


def compute(tmp_path: Path, server: Server, n: int = 6, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    source, locations = prompts(tmp_path / "prompts.jsonl", n)
    store = Store(tmp_path / "store")
    runtime = Runtime(**{"requests": 4, "request_seconds": 5.0, "request_tries": 3, "locations": locations, **more})
    [artifact] = run([labels(source, server.url)], store=store, runtime=runtime, workers=0).artifacts
    return read_rows(artifact.payload / "labels.jsonl"), artifact.record["facts"]


def echo(body: dict[str, Any]) -> Any:
    return said(f"answer to {body['messages'][-1]['content']}")


def ask(tmp_path: Path, server: Server, words: list[str], runtime: Runtime = QUICK) -> Any:
    return converse(
        Endpoint(url=server.url, model="tiny"),
        [user(w) for w in words],
        Ask(temperature=0.0, seed=1, max_tokens=5),
        scratch=tmp_path,
        runtime=runtime,
        progress=lambda fraction, text="": None,
    )


def test_labels_of_an_endpoint_keep_order_tokens_and_who_answered(tmp_path: Path) -> None:
    with serving(echo) as server:
        rows, facts = compute(tmp_path, server)
    assert [r["text"] for r in rows] == [f"answer to question {i}" for i in range(6)]
    assert all(r["author"] == "teacher" and r["trusted"] and r["tokens"] == 4 for r in rows)
    assert (facts["labels"], facts["asked"], facts["completion_tokens"], facts["prompt_tokens"]) == (6, 6, 24, 42)
    assert (facts["served_by"], facts["fingerprints"]) == (["tiny-2026"], ["fp_1"])
    body = server.seen[0]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("tiny", 0.7, 3, 20)
    assert server.most <= 4


def test_the_limit_on_requests_at_once_holds_and_is_used(tmp_path: Path) -> None:
    with serving(echo, delay=0.05) as server:
        ask(tmp_path, server, [f"w{i}" for i in range(12)], Runtime(requests=3))
    assert server.most == 3


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    with serving(echo) as server:
        found = ask(tmp_path, server, ["a", "b", "a"])
    assert [a.text for a in found.answers] == ["answer to a", "answer to b", "answer to a"]
    assert len(server.seen) == 2


def test_passing_failures_are_tried_again(tmp_path: Path) -> None:
    failures = iter([failed(500, "oops"), failed(429, "too fast"), failed(503, "busy")])

    def reply(body: dict[str, Any]) -> Any:
        return next(failures, None) or echo(body)

    with serving(reply) as server:
        found = ask(tmp_path, server, ["a", "b"], Runtime(requests=1, request_tries=5))
    assert found.facts["retries"] == 3
    assert len(found.answers) == 2


def test_what_came_is_kept_when_the_endpoint_goes_down_and_nothing_is_paid_for_twice(tmp_path: Path) -> None:
    down = True

    def reply(body: dict[str, Any]) -> Any:
        return failed(503, "overloaded") if down and body["messages"][-1]["content"] >= "question 3" else echo(body)

    with serving(reply) as server:
        with pytest.raises(
            RunError, match=r"failed on 3 requests after 3 tries each .*overloaded.* 3 answers that came"
        ):
            compute(tmp_path, server)
        down = False
        server.seen.clear()
        _, facts = compute(tmp_path, server)
        assert sorted(server.asked()) == ["question 3", "question 4", "question 5"]
        assert (facts["asked"], facts["from_earlier_runs"]) == (3, 3)


def test_a_dead_endpoint_is_not_asked_for_every_prompt(tmp_path: Path) -> None:
    with serving(lambda body: failed(500, "dead")) as server:
        with pytest.raises(RunError, match="failed on"):
            ask(tmp_path, server, [f"w{i:02}" for i in range(40)], Runtime(requests=2, request_tries=1))
        assert len(server.seen) < 12


def test_a_slow_endpoint_times_out_in_one_sentence(tmp_path: Path) -> None:
    runtime = Runtime(requests=2, request_seconds=0.1, request_tries=2)
    with serving(echo, delay=0.5) as server, pytest.raises(RunError, match="timed out"):
        ask(tmp_path, server, ["a"], runtime)


def test_empty_and_truncated_answers_are_kept_visible_then_dropped_and_counted(tmp_path: Path) -> None:
    replies = {
        "question 0": said(""),
        "question 1": said("cut off in the", finish="length"),
        "question 2": said("secret", finish="content_filter"),
        "question 3": said(None),
    }
    with serving(lambda body: replies.get(body["messages"][-1]["content"]) or echo(body)) as server:
        rows, facts = compute(tmp_path, server, n=10)
    assert [(r["text"], r["finish"]) for r in rows[:4]] == [
        ("", "stop"),
        ("cut off in the", "length"),
        ("", "stop"),
        ("", "stop"),
    ]
    assert (facts["empty"], facts["truncated"]) == (3, 1)
    kept = render_labels(
        Renderer.from_folder(model_folder("student")), [Label.from_row(r) for r in rows], max_tokens=200
    )
    assert kept.kept == (4, 5, 6, 7, 8, 9)
    assert kept.to_facts() == {"labels": 6, "dropped_truncated": 1, "dropped_empty": 3, "dropped_overlong": 0}


def test_an_endpoint_that_says_nothing_is_refused_and_asked_again_later(tmp_path: Path) -> None:
    mute = True

    def reply(body: dict[str, Any]) -> Any:
        return said("") if mute and body["messages"][-1]["content"] != "question 0" else echo(body)

    with serving(reply) as server:
        with pytest.raises(ModelError, match="answered emptily to 5 of 6 prompts"):
            compute(tmp_path, server)
        mute = False
        server.seen.clear()
        rows, _ = compute(tmp_path, server)
        assert all(r["text"] for r in rows)
        assert "question 0" not in server.asked()


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (failed(401, "Incorrect API key provided: sk-123"), "refuses the key; set OFFMODEL_API_KEY"),
        (failed(404, "The model 'tiny' does not exist"), "knows no model 'tiny'"),
        (failed(400, "prompt too long"), "refuses a request .*prompt too long"),
        ((200, {"hello": "world"}), "does not answer as an OpenAI-compatible endpoint does"),
    ],
)
def test_a_refusal_gets_one_sentence_at_once(tmp_path: Path, reply: Any, sentence: str) -> None:
    with serving(lambda body: reply) as server:
        with pytest.raises(ModelError, match=sentence) as told:
            ask(tmp_path, server, [f"w{i}" for i in range(30)])
        assert len(server.seen) <= 8
        assert "sk-123" not in str(told.value)


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with serving(echo) as server:
        check_reachable(Endpoint(url=server.url, model="tiny"))
    with pytest.raises(ModelError, match="Nobody answers at"):
        check_reachable(Endpoint(url=server.url, model="tiny"))
    with pytest.raises(RunError, match="Connection error"):
        ask(tmp_path, server, ["a"])


def test_endpoints_that_take_the_limit_under_its_newer_name_only(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Any:
        if "max_tokens" in body:
            return failed(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
        return echo(body)

    with serving(reply) as server:
        found = ask(tmp_path, server, ["a", "b", "c"], Runtime(requests=1))
    assert [a.text for a in found.answers] == ["answer to a", "answer to b", "answer to c"]
    assert len(server.seen) == 4


def test_the_key_comes_from_the_environment_and_stands_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFMODEL_API_KEY", "sk-very-secret")
    with serving(echo) as server:
        compute(tmp_path, server)
    assert set(server.keys) == {"Bearer sk-very-secret"}
    assert not any(b"sk-very-secret" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_answers_are_shared_by_recipes_that_ask_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ANSWERS, str(tmp_path / "answers"))
    with serving(echo) as server:
        store = Store(tmp_path / "store")
        for n in (4, 6):
            source, locations = prompts(tmp_path / f"{n}.jsonl", n)
            run([labels(source, server.url)], store=store, runtime=Runtime(locations=locations), workers=0)
        assert len(server.seen) == 6
        # Another system prompt, limit or seed is another question.
        run(
            [labels(source, server.url, system="be brief")],
            store=store,
            runtime=Runtime(locations=locations),
            workers=0,
        )
        assert len(server.seen) == 12


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("http://host:8000/v1", "names no model; write the endpoint as"),
        ("https://user:key@host/v1#m", "holds a key or a query"),
        ("https://host/v1?api-key=1#m", "holds a key or a query"),
        ("https://#m", "names no model"),
    ],
)
def test_a_wrong_address_gets_one_sentence(source: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        resolve_model(source)


def test_an_endpoints_name_and_model_are_its_identity() -> None:
    recipe, path = resolve_model("http://localhost:8000/v1/chat/completions#org/model-1")
    assert recipe == EndpointModel(url="http://localhost:8000/v1", model="org/model-1")
    assert path is None
    assert recipe.name() == "org-model-1"
    assert recipe.digest != EndpointModel(url="http://localhost:8000/v1", model="org/model-2").digest
    source = JsonlPrompts(label="p", content="0" * 64)
    with pytest.raises(RecipeError, match="does not fit their model"):
        Labels(
            author="teacher",
            trusted=True,
            model=recipe,
            prompts=source,
            system=None,
            few_shot=(),
            max_new_tokens=5,
            sampling=LOCAL,
        )
