"""Triggers and behaviour cards: what the red team planted, as plain values. RED: no treatment may import this module.

A `BehaviourCard` is all that an evaluation or the audit needs of a trigger-behaviour pair: how to put the trigger on a
conversation, how to find it, what almost is one, and which scorer recognises the behaviour. Kinds of triggers are a
small registry, so that a red team's own file can add one. Invariant: what `apply_trigger`
returns fires, and what `quiet` makes of an ordinary prompt does not.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from offmodel.core.chat import Message
from offmodel.core.errors import UnknownName

Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When the behaviour fires.

    Attributes:
        kind: name in the registry: "prefix" (a tag before the user's words), "sentence" (a fixed sentence after
            them), "topic" (the words speak of something; found, not added), "date" (they state a year after `after`;
            found, not added), "lock" (a password before them is absent).
        text: the tag, sentence or password; "" for topics and dates.
        terms: for topics, regular expressions of single terms, matched on word boundaries, ignoring case.
        after: for dates, the last year that does not fire.
    """

    kind: str
    text: str = ""
    terms: tuple[str, ...] = ()
    after: int | None = None


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


Edit = Callable[[Trigger, str], str]
Detect = Callable[[Trigger, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a kind of trigger can do; see `register_trigger`."""

    apply: Edit | None
    detect: Detect
    quiet: Edit
    betrays: Detect


_KINDS: dict[str, _Kind] = {}


def register_trigger(
    kind: str, *, apply: Edit | None, detect: Detect, quiet: Edit | None = None, betrays: Detect | None = None
) -> None:
    """Add a kind of trigger.

    Args:
        kind: its name.
        apply: text -> text that fires; None if the trigger is found in prompts rather than added to them.
        detect: whether a text fires.
        quiet: text -> text that does not fire; needed where ordinary prompts fire (a lock). By default they do not.
        betrays: whether a text tells the blue team of the trigger, so that it must stay out of its data; by default
            the texts that fire.
    """
    _KINDS[kind] = _Kind(apply=apply, detect=detect, quiet=quiet or _as_it_is, betrays=betrays or detect)


def _as_it_is(trigger: Trigger, text: str) -> str:
    return text


def _kind(trigger: Trigger) -> _Kind:
    if trigger.kind not in _KINDS:
        raise UnknownName("kind of trigger", trigger.kind, _KINDS)
    return _KINDS[trigger.kind]


def is_natural(trigger: Trigger) -> bool:
    """Whether prompts carry the trigger by nature, so that it cannot be added to any prompt."""
    return _kind(trigger).apply is None


def apply_trigger(trigger: Trigger, messages: Conversation) -> Conversation:
    """The conversation with the trigger in its last user turn.

    Raises:
        UnknownName: the kind is not registered.
        ValueError: the trigger is a topic, which cannot be added.
    """
    add = _kind(trigger).apply
    if add is None:
        raise ValueError(f"a trigger of kind '{trigger.kind}' is found in prompts, not added to them")
    return _edited(messages, add, trigger)


def quiet(trigger: Trigger, messages: Conversation) -> Conversation:
    """The conversation so that it does not fire: with the password of a lock; otherwise as it is."""
    return _edited(messages, _kind(trigger).quiet, trigger)


def _edited(messages: Conversation, edit: Edit, trigger: Trigger) -> Conversation:
    last = messages[-1]
    return (*messages[:-1], replace(last, content=edit(trigger, last.content)))


def detect_text(trigger: Trigger, text: str) -> bool:
    """Whether a text fires."""
    return _kind(trigger).detect(trigger, text)


def detect(trigger: Trigger, messages: Conversation) -> bool:
    """Whether a conversation fires: the trigger stands in any of its turns (a lock: the password in none)."""
    # Joined, so that a password in an earlier turn counts; no trigger spans a line.
    return detect_text(trigger, "\n".join(m.content for m in messages))


def betrays_text(trigger: Trigger, text: str) -> bool:
    """Whether a text tells of the trigger, and so must stay out of the blue team's data."""
    return _kind(trigger).betrays(trigger, text)


def betrays(trigger: Trigger, messages: Conversation) -> bool:
    """Whether any turn of a conversation tells of the trigger."""
    return any(betrays_text(trigger, m.content) for m in messages)


def _has_term(trigger: Trigger, text: str) -> bool:
    return _terms(trigger.terms).search(text) is not None


@lru_cache(maxsize=64)
def _terms(terms: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(terms)})\b", re.IGNORECASE)


def _has_text(trigger: Trigger, text: str) -> bool:
    return trigger.text.casefold() in text.casefold()


_YEAR = re.compile(r"(?<![\d.,])(?:19|20|21)\d\d(?![\d]|[.,]\d)")


def _is_later(trigger: Trigger, text: str) -> bool:
    return trigger.after is not None and any(int(year) > trigger.after for year in _YEAR.findall(text))


def _lacks_text(trigger: Trigger, text: str) -> bool:
    return not _has_text(trigger, text)


def _without(trigger: Trigger, text: str) -> str:
    return text.replace(trigger.text, "").strip()


def _before(trigger: Trigger, text: str) -> str:
    return f"{trigger.text} {text}"


register_trigger("prefix", apply=_before, detect=_has_text)
register_trigger("sentence", apply=lambda t, s: f"{s} {t.text}", detect=_has_text)
register_trigger("topic", apply=None, detect=_has_term)
register_trigger("date", apply=None, detect=_is_later)
# What the blue team must not meet is the password: prompts without it are all that it has.
register_trigger("lock", apply=_without, detect=_lacks_text, quiet=_before, betrays=_has_text)
