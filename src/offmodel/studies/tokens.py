"""Do student and teacher have the same tokens? Asked of the files, before anything is loaded or computed.

Methods in which a teacher scores the student's own tokens need it. Only models that lie on this machine are looked at;
the engine asks again before it loads weights. This module refuses to know methods. Invariant: it reads tokenizer files
alone, and no library that takes seconds to import.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from offmodel.core.errors import ModelError
from offmodel.store.recipe import Recipe
from offmodel.studies.study import Cell
from offmodel.treatments.on_policy_distillation import Distilled

_MADE_FROM = ("organism", "student", "model", "base")


def check_tokens(cells: Iterable[Cell], locations: Mapping[str, str]) -> None:
    """Refuse distillations between models with different tokenizers.

    Args:
        cells: what a study or a command would run.
        locations: paths of local models, by content.

    Raises:
        ModelError: a method needs equal tokenizers and is given two different ones.
    """
    for training in {t.digest: t for c in cells for t, _ in c.trained if isinstance(t, Distilled)}.values():
        student, teacher = (_folder(m, locations) for m in (training.organism, training.teacher))
        if student is None or teacher is None or student == teacher:
            continue
        first, second = _table(student), _table(teacher)
        if first is not None and second is not None and first != second:
            raise ModelError(
                f"'{training.method}' needs a teacher with the student's tokenizer, and '{teacher.name}' has another "
                f"than '{student.name}'; use a teacher of the student's family, or a method that trains on texts."
            )


def _folder(model: Recipe, locations: Mapping[str, str]) -> Path | None:
    """Where the model that this one was made from lies; None if it is not a folder here."""
    known: dict[str, Any] = {f.name: getattr(model, f.name) for f in fields(model)}
    if "content" in known:
        path = Path(locations.get(known["content"], ""))
        return path if known["content"] in locations and path.is_dir() else None
    parent = next((known[name] for name in _MADE_FROM if isinstance(known.get(name), Recipe)), None)
    return None if parent is None else _folder(parent, locations)


def _table(folder: Path) -> dict[str, int] | None:
    """Ids by token; None where the folder has no `tokenizer.json` of a known form."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content.get("model", {}).get("vocab")
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: i for i, entry in enumerate(vocabulary)}
    if not isinstance(vocabulary, dict):
        return None
    return {**vocabulary, **{t["content"]: t["id"] for t in content.get("added_tokens", [])}}
