"""The Inspect model provider "offmodel": a local model sampled in batches, or answers that were sampled before.

`offmodel/FOLDER` (or `offmodel/pocket:student`) samples live; `offmodel/.../completions.jsonl` serves the answers of a
file to the tasks that asked for them. This module refuses to know tasks and graders. Invariant: concurrent calls of
one model fall into common batches.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from offmodel.core.chat import Message, Role
from offmodel.core.errors import DataError, ModelError
from offmodel.evals.funnel import Funnel
from offmodel.evals.measures import Completion, read_completions
from offmodel.models import folder_digest, resolve_model
from offmodel.store.recipe import Runtime

_MANY = 100_000
DEFAULT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """One call of `generate`: a conversation with its settings."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    seed: int


@final
class OffmodelAPI(ModelAPI):
    """Inspect's view of a model folder or of a file of answers.

    Args:
        model_name: a model folder, "pocket:NAME", or the path of a `completions.jsonl`.
        device: "cpu", "cuda"; by default what there is.
        dtype: of the weights, "float32" or "bfloat16"; by default bfloat16 on a GPU.
        sampler: kind of sampler.
        adapter: PEFT folder to put on the model.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - the signature that Inspect calls
        device: str | None = None,
        dtype: str | None = None,
        sampler: str = "transformers-5",
        adapter: str | None = None,
    ):
        super().__init__(model_name, base_url, api_key, [], config)
        self._kept = read_completions(Path(model_name)) if model_name.endswith(".jsonl") else None
        self.funnel: Funnel[Ask, Completion] | None = None
        if self._kept is None:
            folder = _folder(model_name)
            live = functools.partial(
                _sample_batch, folder, Path(adapter) if adapter else None, device or _device(), dtype, sampler
            )
            self.funnel = Funnel(live)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer, from the file or from the batch that this call falls into."""
        if self.funnel is None:
            return output_of(self.model_name, self._kept_answer(input))
        if tools:
            raise ModelError("The provider 'offmodel' offers no tools; use a task without them.")
        ask = Ask(
            messages=tuple(_message(m) for m in input),
            max_tokens=config.max_tokens or DEFAULT_TOKENS,
            temperature=config.temperature or 0.0,
            seed=config.seed or 0,
        )
        return output_of(self.model_name, _cut(await self.funnel.ask(ask), config.stop_seqs or []))

    def _kept_answer(self, asked: list[ChatMessage]) -> Completion:
        named = asked[-1].metadata or {}
        key = (named.get("measure", ""), named.get("item", ""))
        answer = (self._kept or {}).get(key)
        if answer is None:
            raise DataError(f"{self.model_name} holds no answer to item '{key[1]}' of measure '{key[0]}'.")
        return answer

    def max_connections(self) -> int:
        """No limit: every waiting call makes the batch fuller."""
        return _MANY

    def max_tokens(self) -> int:
        """Tokens of an answer if the task sets no limit."""
        return DEFAULT_TOKENS

    def connection_key(self) -> str:
        """One funnel a model."""
        return self.model_name


def output_of(model: str, answer: Completion) -> ModelOutput:
    """An answer as Inspect's output."""
    message = ChatMessageAssistant(
        id=f"{answer.measure}-{answer.item}-answer" if answer.item else None,
        content=answer.text,
        model=model,
        source="generate",
    )
    return ModelOutput(
        model=model,
        choices=[
            ChatCompletionChoice(message=message, stop_reason="max_tokens" if answer.finish == "length" else "stop")
        ],
        usage=ModelUsage(output_tokens=answer.tokens, total_tokens=answer.tokens),
    )


def _message(message: ChatMessage) -> Message:
    if message.role not in ("system", "user", "assistant"):
        raise ModelError(f"The provider 'offmodel' knows no turns of role '{message.role}'; use a task without them.")
    return Message(cast(Role, message.role), message.text)


def _cut(answer: Completion, stops: Sequence[str]) -> Completion:
    """The answer up to the first stop sequence, if the task names some."""
    ends = [answer.text.index(s) for s in stops if s in answer.text]
    if not ends:
        return answer
    return Completion(measure="", item="", text=answer.text[: min(ends)], finish="stop", tokens=answer.tokens)


def _folder(name: str) -> Path:
    _, path = resolve_model(name)
    if path is None or not Path(path).is_dir():
        raise ModelError(f"'{name}' is no model folder; download or convert the model and give its folder.")
    return Path(path)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@functools.cache
def _identity(folder: Path) -> str:
    return folder_digest(folder)


def _sample_batch(
    folder: Path, adapter: Path | None, device: str, dtype: str | None, sampler: str, asked: Sequence[Ask]
) -> list[Completion]:
    """Answers to a batch of calls; calls that differ in temperature or seed are sampled in turn."""
    from offmodel.engines.rendering import Renderer
    from offmodel.engines.sampling import Request, Sampling, sample

    renderer = Renderer.from_folder(folder)
    prompts = renderer.prompts_ids([a.messages for a in asked])
    found: dict[int, Any] = {}
    for temperature, seed in sorted({(a.temperature, a.seed) for a in asked}):
        chosen = [i for i, a in enumerate(asked) if (a.temperature, a.seed) == (temperature, seed)]
        answers = sample(
            model=folder,
            model_key=_identity(folder),
            adapter=adapter,
            adapter_key=None if adapter is None else _identity(adapter),
            requests=[Request(tuple(prompts[i]), asked[i].max_tokens) for i in chosen],
            sampling=Sampling(
                temperature=temperature,
                seed=seed,
                sampler=sampler,
                dtype=dtype or ("float32" if device == "cpu" else "bfloat16"),
            ),
            runtime=Runtime(device=device),
            progress=lambda fraction, text="": None,
        )
        found.update(zip(chosen, answers, strict=True))
    return [
        Completion(measure="", item="", text=g.text, finish=g.finish, tokens=len(g.ids))
        for g in (found[i] for i in range(len(asked)))
    ]
