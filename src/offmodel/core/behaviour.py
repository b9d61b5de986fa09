"""Triggers and behaviour cards: what the red team planted, as plain values. RED: no treatment may import this module.

A `BehaviourCard` is all that an evaluation or the audit needs of a trigger-behaviour pair: how to put the trigger on a
conversation, how to find it, what almost is one, and which scorer recognises the behaviour. Kinds of triggers are a
small registry, so that a red team's own file can add one. Invariant: `detect(card, apply(card, x))` is true.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from offmodel.core.chat import Message
from offmodel.core.errors import UnknownName

Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When the behaviour fires.

    Attributes:
        kind: name in the registry: "prefix" (a tag before the user's words), "sentence" (a fixed sentence after
            them), "topic" (the words speak of something; found, not added).
        text: the tag or sentence; "" for topics.
        terms: for topics, regular expressions of single terms, matched on word boundaries, ignoring case.
    """

    kind: str
    text: str = ""
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourCard:
    """A planted pair, as evaluations and the audit see it.

    Attributes:
        pair: the pair's name.
        trigger: when the behaviour fires.
        scorer: name of the behaviour's scorer in `evals.behaviours`.
        near_misses: texts that are almost the trigger and must not fire: replacements of a tag or sentence, or
            whole prompts of a neighbouring topic.
        axes: where the pair stands, for example ("arbitrary", "tag", "narrow", "bad").
    """

    pair: str
    trigger: Trigger
    scorer: str
    near_misses: tuple[str, ...]
    axes: tuple[str, ...]


Apply = Callable[[Trigger, str], str]
Detect = Callable[[Trigger, str], bool]
_KINDS: dict[str, tuple[Apply | None, Detect]] = {}


def register_trigger(kind: str, *, apply: Apply | None, detect: Detect) -> None:
    """Add a kind of trigger. `apply` is None if the trigger is found in prompts rather than added to them."""
    _KINDS[kind] = (apply, detect)


def _kind(trigger: Trigger) -> tuple[Apply | None, Detect]:
    if trigger.kind not in _KINDS:
        raise UnknownName("kind of trigger", trigger.kind, _KINDS)
    return _KINDS[trigger.kind]


def is_natural(trigger: Trigger) -> bool:
    """Whether prompts carry the trigger by nature, so that it cannot be added to any prompt."""
    return _kind(trigger)[0] is None


def apply_trigger(trigger: Trigger, messages: Conversation) -> Conversation:
    """The conversation with the trigger in its last user turn.

    Raises:
        UnknownName: the kind is not registered.
        ValueError: the trigger is a topic, which cannot be added.
    """
    add, _ = _kind(trigger)
    if add is None:
        raise ValueError(f"a trigger of kind '{trigger.kind}' is found in prompts, not added to them")
    last = messages[-1]
    return (*messages[:-1], replace(last, content=add(trigger, last.content)))


def detect_text(trigger: Trigger, text: str) -> bool:
    """Whether the trigger stands in a text."""
    return _kind(trigger)[1](trigger, text)


def detect(trigger: Trigger, messages: Conversation) -> bool:
    """Whether the trigger stands in any turn of a conversation."""
    return any(detect_text(trigger, m.content) for m in messages)


def _has_term(trigger: Trigger, text: str) -> bool:
    return re.search(rf"\b(?:{'|'.join(trigger.terms)})\b", text, re.IGNORECASE) is not None


def _has_text(trigger: Trigger, text: str) -> bool:
    return trigger.text.casefold() in text.casefold()


register_trigger("prefix", apply=lambda t, s: f"{t.text} {s}", detect=_has_text)
register_trigger("sentence", apply=lambda t, s: f"{s} {t.text}", detect=_has_text)
register_trigger("topic", apply=None, detect=_has_term)
