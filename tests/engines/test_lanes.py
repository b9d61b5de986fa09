"""Adapters side by side in one batch: each lane's answers are those that its adapter gives alone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from offmodel.engines import adapters, folders
from offmodel.engines.sampling import Part, Request, Sampling, loaded, sample_many, transformers
from offmodel.engines.sampling import parts as engine
from offmodel.engines.sampling.batch import Batch
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sft import Lora
from offmodel.store.recipe import Runtime
from tests.engines.conftest import silent
from tests.engines.test_sampling import GREEDY, WARM, requests


@pytest.fixture(autouse=True)
def _fresh():
    loaded.forget()
    yield
    loaded.forget()


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Side by side on a CPU, which never does it by itself; how many lanes each batch had."""
    monkeypatch.setitem(engine.LANES, "cpu", 4)
    seen: list[int] = []
    plain = engine._in_lanes

    def counted(base, parts, kept, n, *rest):
        seen.append(n)
        return plain(base, parts, kept, n, *rest)

    monkeypatch.setattr(engine, "_in_lanes", counted)
    return seen


def adapter(folder: Path, model: Path, *, rank: int = 4, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    tuned = adapters.inject(
        folders.load_model(model, dtype=torch.float32, device="cpu"), Lora(rank=rank, alpha=8, targets="all-linear"),
        seed=seed,
    )  # fmt: skip
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    adapters.save_adapter(tuned, folder)
    return folder


def asked(*parts: tuple[Path | None, list[Request]]) -> list[Part]:
    return [
        Part(adapter=path, adapter_key=path and path.name, requests=reqs, progress=silent, notice=None)
        for path, reqs in parts
    ]


def answers(model: Path, parts: list[Part], sampling: Sampling = GREEDY, key: str = "m", **runtime) -> list:
    found, where = {}, Runtime(**{"device": "cpu"} | runtime)
    for some in sample_many(model=model, model_key=key, parts=parts, sampling=sampling, runtime=where):
        assert not set(some) & set(found)
        found |= some
    return [found[i] for i in range(len(parts))]


@pytest.mark.parametrize("sampling", [GREEDY, WARM, replace(GREEDY, dtype="bfloat16")])
@pytest.mark.parametrize("rounded", [False, True])
def test_each_lane_answers_as_alone(llama, tmp_path, lanes, monkeypatch, sampling, rounded):
    if rounded:  # rows and positions as they are rounded up for graphs
        monkeypatch.setattr(transformers, "Decoder", lambda *a, **k: Decoder(*a, **k | {"graphed": True}))
    paths = [adapter(tmp_path / f"a{i}", llama, rank=2 + i, seed=i) for i in range(2)]
    parts = asked(
        (paths[0], requests(9)), (paths[1], requests(5, seed=1)), (None, requests(7, seed=2)), (paths[0], requests(1))
    )
    alone = [answers(llama, [part], sampling)[0] for part in parts]
    loaded.forget()
    together = answers(llama, parts, sampling)
    assert lanes == [4]
    assert together == alone
    assert len({a[0].ids for a in alone[:1] + alone[3:]}) == 1  # the same adapter and request
    assert alone[0] != answers(llama, asked((None, requests(9))), sampling)[0]


def test_waiting_requests_take_the_places_of_finished_ones_lane_by_lane(llama, tmp_path):
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(2)]
    parts = asked((paths[0], requests(9)), (paths[1], requests(3, seed=1)), (None, requests(14, seed=2)), (None, []))
    alone = [[list(a.ids) for a in answers(llama, [part], WARM)[0]] for part in parts]
    base = loaded.obtain_base(llama, "m", WARM.dtype, "cpu")
    everything = [r for part in parts for r in part.requests]
    decoder = transformers.decoder_for(base, everything, None, least=12, multiple=4)
    loaded.lay_in(base, [(part.adapter, part.adapter_key) for part in parts])
    finished = [{1: [7, 7]}, *[dict[int, list[int]]() for _ in parts[1:]]]
    Batch(decoder, [part.requests for part in parts], WARM, rows=3, finished=finished).run([silent] * 4)
    assert finished[0].pop(1) == [7, 7]  # as it was found
    stops = set(base.renderer.stop_ids)
    for done, expected in zip(finished, alone, strict=True):
        assert {i: [t for t in ids if t not in stops] for i, ids in done.items()} == {
            i: ids for i, ids in enumerate(expected) if i in done
        }
    assert [len(done) for done in finished] == [8, 3, 14, 0]


def test_the_rest_has_idle_lanes_and_a_plain_model_follows(llama, tmp_path, lanes):
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(6)]
    parts = asked(*((path, requests(4, seed=i)) for i, path in enumerate(paths)))
    alone = [answers(llama, [part])[0] for part in parts]
    assert answers(llama, parts) == alone
    assert lanes == [4, 4]
    without = answers(llama, asked((None, requests(4))))
    loaded.forget()
    assert answers(llama, asked((None, requests(4)))) == without


def test_other_adapters_of_the_same_shapes_are_written_over_the_last_ones(llama, tmp_path, lanes):
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(4)]
    first, second = (asked(*((path, requests(3)) for path in some)) for some in (paths[:2], paths[2:]))
    answers(llama, first)
    held = loaded._LAST[0].inside
    found = answers(llama, second)
    assert loaded._LAST[0].inside is held
    loaded.forget()
    assert found == answers(llama, second) != answers(llama, first)


def test_what_is_too_much_for_one_batch_waits_for_a_free_row(llama, tmp_path, lanes, monkeypatch):
    monkeypatch.setitem(engine.SLOTS, "cpu", 10)
    path = adapter(tmp_path / "a", llama)
    parts = asked((path, requests(6)), (None, requests(6)), (path, requests(2)), (None, requests(2)))
    found = answers(llama, parts)
    assert lanes == [4]
    assert found == [answers(llama, [part])[0] for part in parts]
    assert answers(llama, parts[:2], micro_batch=2) == found[:2]


def test_a_model_that_mixes_tokens_is_sampled_one_adapter_after_another(llama, tmp_path, lanes, monkeypatch):
    path = adapter(tmp_path / "a", llama)
    parts = asked((path, requests(3)), (None, requests(3)))
    alone = [answers(llama, [part])[0] for part in parts]
    plain = loaded.put_in_lanes

    def flat(model, updates):
        layer = plain(model, updates)
        for linear in layer.layers.values():
            monkeypatch.setattr(linear, "forward", lambda x, f=linear.forward: f(x.reshape(-1, x.shape[-1])))
        return layer

    monkeypatch.setattr(loaded, "put_in_lanes", flat)
    assert answers(llama, parts) == alone
    assert answers(llama, parts) == alone
    assert lanes == [2]  # the second time nobody tries


def test_without_memory_for_all_fewer_come_together(llama, tmp_path, lanes, monkeypatch):
    path = adapter(tmp_path / "a", llama)
    parts = asked(*((path, requests(3)), (None, requests(3))) * 2)
    alone = [answers(llama, [part])[0] for part in parts]
    run = Batch.run

    def small(batch, progress):
        if len(progress) > 2:
            raise torch.OutOfMemoryError("full")
        return run(batch, progress)

    monkeypatch.setattr(Batch, "run", small)
    assert answers(llama, parts) == alone
    assert lanes == [4, 2, 2]


def test_what_fails_side_by_side_is_told_and_done_alone(llama, tmp_path, lanes, monkeypatch):
    path, told = adapter(tmp_path / "a", llama), list[str]()
    parts = [replace(part, notice=told.append) for part in asked((path, requests(3)), (None, requests(3)))]
    alone = [answers(llama, [part])[0] for part in parts]

    run = Batch.run

    def broken(batch, progress):
        if len(progress) > 1:
            raise RuntimeError("no such product\nmore")
        return run(batch, progress)

    monkeypatch.setattr(Batch, "run", broken)
    assert answers(llama, parts) == alone
    assert told == ["Not sampled beside other adapters: no such product"] * 2


def test_another_model_is_written_under_the_lanes(llama, tmp_path, lanes):
    torch.manual_seed(9)
    other = folders.load_model(llama, dtype=torch.float32, device="cpu")
    for p in other.parameters():
        torch.nn.init.normal_(p.data, std=0.2)
    folder = tmp_path / "other"
    shutil.copytree(llama, folder)
    other.save_pretrained(folder)
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(2)]
    parts = asked(*((path, requests(3)) for path in paths))
    first = answers(llama, parts)
    held = loaded._LAST[0]
    second = answers(folder, parts, key="other")
    plain = answers(folder, asked((None, requests(3))), key="other")
    assert loaded._LAST[0] is held
    loaded.forget()
    assert second == answers(folder, parts, key="other") != first
    loaded.forget()
    assert plain == answers(folder, asked((None, requests(3))), key="other")


def test_a_part_that_cannot_be_takes_no_other_with_it(llama, tmp_path, lanes):
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(3)]
    (paths[0] / "adapter_model.safetensors").write_bytes(b"cut off")
    parts = asked((paths[1], requests(3)), (None, [Request((1,), 600)]), (paths[0], requests(3)), (None, requests(3)))
    later = asked((paths[1], requests(3)), (paths[2], requests(3)))
    found = answers(llama, [*parts, *later])
    assert "positions" in str(found[1])
    assert "cannot be read" in str(found[2])
    for i in (0, 3, 4, 5):
        assert found[i] == answers(llama, [[*parts, *later][i]])[0]
    assert lanes == [4, 4]  # those after the first four stand side by side again


def test_the_head_is_computed_apart_so_adapters_on_it_are_refused(llama, tmp_path, lanes):
    path = adapter(tmp_path / "a", llama)
    head = folders.load_model(llama, dtype=torch.float32, device="cpu").get_output_embeddings().weight
    update = {"A": torch.ones(4, head.shape[1]), "B": torch.ones(head.shape[0], 4)}
    state = {f"base_model.model.lm_head.lora_{part}.weight": value for part, value in update.items()}
    save_file(state, path / "adapter_model.safetensors")
    parts = asked((path, requests(2)), (None, requests(2)))
    found = answers(llama, parts)
    assert "'lm_head', the model's head" in str(found[0])
    assert found[1] == answers(llama, parts[1:])[0]


def test_memory_that_runs_out_beside_others_costs_no_finished_answer(llama, tmp_path, lanes, monkeypatch):
    path = adapter(tmp_path / "a", llama)
    told: list[list[float]] = [[] for _ in range(4)]
    parts = [
        replace(part, progress=lambda fraction, text="", mine=mine: mine.append(fraction))
        for part, mine in zip(asked(*((path, requests(9)), (None, requests(9))) * 2), told, strict=True)
    ]
    alone = [answers(llama, [replace(part, progress=silent)])[0] for part in parts]
    plain, steps = Decoder.step, list[int]()

    def full(decoder, busy, longest, temperature):
        steps.append(busy)
        if len(steps) == 11:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(decoder, busy, longest, temperature)

    monkeypatch.setattr(Decoder, "step", full)
    assert answers(llama, parts) == alone
    assert lanes == [4, 2, 2]
    assert all(0 < mine[0] < 1 and mine == sorted(mine) and mine[-1] == 1 for mine in told)


def test_lanes_are_not_kept_for_a_part_alone(llama, tmp_path, lanes, monkeypatch):
    monkeypatch.setitem(engine.LANES, "cpu", 8)
    paths = [adapter(tmp_path / f"a{i}", llama, seed=i) for i in range(9)]
    parts = asked(*((path, requests(4)) for path in paths))
    assert answers(llama, parts) == [answers(llama, [part])[0] for part in parts]
    assert lanes == [8]


def test_lanes_of_very_different_length_come_apart(llama, tmp_path, lanes, monkeypatch):
    monkeypatch.setitem(engine.LANES, "cpu", 8)
    path = adapter(tmp_path / "a", llama)
    parts = asked((None, requests(40)), *((path, requests(1)) for _ in range(7)))
    assert answers(llama, parts) == [answers(llama, [part])[0] for part in parts]
    assert lanes == [4, 4]


def test_prompts_of_one_token_are_no_decoding_step(llama, tmp_path, lanes):
    path = adapter(tmp_path / "a", llama)
    few = [Request((n,), 4) for n in (5, 6, 7)]
    parts = asked((path, few), (None, few[1:]), (path, few[:1]))
    assert answers(llama, parts) == [answers(llama, [part])[0] for part in parts]
    assert lanes == [4]


def test_where_memory_lacks_for_all_rows_some_wait(llama, tmp_path, lanes, monkeypatch):
    path = adapter(tmp_path / "a", llama)
    parts = asked((path, requests(12)), (None, requests(12)))
    alone = [answers(llama, [part])[0] for part in parts]
    monkeypatch.setattr(engine, "has_room", lambda loaded, asked, slots: slots <= 10)
    assert answers(llama, parts) == alone
    assert lanes == [2]
    monkeypatch.setattr(engine, "has_room", lambda loaded, asked, slots: slots <= 4)
    assert answers(llama, parts) == alone  # too few rows for two lanes: one after another
    assert lanes == [2, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_captured_steps_follow_other_adapters_other_lanes_and_none(llama, tmp_path, monkeypatch, dtype):
    paths = [adapter(tmp_path / f"a{i}", llama, rank=16, seed=i) for i in range(6)]
    turns = [paths, paths[2:], paths[4:], paths[:1], [None], [*paths[:2], None]]
    parts = [asked(*((path, requests(40, limit=40, seed=i)) for i, path in enumerate(some))) for some in turns]
    sampling = replace(GREEDY, dtype=dtype)
    monkeypatch.setitem(engine.LANES, "cuda", 4)

    def said(graphed: bool) -> list:
        monkeypatch.setattr(transformers, "Decoder", lambda *a, **k: Decoder(*a, **k | {"graphed": graphed}))
        loaded.forget()
        return [answers(llama, some, sampling, device="cuda") for some in parts * 2]

    # Rounded rows and positions may change kernels, and with them the last bit; a token in a hundred at most.
    one, other = ([g.ids for turn in said(graphed) for part in turn for g in part] for graphed in (True, False))
    assert sum(a == b for a, b in zip(one, other, strict=True)) > 0.98 * len(one)
