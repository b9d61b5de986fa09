"""Models: what a user may type, and one sentence for what is missing."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from offmodel.core.errors import DataError, ModelError, UnknownName
from offmodel.flow.runner import run
from offmodel.models import HubModel, folder_digest, resolve_model
from offmodel.pocket.world import model_folder
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.recipe import Runtime


def folder(root: Path, *names: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_text("{}", encoding="utf-8")
    return root


def test_a_folder_moves_without_losing_its_identity(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja")
    one, _ = resolve_model(str(folder(tmp_path / "a" / "m", *names)))
    two, _ = resolve_model(str(folder(tmp_path / "b" / "m", *names)))
    assert one.digest == two.digest
    (tmp_path / "b" / "m" / "model.safetensors").write_text("[]", encoding="utf-8")
    assert resolve_model(str(tmp_path / "b" / "m"))[0].digest != one.digest
    assert len(folder_digest(tmp_path / "a" / "m")) == 64


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ((), "configuration"),
        (("config.json",), "weights"),
        (("config.json", "model.safetensors"), "tokenizer"),
        (("config.json", "model.safetensors", "tokenizer.json"), "no chat template"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, names: tuple[str, ...], word: str) -> None:
    with pytest.raises(ModelError, match=word):
        resolve_model(str(folder(tmp_path / "m", *names)))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("text", ["{not json", "[]", "\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    root = folder(tmp_path / "m", *names)
    (root / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=rf"{name} is damaged: it holds no JSON object; save or download"):
        resolve_model(str(root))


def test_a_hub_id_needs_its_commit() -> None:
    with pytest.raises(ModelError, match=r"40 hexadecimal digits.*local folder"):
        resolve_model("Qwen/Qwen2.5-0.5B-Instruct")
    recipe, path = resolve_model("Qwen/Qwen2.5-0.5B-Instruct@" + "0" * 40)
    assert isinstance(recipe, HubModel)
    assert path is None


def test_unknown_places_are_named() -> None:
    with pytest.raises(ModelError, match="no GGUF file"):
        resolve_model("/nowhere/x.gguf")
    for place in ("./nowhere", "../nowhere", "/nowhere", "~/nowhere/at/all", "nowhere"):
        with pytest.raises(ModelError, match="There is no model folder"):
            resolve_model(place)
    with pytest.raises(UnknownName, match="did you mean 'student'"):
        resolve_model("pocket:studnt")


def gguf(path: Path) -> Path:
    """A language model of a few numbers as a GGUF file, with a tokenizer of its own."""
    import numpy as np
    from gguf import GGUFWriter, TokenType

    random, width, words = np.random.default_rng(0), 32, [f"w{i}" for i in range(60)]
    writer: Any = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(len(words) + 4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*words, "<|end|>", "a", "b", "ab"])
    writer.add_token_types([TokenType.NORMAL] * 60 + [TokenType.CONTROL] + [TokenType.NORMAL] * 3)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(60)
    writer.add_eos_token_id(60)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    shapes = {"token_embd": (64, width), "output": (64, width)}
    shapes |= {f"blk.0.attn_{x}": (width, width) for x in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{x}": (width, width) for x in ("gate", "up", "down")}
    norms = dict.fromkeys(("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"), (width,))
    for name, shape in (shapes | norms).items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def converted(path: Path, store: Path) -> Artifact:
    recipe, place = resolve_model(str(path))
    runtime = Runtime(locations=((recipe.content, str(place)),))  # pyright: ignore[reportAttributeAccessIssue]
    return run([recipe], store=Store(store), runtime=runtime, workers=0).artifacts[0]


def test_a_gguf_file_keeps_its_own_tokenizer_whatever_lies_beside_it(tmp_path: Path) -> None:
    alone = converted(gguf(tmp_path / "tiny.gguf"), tmp_path / "s")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (model_folder("student") / name).exists():
            shutil.copyfile(model_folder("student") / name, tmp_path / name)
    beside = converted(tmp_path / "tiny.gguf", tmp_path / "t")
    assert beside.content == alone.content


def test_a_gguf_file_that_changed_since_it_was_named_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"before")
    recipe, place = resolve_model(str(tmp_path / "tiny.gguf"))
    (tmp_path / "tiny.gguf").write_bytes(b"after")
    runtime = Runtime(locations=((recipe.content, str(place)),))  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(DataError, match=r"tiny\.gguf changed while the study ran; run it again\."):
        run([recipe], store=Store(tmp_path / "s"), runtime=runtime, workers=0)
