"""The graph of recipes: what targets need, in which order, and what of it is missing.

This module refuses to compute and to estimate. Recipes are told apart by digest, because comparing two of them walks
both of their trees. Invariant: in every order given here, parents come before their children.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from offmodel.core.errors import RecipeError, UnknownName
from offmodel.store.artifacts import Store
from offmodel.store.exchange import bring_all
from offmodel.store.recipe import Recipe


def closure(targets: Iterable[Recipe]) -> dict[str, Recipe]:
    """The targets and all that they are made of, by digest, parents first."""
    found: dict[str, Recipe] = {}
    for target in targets:
        _visit(target, found)
    return found


def _visit(target: Recipe, found: dict[str, Recipe]) -> None:
    stack: list[tuple[Recipe, Iterator[Recipe]]] = [(target, iter(target.parents))]
    while stack:
        recipe, parents = stack[-1]
        if recipe.digest in found:
            stack.pop()
            continue
        for parent in parents:
            if parent.digest not in found:
                stack.append((parent, iter(parent.parents)))
                break
        else:
            found[recipe.digest] = recipe
            stack.pop()


def missing(targets: Sequence[Recipe], store: Store, *, whole: Iterable[Recipe] = ()) -> dict[str, Recipe]:
    """What has to be computed so that every target is there, by digest, parents first.

    A record-only target counts as done, unless it is also among `whole`, the targets whose files are wanted too. A
    record-only parent of something that has to be computed does not: its files are needed, unless a shared store has
    them. Parents of what is there are not looked at, so a report needs no organisms.
    """
    bring_all(store, targets)
    wanted: dict[str, Recipe] = {}
    at_hand: set[str] = set()
    stack = [t for t in targets if store.find(t) is None]
    stack += whole
    while stack:
        recipe = stack.pop()
        if recipe.digest in wanted or recipe.digest in at_hand:
            continue
        artifact = store.find(recipe)
        if artifact is not None and store.at_hand(artifact):
            at_hand.add(recipe.digest)
            continue
        wanted[recipe.digest] = recipe
        stack += recipe.parents
    return {d: r for d, r in closure(targets).items() if d in wanted}


def select(targets: Sequence[Recipe], only: Mapping[str, Collection[str]]) -> list[Recipe]:
    """The targets of a slice: those in whose closure every named field takes a value asked for, or does not occur.

    Targets without the field are kept because they are what the others are measured against: with
    `method=pirate_sft`, the scores of the untreated organisms.

    A field is named by the end of its dotted path, such as "seed", "sft.seed" or "treatment.sft.seed", where the
    first part may be the kind of the recipe that holds it.

    Args:
        targets: the targets of a study.
        only: values as texts, by field; any of a field's does.

    Raises:
        UnknownName: no recipe has a field of this name.
        RecipeError: no target has one of the values; the message lists some that occur.
    """
    chosen = list(targets)
    for field, values in only.items():
        chosen = _with_value(chosen, field, values)
    return chosen


def _with_value(targets: Sequence[Recipe], field: str, wanted: Collection[str]) -> list[Recipe]:
    tables = {d: _flat(f".{r.kind}", r) for d, r in closure(targets).items()}
    ending = "." + field
    if not any(path.endswith(ending) for table in tables.values() for path, _ in table):
        names = {path.rsplit(".", 1)[1] for table in tables.values() for path, _ in table}
        raise UnknownName("field", field, names)
    found = [{v for d in closure([t]) for path, v in tables[d] if path.endswith(ending)} for t in targets]
    matches = [{w for w in wanted if any(_equal(v, w) for v in values)} for values in found]
    for value in (w for w in wanted if not any(w in match for match in matches)):
        values = sorted({_text(v) for values in found for v in values})
        some = ", ".join(values[:8]) + (" ..." if len(values) > 8 else "")
        raise RecipeError(f"No target has {field}={value}; values that occur: {some}.")
    return [t for t, match, values in zip(targets, matches, found, strict=True) if match or not values]


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    """(dotted path, plain value) of a recipe's own fields, settings included, parents not."""
    found: list[tuple[str, Any]] = []
    for f in fields(value):
        v, where = getattr(value, f.name), f"{path}.{f.name}"
        for part in v if isinstance(v, tuple) else (v,):
            if isinstance(part, Recipe):
                continue
            if is_dataclass(part):
                found += _flat(where, part)
            elif not isinstance(part, tuple):
                found.append((where, part))
    return found


def _text(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _equal(value: Any, text: str) -> bool:
    if type(value) is float:
        try:
            return float(text) == value
        except ValueError:
            return False
    return _text(value) == text or (isinstance(value, bool | None) and _text(value) == text.lower())
