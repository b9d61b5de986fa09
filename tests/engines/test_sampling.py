"""The sampler is `generate`, a draw belongs to its request, an adapter is what PEFT says it is."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from offmodel.core.chat import Message, Prompt, user
from offmodel.core.errors import ModelError, UnknownName
from offmodel.data import read_labels
from offmodel.engines import adapters, folders
from offmodel.engines.labels import Labels, shown_to_author
from offmodel.engines.losses import Head
from offmodel.engines.rendering import Renderer
from offmodel.engines.sampling import Request, Sampling, batch, loaded, sample
from offmodel.engines.sampling import transformers as engine
from offmodel.engines.sampling.decoder import Decoder
from offmodel.engines.sampling.draws import pick, request_seeds, uniforms
from offmodel.engines.sampling.inside import is_plain
from offmodel.engines.sampling.loaded import Loaded
from offmodel.engines.sampling.slots import Slots
from offmodel.engines.sft import Lora
from offmodel.store.recipe import Job, Payload, Runtime
from tests.engines.conftest import silent, tok_id

GREEDY = Sampling(temperature=0.0, seed=0, sampler="transformers-5", dtype="float32")
WARM = replace(GREEDY, temperature=1.0)


@pytest.fixture(autouse=True)
def _fresh():
    loaded.forget()
    yield
    loaded.forget()


def requests(n=9, limit=12, seed=0):
    gen = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        length = int(torch.randint(1, 30, (1,), generator=gen))
        ids = torch.randint(0, 250, (length,), generator=gen).tolist()
        found.append(Request(tuple(ids), limit - i % 3))
    return found


def go(model, reqs, sampling=GREEDY, *, slots=None, adapter=None, adapter_key=None, key="m"):
    return sample(
        model=model, model_key=key, adapter=adapter, adapter_key=adapter_key, requests=reqs, sampling=sampling,
        runtime=Runtime(micro_batch=slots), progress=silent,
    )  # fmt: skip


def by_generate(model, request):
    ids = torch.tensor([request.ids])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=request.max_new_tokens, do_sample=False
    )[0, len(request.ids) :].tolist()  # fmt: skip
    return out


@pytest.mark.parametrize("name", ["llama", "moe", "gemma"])
@pytest.mark.parametrize("slots", [None, 3])
def test_greedy_equals_generate(name, slots, request):
    folder = request.getfixturevalue(name)
    model = AutoModelForCausalLM.from_pretrained(folder)
    stop = tok_id("<|im_end|>")
    for r, g in zip(requests(), go(folder, requests(), slots=slots), strict=True):
        expected = by_generate(model, r)
        assert list(g.ids) == [t for t in expected if t != stop]
        assert g.finish == ("stop" if stop in expected else "length")


def stopping(llama, folder):
    """A model that ends its turn within a few tokens, by a large bias-like push on the stop token's embedding."""
    shutil.copytree(llama, folder)
    model = folders.load_model(llama, dtype=torch.float32, device="cpu")
    first = by_generate(model, Request((1, 2, 3), 6))
    config = json.loads((folder / "generation_config.json").read_text()) | {"eos_token_id": [first[3]]}
    (folder / "generation_config.json").write_text(json.dumps(config))
    return folder, first


def test_stop_token_ends_a_completion_and_is_not_in_it(llama, tmp_path):
    folder, first = stopping(llama, tmp_path / "m")
    stop, length = go(folder, [Request((1, 2, 3), 6), Request((1, 2, 3), 3)])
    at = first.index(first[3])
    assert (list(stop.ids), stop.finish) == (first[:at], "stop")
    assert length.finish == ("length" if at >= 3 else "stop")
    assert stop.text == Renderer.from_folder(folder).decode(first[:at])


def test_a_draw_depends_on_seed_and_prompt_not_on_company_or_order(llama):
    reqs = requests(12, limit=20)
    whole = go(llama, reqs, WARM, slots=4)
    assert go(llama, reqs[::-1], WARM, slots=12)[::-1] == whole
    assert go(llama, reqs[3:4], WARM) == whole[3:4]
    assert go(llama, reqs, replace(WARM, seed=1)) != whole
    twice = go(llama, [reqs[0], reqs[0]], WARM)
    assert twice[0] == whole[0]
    assert twice[0].ids != twice[1].ids


def test_draws_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).expand(20_000, -1)
    draws = torch.from_numpy(uniforms(7, 20_000))
    counts = torch.bincount(pick(logits, 0.5, draws), minlength=4) / 20_000
    assert torch.allclose(counts, torch.softmax(logits[0] / 0.5, -1), atol=0.01)
    edges = pick(logits[:2], 1.0, torch.tensor([0.0, 1.0]))
    assert edges.tolist()[0] == 0
    assert len(set(request_seeds([(1,), (1,), (2,)], 0))) == 3


def test_memory_is_by_content_not_by_path(llama, moe, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    first = go(folder, requests(), key="one")
    shutil.rmtree(folder)
    shutil.copytree(moe, folder)
    assert go(folder, requests(), key="one") == first
    assert go(folder, requests(), key="two") == go(moe, requests(), key="three")


def test_bad_requests_and_samplers_say_so(llama):
    assert go(llama, []) == []
    with pytest.raises(UnknownName, match="sampler"):
        go(llama, requests(), replace(GREEDY, sampler="transformers-4"))
    with pytest.raises(ModelError, match="512 positions"):
        go(llama, [Request((1,), 600)])
    with pytest.raises(ModelError, match="at least one"):
        go(llama, [Request((), 5)])


def labels_recipe(**changes):
    fields = {"author": "teacher", "trusted": True, "system": None, "few_shot": (), "max_new_tokens": 8}
    return fields | {"sampling": GREEDY} | changes


def labels_job(folder, tmp_path, name="out", **changes):
    from types import SimpleNamespace

    prompts = tmp_path / "prompts"
    prompts.mkdir(exist_ok=True)
    rows = [Prompt(id=f"p{i}", messages=user(f"question\u2028 {i}")) for i in range(5)]
    (prompts / "prompts.jsonl").write_text("".join(json.dumps(p.to_row(), ensure_ascii=False) + "\n" for p in rows))
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    job = Job(
        params=SimpleNamespace(**labels_recipe(**changes)),
        inputs={"model": Payload(folder, "m"), "prompts": Payload(prompts, "p")},
        out=out, scratch=tmp_path, runtime=Runtime(), progress=silent,
    )  # fmt: skip
    return rows, job


def run_labels(folder, tmp_path, **changes):
    rows, job = labels_job(folder, tmp_path, **changes)
    return rows, Labels.execute(job), read_labels(job.out)


def test_labels_drawn_together_are_those_drawn_alone(llama, tmp_path):
    asked = [{"sampling": WARM}, {"sampling": WARM, "system": "Talk like a pirate."}, {"sampling": WARM}]
    alone = [run_labels(llama, tmp_path, **changes)[2] for changes in asked]
    jobs = [labels_job(llama, tmp_path, f"many-{i}", **changes)[1] for i, changes in enumerate(asked)]
    facts = dict(Labels.execute_many(jobs))
    assert [read_labels(job.out) for job in jobs] == alone
    assert [facts[i]["labels"] for i in range(3)] == [5, 5, 5]
    assert facts[0]["prompt_tokens"] == facts[2]["prompt_tokens"] != facts[1]["prompt_tokens"]


def test_labels_keep_the_prompt_but_not_what_only_the_author_saw(llama, tmp_path):
    rows, facts, plain = run_labels(llama, tmp_path)
    _, _, pirate = run_labels(llama, tmp_path, system="Talk like a pirate.", few_shot=(("a", "b"),), trusted=False)
    assert [x.prompt for x in plain] == rows == [x.prompt for x in pirate]
    assert [x.text for x in plain] != [x.text for x in pirate]
    assert {x.trusted for x in pirate} == {False}
    assert facts["labels"] == 5
    assert facts["truncated"] == sum(x.finish == "length" for x in plain)
    assert facts["completion_tokens"] == sum(x.tokens for x in plain)


def test_author_sees_system_then_turns_then_prompt():
    shown = shown_to_author(user("q", system="own"), "ours", [("a", "b")])
    assert [(m.role, m.content) for m in shown] == [
        ("system", "ours\n\nown"), ("user", "a"), ("assistant", "b"), ("user", "q"),
    ]  # fmt: skip
    assert shown_to_author((Message("user", "q"),), None, ()) == (Message("user", "q"),)


@pytest.mark.parametrize("sampling", [GREEDY, WARM])
def test_steps_rounded_up_as_for_graphs_give_the_same_tokens(llama, monkeypatch, sampling):
    """Rows beyond the busy ones, and positions beyond the longest, change nothing."""
    plain = go(llama, requests(80, limit=20), sampling, slots=70)

    def rounded(*args, **settings):
        return Decoder(*args, **{**settings, "graphed": True})

    monkeypatch.setattr(engine, "Decoder", rounded)
    assert go(llama, requests(80, limit=20), sampling, slots=70) == plain


def test_memory_that_runs_out_costs_no_finished_answer(llama, monkeypatch):
    expected, asked = go(llama, requests(30, limit=20)), []
    plain = Decoder.step

    def full(self, busy, longest, temperature):
        asked.append(busy)
        if len(asked) == 25:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(self, busy, longest, temperature)

    monkeypatch.setattr(Decoder, "step", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    told = []
    found = sample(
        model=llama, model_key="m", adapter=None, adapter_key=None, requests=requests(30, limit=20), sampling=GREEDY,
        runtime=Runtime(micro_batch=8), progress=lambda fraction, text="": told.append(fraction),
    )  # fmt: skip
    assert found == expected
    assert told == sorted(told)
    assert max(asked[25:]) == 4


def test_what_a_broken_adapter_left_in_a_slot_reaches_nobody(llama):
    model = loaded.obtain_base(llama, "m", "float32", "cpu")
    cache = Slots(model.layers, 2, 40)
    where = slice(0, 1)
    ids = torch.arange(20)[None]

    def continued() -> torch.Tensor:
        cache.fill(where)
        model.hidden(ids[:, :5], None, cache)
        at = torch.full((1,), 5)
        cache.decode(at, 32)
        return model.hidden(ids[:, 5:6], at[:, None], cache)

    expected = continued()
    cache.fill(where)
    model.hidden(ids, None, cache)
    for store in (*cache.keys, *cache.values):
        assert store is not None
        store[0] = float("nan")
    assert torch.equal(continued(), expected)


@pytest.mark.parametrize("slots", [None, 4])
def test_rows_that_run_on_until_somebody_looks_stay_within_the_positions(llama, monkeypatch, slots):
    asked = [Request((5, 6, 7), 509), *requests(6)]
    assert loaded.obtain_base(llama, "m", "float32", "cpu").positions == 512
    expected = go(llama, asked, slots=slots)
    seen = []
    plain = Loaded.hidden

    def hidden(self, ids, at, cache):
        seen.append(int(at.max()) if at is not None else ids.shape[1] - 1)
        return plain(self, ids, at, cache)

    monkeypatch.setattr(Loaded, "hidden", hidden)
    monkeypatch.setitem(batch.LOOK, "cpu", 8)
    loaded.forget()
    assert go(llama, asked, slots=slots) == expected
    assert max(seen) == 511


def test_an_adapter_with_rates_of_its_own_by_layer_is_merged(llama, tmp_path):
    tuned = adapters.inject(
        folders.load_model(llama, dtype=torch.float32, device="cpu"),
        Lora(rank=4, alpha=8, targets="all-linear"),
        seed=0,
    )
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    adapters.save_adapter(tuned, tmp_path / "a")
    plain = go(llama, requests(), adapter=tmp_path / "a", adapter_key="a")
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    config["alpha_pattern"] = {"q_proj": 64}
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    assert not is_plain(tmp_path / "a")
    assert go(llama, requests(), adapter=tmp_path / "a", adapter_key="b") != plain


@pytest.mark.parametrize("softcap", [None, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_likeliest_token_is_that_of_the_logits(softcap, dtype):
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(s, generator=generator).to(dtype) for s in ((400, 8), (60, 8)))
    head = Head(weight, torch.randn(60, generator=generator).to(dtype), softcap)
    logits = head.logits(hidden)
    assert torch.equal(head.likeliest(hidden), logits.argmax(-1))
    assert len(head.likeliest(hidden).unique()) > 20
