"""Checkpoints of one base go to vLLM together, and what befalls one of them befalls no other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.errors import ModelError
from offmodel.engines.sampling import Part, Request, sample_many, submissions, vllm
from offmodel.store.recipe import Runtime
from tests.engines.vllm_stand_in import GREEDY, PROMPTS, Adapters, Engine, answers_of, ask, ask_many, tokens


def test_adapters_of_one_base_are_one_submission_and_say_what_each_says_alone(
    stand_in: type[Engine], models: list[Path], adapters: Adapters
) -> None:
    folders = [adapters("a"), None, adapters("b", rank=40)]
    alone = [tokens(ask(models[0], folder)) for folder in folders]
    vllm.forget()
    stand_in.submissions.clear()
    found, together = ask_many(models[0], folders)
    assert [tokens(found[i]) for i in range(3)] == alone == [answers_of(models[0], f) for f in folders]
    assert (together, stand_in.submissions) == ([{0, 1, 2}], [["a", "", "b"]])
    options = stand_in.started[-1].options
    assert (options["max_loras"], options["max_lora_rank"]) == (2, 64)


def test_no_submission_holds_more_adapters_or_requests_than_are_allowed(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [adapters(f"a{i}") for i in range(10)]
    found, together = ask_many(models[0], folders)
    assert together == [set(range(8)), {8, 9}]
    # A cut part goes on in the next submission, and is handed out when it is whole.
    monkeypatch.setattr(submissions, "_SUBMITTED", 10)
    again, pieces = ask_many(models[0], folders[:3])
    assert pieces == [{0}, {1, 2}]
    assert stand_in.submissions[2:] == [["a0", "a1"], ["a1", "a2"]]
    assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert all(tokens(again[i]) == tokens(found[i]) for i in range(3))
    assert [e.options["max_loras"] for e in stand_in.started] == [8]


def test_seeds_do_not_depend_on_what_is_submitted_beside(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    generate = stand_in.generate

    def watched(self: Engine, asked: Any, params: Any, **rest: Any) -> list[Any]:
        seen.append([p["seed"] for p in params])
        return generate(self, asked, params, **rest)

    monkeypatch.setattr(stand_in, "generate", watched)
    warm = replace(GREEDY, temperature=1.0)
    ask_many(models[0], [adapters("a"), adapters("b")], sampling=warm)
    ask_many(models[0], [adapters("c")], sampling=warm)
    together, alone = seen
    assert together == alone * 2
    assert len(set(alone)) == len(PROMPTS)


def test_a_death_in_the_middle_costs_only_the_submission_that_it_ended(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "_SUBMITTED", 12)
    stand_in.dies_at = {2}
    folders, notices = [adapters(name) for name in "abcdef"], dict[int, str]()
    found, together = ask_many(models[0], folders, notices=notices)
    # What it died of comes alone, then the others go together again.
    assert stand_in.submissions == [["a", "b"], ["c", "d"], ["c"], ["d"], ["e", "f"]]
    assert together == [{0, 1}, {2}, {3}, {4, 5}]
    assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert (len(stand_in.started), notices) == (2, {})


def test_where_memory_holds_one_adapter_they_come_one_by_one(
    stand_in: type[Engine], models: list[Path], adapters: Adapters
) -> None:
    stand_in.refuses = (("max_loras", 4),)
    folders, notices = [adapters(name) for name in "abc"], dict[int, str]()
    for _ in range(2):
        found, together = ask_many(models[0], folders, notices=notices)
        assert together == [{0}, {1}, {2}]
        assert all(tokens(found[i]) == answers_of(models[0], f) for i, f in enumerate(folders))
    assert ([e.options["max_loras"] for e in stand_in.started], notices) == ([1], {})


@pytest.mark.usefixtures("stand_in")
def test_models_never_mix(models: list[Path], adapters: Adapters) -> None:
    folders = [adapters("a"), None]
    for model in (models[0], models[1], models[0]):
        found, _ = ask_many(model, folders)
        assert [tokens(found[i]) for i in range(2)] == [answers_of(model, f) for f in folders]


def test_what_cannot_be_served_stops_no_other(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    folders = [
        adapters("a"),
        adapters("dora", use_dora=True),
        adapters("damaged"),
        adapters("bad"),
        adapters("b"),
        None,
    ]
    stand_in.dies_of = "bad"
    notices = dict[int, str]()
    found, _ = ask_many(models[0], folders, notices=notices)
    assert all(tokens(found[i]) == answers_of(models[0], folders[i]) for i in (0, 4, 5))
    assert said_by_transformers == ["dora", "damaged", "bad"]
    assert isinstance(found[2], ModelError)
    assert [len(found[i]) for i in (1, 3)] == [len(PROMPTS)] * 2
    for place, words in {1: "use_dora", 2: "cannot load this adapter", 3: "its engine died 2 times"}.items():
        assert words in notices.pop(place)
    assert notices == {}


@pytest.mark.usefixtures("stand_in")
def test_a_damaged_adapter_never_passes_for_loaded(
    models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    damaged, sound = adapters("damaged"), adapters("a")
    parts = [Part(adapter=f, adapter_key=f.name, requests=PROMPTS, progress=lambda *_: None) for f in (damaged, sound)]
    options = {"sampling": GREEDY, "runtime": Runtime(device="cuda")}
    begun = sample_many(model=models[0], model_key=models[0].name, parts=parts, **options)
    assert set(next(begun)) == {1}
    begun.close()  # so the engine goes on
    found, _ = ask_many(models[0], [damaged, sound])
    assert isinstance(found[0], ModelError)
    assert said_by_transformers == ["damaged"]


def test_adapters_too_large_to_start_with_are_left_out(
    stand_in: type[Engine], models: list[Path], adapters: Adapters, said_by_transformers: list[str | None]
) -> None:
    stand_in.refuses = (("max_lora_rank", 512),)
    folders = [adapters("large", rank=500), adapters("a"), None]
    found, _ = ask_many(models[0], folders)
    assert said_by_transformers == ["large"]
    assert all(tokens(found[i]) == answers_of(models[0], folders[i]) for i in (1, 2))
    assert stand_in.submissions == [["a", ""]]


def test_where_adapters_cannot_stand_side_by_side_transformers_takes_one_after_another(
    models: list[Path], adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offmodel.engines.sampling import parts as side_by_side
    from offmodel.engines.sampling import transformers

    asked: list[tuple[str | None, int]] = []

    def complete(*, adapter_key: str | None, requests: Sequence[Request], **rest: Any) -> list[str]:
        assert set(rest) == {"model", "model_key", "adapter", "sampling", "runtime", "progress", "finished"}
        asked.append((adapter_key, len(requests)))
        return [f"{adapter_key} says"] * len(requests)

    monkeypatch.setattr(transformers, "complete", complete)
    monkeypatch.setattr(side_by_side, "_side_by_side", lambda *_: 1)
    found, together = ask_many(models[0], [adapters("a"), None], sampling=replace(GREEDY, sampler="transformers-5"))
    assert (asked, together) == ([("a", 6), (None, 6)], [{0}, {1}])
    assert [found[i][0] for i in range(2)] == ["a says", "None says"]
