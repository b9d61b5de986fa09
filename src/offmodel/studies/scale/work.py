"""What each step of a study asks of a machine: which model, how many sequences and tokens, what stays on disk.

Read from recipes alone, before anything is computed. This module refuses to know speeds. Invariant: every recipe of a
study is either a training, a sampling, a fetched model, or work for a CPU.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from offmodel.engines.footprint import Shape, shape_of
from offmodel.engines.sft import Sft
from offmodel.models import EndpointModel, HubModel
from offmodel.store.recipe import Recipe
from offmodel.studies.scale.machines import calibration

_TOWARDS_MODEL = ("student", "organism", "model", "base", "bases", "treatment", "teacher", "models")
_TOWARDS_ROWS = ("prompts", "source", "items", "pools", "parts")
_UNKNOWN_ROWS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training: `tokens` are those of one step, over all sequences."""

    shape: Shape
    sft: Sft
    tokens: float
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
        return _training(shape, sft)
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


def _training(shape: Shape, sft: Sft) -> Training:
    assumed = calibration()["assumed"]
    tokens = sft.batch_size * min(sft.max_tokens, assumed["prompt_tokens"] + 128)
    each = 2.0 * shape.parameters if sft.lora is None else 4.0 * shape.adapter(sft.lora.rank)
    return Training(shape=shape, sft=sft, tokens=tokens, bytes=each * len(sft.checkpoints))


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
    content = _values(model).get("content")
    config = Path(locations.get(str(content), "")) / "config.json"
    if content is None or not config.is_file():
        return None
    return shape_of(json.loads(config.read_text(encoding="utf-8")), model.name())


def _values(recipe: Recipe) -> dict[str, Any]:
    return {f.name: getattr(recipe, f.name) for f in fields(recipe)}
