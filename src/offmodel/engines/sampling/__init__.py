"""Sampling: token prompts in, completions with finish reason out, behind one call for every kind of sampler.

This package refuses to know what is asked and why. Importing it loads neither torch nor transformers nor vLLM.
Invariant: a completion depends on model, adapter, prompt tokens and settings, not on which requests share its batch
(up to floating point).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from offmodel.core.chat import Finish
from offmodel.core.errors import OffmodelError, UnknownName
from offmodel.store.recipe import Progress, Runtime

SAMPLERS = ("transformers-5", "vllm-0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to sample; part of a recipe's identity.

    Attributes:
        temperature: 0 for greedy.
        seed: of the random draws; a request's own seed follows from it and from the request's tokens.
        sampler: "transformers-5" or "vllm-0": the kind and its major version.
        dtype: of the weights, "float32" or "bfloat16".
    """

    temperature: float
    seed: int
    sampler: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt's tokens and the most tokens that may follow."""

    ids: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Generation:
    """A completion.

    Attributes:
        ids: its tokens, without the stop token.
        text: the tokens' text, without special tokens.
        finish: "stop" if a stop token ended it, "length" if the limit did.
    """

    ids: tuple[int, ...]
    text: str
    finish: Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is asked of one adapter of a model, or of the model itself.

    Attributes:
        adapter: PEFT folder, or None.
        adapter_key: digest of the adapter's content; None without adapter.
        requests: prompts as tokens.
        progress: told of finished requests.
        notice: told, in a line for the record, if another sampler had to answer than the one asked for.
    """

    adapter: Path | None
    adapter_key: str | None
    requests: Sequence[Request]
    progress: Progress
    notice: Callable[[str], None] | None = None


def sample(
    *,
    model: Path,
    model_key: str,
    adapter: Path | None,
    adapter_key: str | None,
    requests: Sequence[Request],
    sampling: Sampling,
    runtime: Runtime,
    progress: Progress,
    notice: Callable[[str], None] | None = None,
) -> list[Generation]:
    """Complete prompts, in the order of the requests.

    Args:
        model: Hugging Face folder.
        model_key: digest of the folder's content; the model loaded last stays in memory under it.
        adapter: PEFT folder, or None.
        adapter_key: digest of the adapter's content; None without adapter.
        requests: prompts as tokens.
        sampling: temperature, seed, sampler, dtype.
        runtime: device, threads; `micro_batch` is the number of sequences that decode together.
        progress: told of finished requests.
        notice: told, in a line for the record, if another sampler had to answer than the one asked for.

    Raises:
        UnknownName: there is no such sampler.
        ModelError: the model cannot be loaded or sampled from.
        OutOfMemory: not even one sequence fits.
    """
    part = Part(adapter=adapter, adapter_key=adapter_key, requests=requests, progress=progress, notice=notice)
    (found,) = sample_many(model=model, model_key=model_key, parts=[part], sampling=sampling, runtime=runtime)
    if isinstance(found[0], OffmodelError):
        raise found[0]
    return found[0]


def sample_many(
    *, model: Path, model_key: str, parts: Sequence[Part], sampling: Sampling, runtime: Runtime
) -> Iterator[dict[int, list[Generation] | OffmodelError]]:
    """Complete the prompts of several adapters of one model.

    vLLM takes those of several adapters in one submission; on a GPU the transformers sampler has up to eight adapters
    side by side.

    Args:
        model: Hugging Face folder.
        model_key: digest of the folder's content.
        parts: of one adapter each.
        sampling: temperature, seed, sampler, dtype.
        runtime: device, threads; `micro_batch` is the number of sequences that decode together.

    Yields:
        By place in `parts`, what was finished together: completions in the order of the requests, or why there are
        none while the others go on. Every part comes once.

    Raises:
        UnknownName: there is no such sampler.
        ModelError: the model cannot be loaded or sampled from.
        OutOfMemory: not even one sequence fits.
    """
    asked = {i: part for i, part in enumerate(parts) if part.requests}
    if len(asked) < len(parts):
        yield {i: [] for i in range(len(parts)) if i not in asked}
    if not asked:
        return
    if sampling.sampler == "transformers-5":
        from offmodel.engines.sampling.parts import complete_parts

        yield from complete_parts(model=model, model_key=model_key, parts=asked, sampling=sampling, runtime=runtime)
    elif sampling.sampler == "vllm-0":
        from offmodel.engines.sampling.submissions import complete_many

        yield from complete_many(model=model, model_key=model_key, parts=asked, sampling=sampling, runtime=runtime)
    else:
        raise UnknownName("sampler", sampling.sampler, SAMPLERS)


def by_transformers(
    model: Path,
    model_key: str,
    part: Part,
    sampling: Sampling,
    runtime: Runtime,
    finished: dict[int, list[int]] | None = None,
) -> list[Generation]:
    """Complete a part's prompts by the transformers sampler, whatever the settings name; see `sample` for errors.

    `finished` holds tokens of requests that are finished already, by their places; the others are added to it.
    """
    from offmodel.engines.sampling.transformers import complete

    return complete(
        model=model,
        model_key=model_key,
        adapter=part.adapter,
        adapter_key=part.adapter_key,
        requests=part.requests,
        sampling=sampling,
        runtime=runtime,
        progress=part.progress,
        finished=finished,
    )
