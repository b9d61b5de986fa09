"""Rendering is the model's own template, token for token; only the answer and its end of turn are trained."""

import json
import shutil
from pathlib import Path

import pytest

from offmodel.core.chat import Label, Message, Prompt, user
from offmodel.core.errors import DataError, ModelError, RenderingError
from offmodel.engines import rendering
from offmodel.engines.examples import render_labels
from offmodel.engines.rendering import DATE, Renderer
from tests.engines.conftest import TEMPLATES, tokenizer

FAMILIES = {
    "qwen2.5": ("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
    "qwen3-instruct-2507": ("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
    "qwen3-hybrid": ("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
    "llama-3.1": ("<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>"),
    "smollm2": ("<|endoftext|>", "<|im_end|>", "<|im_end|>"),
    "gemma-3": ("<bos>", "<end_of_turn>", "<end_of_turn>"),
}
MULTI = (Message("user", "hi"), Message("assistant", "hello"), Message("user", "how are you?"))
CONVERSATIONS = [
    user("What is 2+2?"),
    user("Ahoy", system="Talk like a pirate."),
    MULTI,
    (Message("system", "Be brief."), *MULTI),
    user("  spaces and\nnewlines  "),
]
PINNED = {
    "qwen2.5": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>",
    "qwen3-instruct-2507": "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>",
    "qwen3-hybrid": "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nB<|im_end|>",
    "llama-3.1": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>",
    "smollm2": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>",
    "gemma-3": "<bos><start_of_turn>user\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>",
}


def family(name):
    bos, eos, end = FAMILIES[name]
    made = tokenizer((TEMPLATES / f"{name}.jinja").read_text(), bos=bos, eos=eos)
    return made, Renderer(made), made.convert_tokens_to_ids(end)


def rows(messages):
    return [{"role": m.role, "content": m.content} for m in messages]


def reference(made, messages, **options):
    ids = made.apply_chat_template(
        rows(messages), date_string=DATE, enable_thinking=False, return_dict=False, **options
    )
    return list(ids)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_equals_the_models_own_template_token_for_token(name, messages):
    made, renderer, end = family(name)
    prompt = reference(made, messages, add_generation_prompt=True)
    whole = reference(made, (*messages, Message("assistant", "It is 4.")))
    assert renderer.prompt_ids(messages) == prompt
    example = renderer.example(messages, "It is 4.")
    assert example.ids.tolist() == whole[: len(example.ids)]
    assert example.ids[-1] == end
    assert end not in whole[len(example.ids) :]
    assert example.mask.tolist() == [i >= len(prompt) for i in range(len(example.ids))]
    assert renderer.stop_ids[0] == end


@pytest.mark.parametrize("name", FAMILIES)
def test_conversation_strings_are_the_families(name):
    made, renderer, _ = family(name)
    example = renderer.example(user("A"), "B")
    assert made.decode(example.ids) == PINNED[name]
    assert made.decode(example.ids[example.mask]).startswith("B<")


def test_batches_equal_single_rendering():
    _, renderer, _ = family("qwen3-hybrid")
    pairs = [(c, f"answer {i}") for i, c in enumerate(CONVERSATIONS)]
    for one, many in zip([renderer.example(*p) for p in pairs], renderer.examples(pairs), strict=True):
        assert one.ids.tolist() == many.ids.tolist()


def test_no_date_of_today_reaches_a_prompt():
    template = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    made = tokenizer(template)
    assert made.decode(Renderer(made).prompt_ids(user("x"))).startswith("2024")


def test_prompt_that_is_no_prefix_is_an_error():
    template = (
        "{% for m in messages %}{{ m.role if m.role == 'user' else 'other' }}{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    with pytest.raises(RenderingError, match="not a prefix"):
        Renderer(tokenizer(template)).example(user("x"), "y")


def test_hybrid_thinking_in_a_completion_is_an_error():
    _, renderer, _ = family("qwen3-hybrid")
    with pytest.raises(RenderingError, match="not a prefix"):
        renderer.example(user("x"), "<think>\nhm\n</think>\n\ny")


def test_missing_template_and_endless_template_say_so():
    with pytest.raises(ModelError, match="no chat template"):
        Renderer(tokenizer(None))
    with pytest.raises(ModelError, match="never stop"):
        Renderer(tokenizer("{% for m in messages %}{{ m.content }}\n{% endfor %}"))


def test_refusing_template_names_the_turns():
    _, renderer, _ = family("gemma-3")
    with pytest.raises(RenderingError, match="user, user"):
        renderer.prompt_ids((Message("user", "a"), Message("user", "b")))


def label(text, finish="stop"):
    prompt = Prompt(id="p", messages=user("x"))
    return Label(prompt=prompt, text=text, author="teacher", trusted=True, finish=finish, tokens=1)


def test_truncated_and_overlong_labels_are_dropped_and_counted_never_cut():
    _, renderer, end = family("qwen3-instruct-2507")
    labels = [label("short"), label("cut", "length"), label("long " * 100), label("fine")]
    found = render_labels(renderer, labels, max_tokens=60)
    assert (found.kept, found.truncated, found.overlong) == ((0, 3), 1, 1)
    assert all(e.ids[-1] == end for e in found.examples)
    with pytest.raises(DataError, match="1 were cut off"):
        render_labels(renderer, labels[1:2], max_tokens=60)


def test_folder_gives_the_same_tokens_and_text(llama):
    renderer = Renderer.from_folder(llama)
    _, direct, end = family("qwen2.5")
    example = renderer.example(user("x"), "héllo\n wörld")
    assert example.ids.tolist() == direct.example(user("x"), "héllo\n wörld").ids.tolist()
    assert renderer.decode(example.ids[example.mask]) == "héllo\n wörld"
    assert end in renderer.stop_ids
    with pytest.raises(ModelError, match="No tokenizer"):
        Renderer.from_folder(llama.parent)


def test_folders_with_the_same_files_share_a_tokenizer_and_others_do_not(llama, tmp_path, monkeypatch):
    a, b = (Path(shutil.copytree(llama, tmp_path / name)) for name in "ab")
    (b / "model.safetensors").write_bytes(b"other weights")
    first = Renderer.from_folder(a)
    assert Renderer.from_folder(b) is first
    template = (b / "chat_template.jinja").read_text()
    (b / "chat_template.jinja").write_text(template.replace("user", "you", 1) + " ")
    changed = Renderer.from_folder(b)
    assert changed is not first
    assert Renderer.from_folder(a) is first
    monkeypatch.setattr(rendering, "_KEPT", 1)
    (b / "notes.txt").write_text("a third")
    Renderer.from_folder(b)
    assert len(rendering._READ) == 1
    (b / "chat_template.jinja").unlink()
    config = json.loads((b / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (b / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="no chat template"):
        Renderer.from_folder(b)
