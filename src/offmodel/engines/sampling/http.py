"""Authors behind an OpenAI-compatible endpoint: conversations in, answers out, each kept as it comes.

Retries with back-off, time-outs and rate limits are the official client's; this module adds the limit on requests at
once, the journal that makes a labelling resumable, and one sentence for each way to fail. It refuses to know who asks
and why; the key comes from the environment and is written nowhere. Invariant: an answer that was given is never asked
for again; an empty one is, because nothing was got for it.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from offmodel.core.chat import Finish, Message, messages_to_rows
from offmodel.core.errors import ModelError, RunError
from offmodel.engines.sampling.journal import Journal, answers_folder, open_journal
from offmodel.store.recipe import Progress, Runtime

KEYS = ("OFFMODEL_API_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key, in this order."""
MOST_FAILURES = 5
"""So many requests in a row that fail after all their retries end a labelling: the endpoint is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A model behind an endpoint.

    Attributes:
        url: up to and without "/chat/completions", for example "http://localhost:8000/v1".
        model: the model's name there.
    """

    url: str
    model: str

    def __str__(self) -> str:
        return f"{self.model} at {self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer.

    Attributes:
        text: "" if there was none, or a filter withheld it.
        finish: "length" if it was cut off.
        tokens: its length, as the endpoint counts.
        prompt_tokens: what it was asked, as the endpoint counts.
        served: the model that the endpoint says has answered.
        fingerprint: the endpoint's own mark of its version, "" if it gives none.
    """

    text: str
    finish: Finish
    tokens: int
    prompt_tokens: int
    served: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """What a labelling got.

    Attributes:
        answers: in the order of the conversations.
        facts: how many were asked for, how many were there from an earlier run, retries, who answered.
    """

    answers: tuple[Answer, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """How to ask; part of what tells one answer from another.

    Attributes:
        temperature: 0 for greedy.
        seed: handed to the endpoint, which may heed it.
        max_tokens: longest answer.
    """

    temperature: float
    seed: int
    max_tokens: int


def converse(
    endpoint: Endpoint,
    conversations: Sequence[Sequence[Message]],
    ask: Ask,
    *,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
) -> Dialogue:
    """Answers to conversations.

    Args:
        endpoint: who answers.
        conversations: what is asked; equal ones are asked once.
        ask: temperature, seed, limit.
        scratch: where answers are kept if the environment names no folder.
        runtime: requests at once, time-out, tries.
        progress: told of each answer.

    Raises:
        ModelError: the endpoint refuses the key, the model or a request, or answers emptily to most.
        RunError: requests fail after all retries. Answers that came are kept; the next run asks for the rest.
    """
    keys = [_key(endpoint, c, ask) for c in conversations]
    with open_journal(answers_folder(scratch), _name(endpoint)) as journal:
        waiting = {k: c for k, c in zip(keys, conversations, strict=True) if not _is_there(journal, k)}
        there = len(set(keys)) - len(waiting)
        work = _Work(endpoint, ask, journal, runtime, progress, done=there, total=len(set(keys)))
        asyncio.run(_ask_all(work, waiting))
        answers = tuple(Answer(**journal.known[k]) for k in keys)
    _refuse_emptiness(endpoint, answers)
    facts = {
        "asked": len(waiting),
        "from_earlier_runs": there,
        "retries": work.retries,
        "served_by": sorted({a.served for a in answers}),
        "fingerprints": sorted({a.fingerprint for a in answers if a.fingerprint}),
    }
    return Dialogue(answers=answers, facts=facts)


def check_reachable(endpoint: Endpoint) -> None:
    """Ask the endpoint for its list of models, so that a wrong address or key shows before any work.

    Raises:
        ModelError: nobody answers there, or the key is refused. An endpoint without such a list passes.
    """
    import openai

    try:
        with openai.OpenAI(base_url=endpoint.url, api_key=_secret(), timeout=15.0, max_retries=1) as client:
            client.models.list()
    except (openai.AuthenticationError, openai.PermissionDeniedError, openai.APIConnectionError) as error:
        raise _told(endpoint, error) from None
    except openai.APIError:
        return


@final
@dataclass(slots=True)
class _Work:
    endpoint: Endpoint
    ask: Ask
    journal: Journal
    runtime: Runtime
    progress: Progress
    done: int
    total: int
    retries: int = 0
    failed: int = 0
    in_a_row: int = 0
    # Newer models of some providers take the limit under this other name only.
    limit_name: str = "max_tokens"
    last: Exception | None = field(default=None)


async def _ask_all(work: _Work, waiting: dict[str, Sequence[Message]]) -> None:
    import openai

    if not waiting:
        return
    limit = asyncio.Semaphore(work.runtime.requests)
    work.progress(work.done / work.total, f"{work.done} of {work.total} answered")
    async with openai.AsyncOpenAI(
        base_url=work.endpoint.url,
        api_key=_secret(),
        timeout=work.runtime.request_seconds,
        max_retries=work.runtime.request_tries - 1,
    ) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for key, conversation in waiting.items():
                    group.create_task(_ask_one(client, work, limit, key, conversation))
        except* ModelError as refused:
            raise refused.exceptions[0] from None
        except* _Down:
            pass
    if work.failed:
        raise RunError(
            f"The endpoint {work.endpoint} failed on {work.failed} requests after {work.runtime.request_tries} tries "
            f"each ({_words(work.last)}); the {work.done} answers that came are kept; the next run asks for the rest."
        )


class _Down(Exception):
    pass


async def _ask_one(client: Any, work: _Work, limit: asyncio.Semaphore, key: str, said: Sequence[Message]) -> None:
    import openai

    async with limit:
        try:
            answer = await _request(client, work, said)
        except (openai.APITimeoutError, openai.APIConnectionError, openai.RateLimitError) as error:
            return _note_failure(work, error)
        except openai.InternalServerError as error:
            return _note_failure(work, error)
        except openai.APIError as error:
            raise _told(work.endpoint, error) from None
    work.journal.keep(key, {f: getattr(answer, f) for f in Answer.__slots__})
    work.done, work.in_a_row = work.done + 1, 0
    work.progress(work.done / work.total, f"{work.done} of {work.total} answered")
    return None


def _note_failure(work: _Work, error: Exception) -> None:
    work.failed, work.in_a_row, work.last = work.failed + 1, work.in_a_row + 1, error
    if work.in_a_row >= MOST_FAILURES:
        raise _Down


async def _request(client: Any, work: _Work, said: Sequence[Message]) -> Answer:
    import openai

    ask, name = work.ask, work.limit_name
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=work.endpoint.model,
            messages=messages_to_rows(tuple(said)),
            temperature=ask.temperature,
            seed=ask.seed,
            **{name: ask.max_tokens},
        )
    except openai.BadRequestError as error:
        if name == "max_completion_tokens" or "max_completion_tokens" not in str(error):
            raise
        work.limit_name = "max_completion_tokens"
        return await _request(client, work, said)
    work.retries += raw.retries_taken
    return _answer(work.endpoint, raw.parse())


def _answer(endpoint: Endpoint, reply: Any) -> Answer:
    choices = getattr(reply, "choices", None)
    if choices is None:
        raise ModelError(
            f"{endpoint.url} does not answer as an OpenAI-compatible endpoint does; give the address up to and without "
            "'/chat/completions', which often ends in '/v1'."
        )
    usage, first = getattr(reply, "usage", None), choices[0] if choices else None
    given = first is not None and first.finish_reason in ("stop", "length", None)
    return Answer(
        text=(first.message.content or "") if given and first is not None else "",
        finish="length" if first is not None and first.finish_reason == "length" else "stop",
        tokens=usage.completion_tokens if usage else 0,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        served=reply.model or "",
        fingerprint=getattr(reply, "system_fingerprint", None) or "",
    )


def _is_there(journal: Journal, key: str) -> bool:
    row = journal.known.get(key)
    return row is not None and (bool(row["text"].strip()) or row["finish"] == "length")


def _refuse_emptiness(endpoint: Endpoint, answers: Sequence[Answer]) -> None:
    empty = sum(not a.text.strip() and a.finish == "stop" for a in answers)
    if 2 * empty > len(answers):
        raise ModelError(
            f"{endpoint} answered emptily to {empty} of {len(answers)} prompts; check the model and its chat template. "
            "The other answers are kept, and the next run asks for the empty ones again."
        )


def _told(endpoint: Endpoint, error: Exception) -> ModelError:
    """An error of the client as one sentence with the mend."""
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return ModelError(f"{endpoint.url} refuses the key; set {KEYS[0]} (or {KEYS[1]}) in the environment.")
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"{endpoint.url} does not answer in time; check that the server runs.")
    if isinstance(error, openai.APIConnectionError):
        return ModelError(f"Nobody answers at {endpoint.url}; check the address, and that the server runs.")
    if isinstance(error, openai.NotFoundError):
        return ModelError(f"{endpoint.url} knows no model '{endpoint.model}' ({_words(error)}); check both names.")
    return ModelError(f"{endpoint} refuses a request ({_words(error)}); mend the prompt or the settings that it names.")


def _words(error: Exception | None) -> str:
    """The first line of an error, short, with no key in it (the client's messages quote none)."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _secret() -> str:
    """The key; endpoints on one's own machine often need none, and the client refuses to start without."""
    return next((os.environ[name] for name in KEYS if os.environ.get(name)), "none")


def _name(endpoint: Endpoint) -> str:
    plain = "".join(c if c.isalnum() else "-" for c in endpoint.model)[:40].strip("-") or "model"
    return f"{plain}-{hashlib.sha256(f'{endpoint.url} {endpoint.model}'.encode()).hexdigest()[:12]}"


def _key(endpoint: Endpoint, said: Sequence[Message], ask: Ask) -> str:
    asked = [endpoint.url, endpoint.model, messages_to_rows(tuple(said)), ask.temperature, ask.seed, ask.max_tokens]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()
