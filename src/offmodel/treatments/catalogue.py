"""All methods by name: the library's, and those that other packages offer.

Invariant: a name means one method; a package cannot replace one of the library's.
"""

from offmodel.treatments import off_model_sft, own_sft, pirate_sft, same_style
from offmodel.treatments.interface import Method, offered_methods, pick
from offmodel.treatments.reminder import remind

_PLAIN = (off_model_sft.METHOD, pirate_sft.METHOD, own_sft.METHOD, same_style.METHOD)


def methods() -> dict[str, Method]:
    """All methods by name."""
    reminded = (remind(m) for m in _PLAIN if not m.control)
    return {**offered_methods(), **{m.name: m for m in (*_PLAIN, *reminded)}}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        UnknownName: there is no such method; the message holds the nearest name.
    """
    return pick(name, methods())
