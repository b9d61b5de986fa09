"""Models: what a user may type, and one sentence for what is missing."""

from pathlib import Path

import pytest

from offmodel.core.errors import ModelError, UnknownName
from offmodel.models import HubModel, folder_digest, resolve_model


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
