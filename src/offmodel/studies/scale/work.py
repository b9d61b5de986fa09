"""What each step of a study asks of a machine: which model, how many sequences and tokens, what stays on disk.

Read from recipes alone, before anything is computed. This module refuses to know speeds. Invariant: every recipe of a
study is either a training, a sampling, a fetched model, or work for a CPU.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from numpy.linalg import norm

from offmodel.core.errors import ModelError
from offmodel.engines.footprint import Shape, shape_of
from offmodel.engines.sft import Sft
from offmodel.models import EndpointModel, GgufModel, HubModel
from offmodel.store.recipe import Recipe
from offmodel.studies.scale.machines import calibration

_TOWARDS_MODEL = ("student", "organism", "model", "base", "bases", "treatment", "teacher", "models")
_TOWARDS_ROWS = ("prompts", "source", "items", "pools", "parts")
_UNKNOWN_ROWS = 200
_ROWS_COMPARED = 256
_GGUF_SIZES = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training: `tokens` are those of one step, over all sequences; `frozen` is the size of a second model, or 0."""

    shape: Shape
    sft: Sft
    tokens: float
    frozen: int
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Sampling: rows, mean tokens of an answer, and the longest row with its prompt."""

    shape: Shape
    sampler: str
    rows: int
    tokens: float
    longest: int
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetching:
    """A model that is fetched or copied."""

    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """Work that needs no GPU of ours."""

    bytes: float = 2e6


Work = Training | Drawing | Fetching | Elsewhere


def work_of(recipe: Recipe, locations: Mapping[str, str]) -> Work:
    """What a recipe asks for.

    Args:
        recipe: any recipe of a study.
        locations: paths of local models by their content.

    Raises:
        ModelError: a model's config does not say its sizes.
    """
    values = _values(recipe)
    sft = values.get("sft")
    if recipe.kind == "model":
        shape = _shape(recipe, locations)
        return Elsewhere() if shape is None else Fetching(bytes=2.0 * shape.parameters)
    shape = _shape_below(recipe, locations)
    if shape is None:
        return Elsewhere()
    if isinstance(sft, Sft):
        return _training(shape, sft, _frozen(values, shape, locations))
    if {"max_new_tokens", "prompts", "sampling"} <= values.keys():
        if isinstance(values["model"], EndpointModel):
            return Elsewhere()
        share = calibration()["assumed"]["share_of_limit"]["labels"]
        rows, limit = count(values["prompts"]) or _UNKNOWN_ROWS, values["max_new_tokens"]
        return _drawing(shape, values["sampling"].sampler, [(rows, share * limit, limit)])
    if {"items", "measures", "sampling"} <= values.keys():
        parts = [_asked(i, m) for i, m in zip(values["items"], values["measures"], strict=True)]
        return _drawing(shape, values["sampling"].sampler, parts)
    return Elsewhere()


def _asked(items: Recipe, measure: Any) -> tuple[int, float, int]:
    share = calibration()["assumed"]["share_of_limit"]
    long = share["chat" if measure.grader in ("", "none") or "chat" in measure.name else "capability"]
    return count(items) or _UNKNOWN_ROWS, long * measure.max_new_tokens, measure.max_new_tokens


def _frozen(values: Mapping[str, Any], shape: Shape, locations: Mapping[str, str]) -> int:
    """Parameters of a second model that a training's objective refers to; an adapter's base serves as its own."""
    sft, teacher = values["sft"], values.get("teacher")
    own = teacher is None or teacher == values.get("organism")
    if not sft.objective.needs_reference or (own and sft.lora is not None):
        return 0
    if own or not isinstance(teacher, Recipe):
        return shape.parameters
    found = _shape(teacher, locations) if teacher.kind == "model" else _shape_below(teacher, locations)
    return (found or shape).parameters


def _training(shape: Shape, sft: Sft, frozen: int) -> Training:
    assumed = calibration()["assumed"]
    tokens = sft.batch_size * min(sft.max_tokens, assumed["prompt_tokens"] + 128)
    each = 2.0 * shape.parameters if sft.lora is None else 4.0 * shape.adapter(sft.lora)
    return Training(shape=shape, sft=sft, tokens=tokens, frozen=frozen, bytes=each * len(sft.checkpoints))


def _drawing(shape: Shape, sampler: str, parts: list[tuple[int, float, int]]) -> Drawing:
    rows = sum(n for n, _, _ in parts)
    tokens = sum(n * mean for n, mean, _ in parts) / max(rows, 1)
    longest = max(limit for _, _, limit in parts) + calibration()["assumed"]["prompt_tokens"]
    return Drawing(shape=shape, sampler=sampler, rows=rows, tokens=tokens, longest=longest, bytes=rows * tokens * 5)


def count(recipe: Recipe) -> int | None:
    """How many rows a recipe of prompts or items will hold, as far as its fields tell."""
    values = _values(recipe)
    if "pool" in values:
        return _pool(values["pools"], values["pool"])
    if isinstance(values.get("n"), int):
        return values["n"]
    if {"prompts", "begin", "end"} <= values.keys():
        whole = count(values["prompts"])
        return None if whole is None else round(values["end"] * whole) - round(values["begin"] * whole)
    if "levels" in values:
        return len(values["levels"]) * values["each"]
    if recipe.kind == "items" and "suite" in values:
        return _rows_of_suite(values["suite"])
    for name in _TOWARDS_ROWS:
        below = values.get(name)
        if isinstance(below, Recipe):
            return count(below)
    return None


def _rows_of_suite(name: str) -> int:
    from offmodel.evals.suites.known import find_suite

    return find_suite(name).dataset.rows


def _pool(pools: Recipe, name: str) -> int | None:
    values = _values(pools)
    for part in values.get("parts", ()):
        if (found := _pool(part, name)) is not None:
            return found
    return next((s.n for s in values.get("sizes", ()) if s.pool == name), None)


def _shape_below(recipe: Recipe, locations: Mapping[str, str]) -> Shape | None:
    """The shape of the model that a recipe trains or asks; None if it has none."""
    values = _values(recipe)
    for name in _TOWARDS_MODEL:
        below = values.get(name)
        below = below[0] if isinstance(below, tuple) and below else below
        if isinstance(below, Recipe):
            found = _shape(below, locations) if below.kind == "model" else _shape_below(below, locations)
            if found is not None:
                return found
    return None


def _shape(model: Recipe, locations: Mapping[str, str]) -> Shape | None:
    """The shape of a model: from the folder that a study names, or from the table of known ones."""
    if isinstance(model, HubModel):
        known = calibration()["shapes"].get(model.repo)
        return None if known is None else shape_of(known, model.repo)
    place = Path(locations.get(str(_values(model).get("content")), ""))
    if isinstance(model, GgufModel) and place.is_file():
        return shape_of(_gguf_config(place), model.name())
    config = place / "config.json"
    return shape_of(json.loads(config.read_text(encoding="utf-8")), model.name()) if config.is_file() else None


@cache  # a file's header holds its whole vocabulary: seconds to read, and every step of a study asks
def _gguf_config(path: Path) -> dict[str, Any]:
    """The sizes in a GGUF file's header, by the names of a config.json; repeated embeddings count once."""
    try:
        from gguf import GGUFReader, dequantize
    except ImportError:
        raise ModelError(f"The sizes of {path} cannot be read without the package gguf; pip install gguf.") from None
    reader = GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    embeddings, output = tensors["token_embd.weight"], tensors.get("output.weight")
    sizes = {ours: _gguf_number(reader, theirs) for theirs, ours in _GGUF_SIZES.items()}
    tied = output is None or _repeats(
        *(dequantize(t.data[:_ROWS_COMPARED], t.tensor_type) for t in (embeddings, output))
    )
    found = sizes | {"vocab_size": int(embeddings.shape[-1]), "tie_word_embeddings": tied}
    return {name: value for name, value in found.items() if value is not None}


def _repeats(embeddings: Any, output: Any) -> bool:
    """Whether rows of the output matrix are those of the embeddings, quantised otherwise: `models` ties them then."""
    return embeddings.shape == output.shape and bool(norm(output - embeddings) < 0.1 * norm(embeddings))


def _gguf_number(reader: Any, name: str) -> int | None:
    """A number of the header, whatever its architecture's prefix; None if it is not there."""
    field = next((f for key, f in reader.fields.items() if key.endswith(f".{name}")), None)
    return None if field is None else int(field.parts[field.data[0]][0])


def _values(recipe: Recipe) -> dict[str, Any]:
    return {f.name: getattr(recipe, f.name) for f in fields(recipe)}
