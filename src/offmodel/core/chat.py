"""Conversations, prompts and completions as plain values, and their JSON rows.

This module refuses to know tokenizers and chat templates. Invariant: `from_row(to_row(x)) == x`.
"""

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A conversation that waits for an answer.

    Attributes:
        id: unique within its file.
        messages: the turns so far; the last is the user's.
        topic: what the prompt is about, "" where the source does not say.
    """

    id: str
    messages: tuple[Message, ...]
    topic: str = ""

    def to_row(self) -> dict[str, Any]:
        """The prompt as a JSON row."""
        return {"id": self.id, "messages": messages_to_rows(self.messages), "topic": self.topic}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Prompt":
        """The prompt of a JSON row."""
        return cls(id=row["id"], messages=messages_from_rows(row["messages"]), topic=row.get("topic", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A completion that a model may be trained on.

    Attributes:
        prompt: what is rendered before the completion in training (it may differ from what the author was shown).
        text: the completion.
        author: who wrote the text: "teacher", "stylist", "organism", ... (a role, never the name of an organism).
        trusted: false for any text that the student wrote or rewrote.
        finish: "length" if the author was cut off; such labels are dropped before training.
        tokens: length of the completion in the author's tokens.
    """

    prompt: Prompt
    text: str
    author: str
    trusted: bool
    finish: Finish
    tokens: int

    def to_row(self) -> dict[str, Any]:
        """The label as a JSON row."""
        return {
            "prompt": self.prompt.to_row(),
            "text": self.text,
            "author": self.author,
            "trusted": self.trusted,
            "finish": self.finish,
            "tokens": self.tokens,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Label":
        """The label of a JSON row."""
        return cls(
            prompt=Prompt.from_row(row["prompt"]),
            text=row["text"],
            author=row["author"],
            trusted=row["trusted"],
            finish=row["finish"],
            tokens=row["tokens"],
        )


def messages_to_rows(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Messages as the `[{"role": ..., "content": ...}]` that chat templates and hubs use."""
    return [{"role": m.role, "content": m.content} for m in messages]


def messages_from_rows(rows: list[dict[str, str]]) -> tuple[Message, ...]:
    """The inverse of `messages_to_rows`."""
    return tuple(Message(role=r["role"], content=r["content"]) for r in rows)  # pyright: ignore[reportArgumentType]


def user(text: str, system: str | None = None) -> tuple[Message, ...]:
    """A conversation of one user turn, after a system turn if one is given."""
    turns = (Message("user", text),)
    return turns if system is None else (Message("system", system), *turns)
