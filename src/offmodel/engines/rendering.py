"""Messages to tokens and loss mask, from the model's own chat template.

This module refuses to know what the conversations are about. It writes no template of its own: text and tokens are
those of the tokenizer's `apply_chat_template`, with dates fixed and thinking switched off where the template knows
these. Invariant: a target token belongs to the last assistant turn or is its end-of-turn token; nothing after it is
trained (Qwen writes a newline there), and the tokens before the first target are exactly the prompt's.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, final

import numpy as np

from offmodel.core.chat import Message, messages_to_rows
from offmodel.core.errors import ModelError, RenderingError

Conversation = Sequence[Message]

# Llama-3.1's own default; a template that asks for today's date would change a study's tokens every day.
DATE = "26 Jul 2024"
_BATCH = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One training sequence.

    Attributes:
        ids: int32 [T], the rendered tokens up to the end-of-turn token.
        mask: bool [T], True where the token is a training target.
        weights: float32 [T], how much each target counts; None: all alike.
    """

    ids: np.ndarray
    mask: np.ndarray
    weights: np.ndarray | None = None

    @property
    def targets(self) -> int:
        """Number of target tokens."""
        return int(self.mask.sum())


@final
class Renderer:
    """A tokenizer with its chat template.

    Attributes:
        stop_ids: tokens that end a turn: the template's own first, then those of the model's generation config.
        pad_id: a token for padding; padded positions are never attended to by real ones nor trained.
    """

    def __init__(self, tokenizer: Any, *, stop_ids: Sequence[int] = ()):
        self._tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ModelError(
                f"The model '{tokenizer.name_or_path}' has no chat template; use an instruction-tuned model, or put "
                "its chat_template.jinja into the model folder."
            )
        self._template = _without_clock(tokenizer.get_chat_template())
        self._end_id = self._find_end()
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys([self._end_id, *stop_ids, *eos]))
        self.pad_id: int = self._end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @classmethod
    def from_folder(cls, path: Path) -> "Renderer":
        """The renderer of a model folder; folders whose files are the same, weights apart, share one.

        A real tokenizer takes a second or two to read, and a study's trainings and points all ask for it.

        Raises:
            ModelError: the folder has no readable tokenizer or no chat template.
        """
        key = _content(path)
        found = _READ.pop(key, None) or cls(_tokenizer_of(path), stop_ids=_generation_eos(path))
        while len(_READ) >= _KEPT:
            _READ.pop(next(iter(_READ)), None)
        _READ[key] = found  # the one asked for last stands last
        return found

    def prompt_ids(self, messages: Conversation) -> list[int]:
        """Tokens of a conversation that waits for an answer, generation prompt added."""
        return self.prompts_ids([messages])[0]

    def prompts_ids(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """`prompt_ids` of many conversations, faster than one by one.

        Raises:
            RenderingError: the template refuses a conversation.
        """
        found: list[list[int]] = []
        for start in range(0, len(conversations), _BATCH):
            part = conversations[start : start + _BATCH]
            found += self._encode([self._render(messages_to_rows(tuple(c)), prompt=True) for c in part])
        return found

    def example(self, messages: Conversation, completion: str) -> Example:
        """The training sequence of a prompt and its completion; see `examples`."""
        return self.examples([(messages, completion)])[0]

    def examples(self, pairs: Sequence[tuple[Conversation, str]]) -> list[Example]:
        """The training sequences of (prompt, completion) pairs.

        Raises:
            RenderingError: the prompt is not a token prefix of prompt and completion, or the template refuses it.
        """
        found: list[Example] = []
        for start in range(0, len(pairs), _BATCH):
            part = pairs[start : start + _BATCH]
            whole = self._encode([self._render(_answered(m, text), prompt=False) for m, text in part])
            prompts = self.prompts_ids([m for m, _ in part])
            found += [self._example(p, w, text) for p, w, (_, text) in zip(prompts, whole, part, strict=True)]
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        return self.decode_many([ids])[0]

    def decode_many(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of many token rows, without special tokens."""
        if not rows:
            return []
        return self._tokenizer.batch_decode(
            [list(r) for r in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def encode(self, text: str) -> list[int]:
        """The tokens of a text as it stands, outside of any conversation."""
        return self._encode([text])[0]

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """What each token adds to the text, spaces included; joined they are the whole text."""
        texts, before = [], ""
        for end in range(1, len(ids) + 1):
            whole = self._tokenizer.decode(list(ids[:end]), clean_up_tokenization_spaces=False)
            # Half of a character decodes to a stand-in that the next token replaces.
            kept = before if whole.startswith(before) else before.rstrip("\ufffd")
            texts.append(whole[len(kept) :])
            before = whole
        return texts

    def _example(self, prompt: list[int], whole: list[int], completion: str) -> Example:
        if whole[: len(prompt)] != prompt:
            raise RenderingError(
                "The prompt's tokens are not a prefix of the tokens of prompt and completion "
                f"(completion {completion[:40]!r}); training would teach tokens that sampling never meets. "
                "Use a model whose chat template renders both alike, or change how the completion begins."
            )
        end = len(whole) - 1 - whole[::-1].index(self._end_id) if self._end_id in whole else -1
        if end < len(prompt):
            raise RenderingError(f"The chat template writes no end of turn after the completion {completion[:40]!r}.")
        ids = np.asarray(whole[: end + 1], dtype=np.int32)
        mask = np.zeros(len(ids), dtype=np.bool_)
        mask[len(prompt) :] = True
        return Example(ids, mask)

    def _find_end(self) -> int:
        """The end-of-turn token: the first special token that the template writes after a completion."""
        sentinel = "offmodel"
        text = self._render(_answered((Message("user", "a"),), sentinel), prompt=False)
        _, found, tail = text.rpartition(sentinel)
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        for token in self._encode([tail])[0] if found and tail else ():
            if token in special:
                return token
        raise ModelError(
            f"The chat template of '{self._tokenizer.name_or_path}' writes no special token after an answer, so a "
            "trained model would never stop; use a model whose template ends each turn with one."
        )

    def _render(self, rows: list[dict[str, str]], *, prompt: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                rows,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=prompt,
                date_string=DATE,
                enable_thinking=False,
            )
        except TemplateError as e:
            roles = ", ".join(r["role"] for r in rows)
            raise RenderingError(f"The chat template refuses a conversation of the turns {roles}: {e}") from e

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def _answered(messages: Conversation, completion: str) -> list[dict[str, str]]:
    return [*messages_to_rows(tuple(messages)), {"role": "assistant", "content": completion}]


_READ: dict[str, Renderer] = {}
_KEPT = 4
# Bytes beyond which a file, which is no tokenizer's, is known by its size and time.
_LARGE = 2**26
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


def _content(folder: Path) -> str:
    """A digest of what a tokenizer may be read from: a model folder's files without its weights."""
    digest = hashlib.sha256()
    for pattern in ("*", "additional_chat_templates/*"):
        for file in sorted(p for p in Path(folder).glob(pattern) if p.suffix not in _WEIGHTS and p.is_file()):
            state = file.stat()
            content = file.read_bytes() if state.st_size <= _LARGE else str(state.st_mtime_ns).encode()
            digest.update(f"{file.name} {state.st_size} ".encode() + content)
    return digest.hexdigest()


def _tokenizer_of(path: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"No tokenizer can be read from '{path}'; give a model folder with tokenizer.json.") from e


def _without_clock(template: str) -> str:
    """The template with the clock that some ask for stopped at `DATE`."""
    if "strftime_now" not in template:
        return template
    day = datetime.strptime(DATE, "%d %b %Y")
    parts = "".join(f".replace('%{c}', '{day.strftime('%' + c)}')" for c in "dbBmYyaAjHMS")
    # The empty output at the end keeps a newline that opens the template from being trimmed with the block before it.
    return f"{{% macro strftime_now(form) %}}{{{{ form{parts} }}}}{{% endmacro %}}{{{{ '' }}}}{template}"


def _generation_eos(path: Path) -> tuple[int, ...]:
    file = Path(path) / "generation_config.json"
    if not file.exists():
        return ()
    eos = json.loads(file.read_text()).get("eos_token_id")
    return tuple(eos) if isinstance(eos, list) else (() if eos is None else (eos,))
