"""Checks that a recipe's values fit their annotations, so that each has one canonical form.

Python holds 1, 1.0 and True for equal, but their canonical JSON differs: two equal recipes would have two digests.
So a float field takes floats only, an int field ints only, and an annotation that admits two of them is refused. This
module refuses to know what a field means. Invariant: of two values that pass a field's check and are equal, the
canonical forms are equal.
"""

from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from offmodel.core.errors import RecipeError

_NUMBERS = (bool, int, float)
_OPEN = (Any, object, tuple, list, dict, set)
_SCALARS = (NoneType, bool, int, float, str)


def check_fields(value: Any, where: str, parent: type) -> None:
    """Check every field of a recipe, and of the settings in it, against its annotation.

    Args:
        value: a recipe or a settings dataclass.
        where: how the message calls it.
        parent: the base class of recipes.

    Raises:
        RecipeError: a value does not fit, or an annotation admits values without one canonical form.
    """
    for name, hint in field_hints(type(value), parent).items():
        found = getattr(value, name)
        if not _fits(found, hint):
            problem = f"{where}.{name} is {_show(found)}, but the field takes {_name(hint)}"
            raise RecipeError(f"{problem}; {_mend(found, hint)}")
        _check_settings(found, f"{where}.{name}", parent)


def parent_fields(cls: type, parent: type) -> frozenset[str]:
    """Names of the fields that hold parents, or may hold one (`Recipe | None`), by their annotations."""
    return _parent_fields(cls, parent)


@cache
def _parent_fields(cls: type, parent: type) -> frozenset[str]:
    return frozenset(n for n, hint in field_hints(cls, parent).items() if parent in _kinds(hint, parent))


@cache
def field_hints(cls: type, parent: type) -> dict[str, Any]:
    """The annotations of a dataclass by field name, refused if they admit values without one canonical form."""
    try:
        hints = get_type_hints(cls)
    except NameError as error:
        raise RecipeError(
            f"The annotations of {cls.__name__} name '{error.name}', which its module does not know when it runs; "
            "import it there outside of TYPE_CHECKING."
        ) from error
    found = {f.name: hints[f.name] for f in fields(cls)}
    is_settings = not issubclass(cls, parent)
    for name, hint in found.items():
        _check_hint(hint, f"{cls.__name__}.{name}", parent)
        if is_settings and parent in _kinds(hint, parent):
            raise RecipeError(f"{cls.__name__}.{name} holds a recipe inside settings; make it a field of the recipe.")
    return found


def _check_settings(value: Any, where: str, parent: type) -> None:
    if isinstance(value, tuple):
        for i, v in enumerate(value):
            _check_settings(v, f"{where}[{i}]", parent)
    elif is_dataclass(value) and not isinstance(value, type | parent):
        check_fields(value, where, parent)


def _bare(hint: Any) -> Any:
    while isinstance(hint, NewType):
        hint = hint.__supertype__
    return getattr(hint, "__value__", hint) if type(hint).__name__ == "TypeAliasType" else hint


def _arms(hint: Any) -> tuple[Any, ...]:
    hint = _bare(hint)
    if get_origin(hint) in (Union, UnionType):
        return tuple(leaf for a in get_args(hint) for leaf in _arms(a))
    return (hint,)


def _kinds(hint: Any, parent: type) -> set[type]:
    """The scalar types, and `parent` for recipes, that occur anywhere in an annotation."""
    found: set[type] = set()
    for arm in _arms(hint):
        if get_origin(arm) is tuple:
            found |= {k for a in get_args(arm) if a is not Ellipsis for k in _kinds(a, parent)}
        elif get_origin(arm) is Literal:
            found |= {type(a) for a in get_args(arm)}
        elif isinstance(arm, type):
            found.add(parent if issubclass(arm, parent) else arm)
    return found


def _check_hint(hint: Any, where: str, parent: type, depth: int = 0) -> None:
    arms = _arms(hint)
    numbers = [_kinds(a, parent) & set(_NUMBERS) for a in arms]
    if sum(map(bool, numbers)) > 1 and len(set().union(*numbers)) > 1:
        raise RecipeError(f"{where} takes {_name(hint)}, in which 1, 1.0 and True are equal; allow one kind of number.")
    for arm in arms:
        if get_origin(arm) is tuple:
            inner = [a for a in get_args(arm) if a is not Ellipsis]
            holds = [parent in _kinds(a, parent) for a in inner]
            if any(holds) and (depth or any(_kinds(a, parent) - {parent} for a in inner)):
                raise RecipeError(f"{where} mixes recipes into a tuple of other values; give them their own field.")
            for a in inner:
                _check_hint(a, where, parent, depth + 1)
        elif get_origin(arm) is not Literal and (not isinstance(arm, type) or arm in _OPEN):
            raise RecipeError(
                f"{where} is annotated {_name(arm)}, which has no canonical form; "
                "use None, bool, int, float, str, tuples of them, frozen dataclasses or recipes."
            )


def _fits(value: Any, hint: Any) -> bool:
    hint = _bare(hint)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, a) for a in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(a) and value == a for a in get_args(hint))
    if origin is tuple:
        args = get_args(hint)
        if type(value) is not tuple:
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_fits(v, args[0]) for v in value)
        return len(args) == len(value) and all(map(_fits, value, args))
    return type(value) is hint if hint in _SCALARS else isinstance(value, hint)


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")


def _mend(value: Any, hint: Any) -> str:
    wanted = _arms(hint)
    if type(value) is int and float in wanted:
        return f"write {float(value)!r}."
    if type(value) is float and int in wanted and value.is_integer():
        return f"write {int(value)}."
    if type(value) is bool and (int in wanted or float in wanted):
        return "write a number."
    if isinstance(value, list):
        return "write a tuple."
    return "give a value of that type."
