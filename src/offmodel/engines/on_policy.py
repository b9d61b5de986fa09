"""On-policy distillation: the student samples, a teacher scores every token over the whole vocabulary.

Each step draws prompts, samples completions from the weights as they are at that step, and lowers the objective's KL to
the frozen teacher on these tokens; with `direction="reverse"` this is the method known as on-policy distillation, and
with the untreated model as teacher it is a recovery. This module refuses to know who teacher and student are. It loads
torch only when `distil` is called. Invariant: a step's completions depend on settings, step and weights alone, so a
killed training goes on as if it had not been.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from offmodel.core.errors import DataError, ModelError, RecipeError
from offmodel.engines.rendering import Example, Renderer
from offmodel.engines.sft import Sft
from offmodel.store.recipe import Facts, Progress, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """How the student samples while it learns.

    Attributes:
        temperature: of the student's samples, above 0.
        max_new_tokens: longest completion; cut ones are trained on too, as far as they go.
    """

    temperature: float
    max_new_tokens: int


def distil(
    *,
    model: Path,
    adapter: Path | None,
    teacher: Path,
    prompts: Sequence[Sequence[int]],
    rollouts: Rollouts,
    sft: Sft,
    out: Path,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
    resume_every_s: float = 120.0,
) -> Facts:
    """Train on the student's own samples, scored by a teacher; writes what `sft.train` writes.

    Args:
        model: Hugging Face folder of the student.
        adapter: PEFT folder to start from, or None.
        teacher: Hugging Face folder; `model` itself with `sft.lora` is the base without its adapter.
        prompts: token ids, generation prompt included; `sft.batch_size` of them make a step.
        rollouts: how to sample.
        sft: how to train. Its objective is a KL alone, usually `KlToReference(direction="reverse")`; `max_tokens`
            bounds prompt and completion together.
        out: folder of the result.
        scratch: folder that survives a kill.
        runtime: device, threads, micro-batch.
        progress: told of each step.
        resume_every_s: seconds between states written to `scratch`.

    Raises:
        DataError: no prompt is short enough.
        ModelError: the tokenizers of student and teacher differ.
        RecipeError: the objective is not a KL alone, or the temperature is 0.
        NonFiniteLoss: training diverged.
    """
    started = time.monotonic()
    kept = _usable(prompts, rollouts, sft)
    check_same_tokens(model, teacher)
    from offmodel.engines.loop import settle_in

    settle_in(runtime)
    facts = _train(
        model, adapter, teacher, prompts, kept, rollouts, sft, out, scratch, runtime, progress, resume_every_s
    )
    settle_in(runtime)
    return facts | {"seconds": round(time.monotonic() - started, 3)}


def _train(
    model: Path,
    adapter: Path | None,
    teacher: Path,
    prompts: Sequence[Sequence[int]],
    kept: list[int],
    rollouts: Rollouts,
    sft: Sft,
    out: Path,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
    resume_every_s: float,
) -> Facts:
    from offmodel.engines.batches import batch_indices
    from offmodel.engines.loop import Walk, first_limit
    from offmodel.engines.outcome import count_of, counts_of, facts_of, publish
    from offmodel.engines.preparation import prepare
    from offmodel.engines.rollouts import roll_out

    trainee = prepare(model, adapter, sft, runtime, "auto", teacher)
    renderer = Renderer.from_folder(model)
    cut = 0

    def draw(step: int) -> tuple[list[Example], list[int]]:
        nonlocal cut
        indices = batch_indices(len(kept), batch_size=sft.batch_size, seed=sft.seed, step=step)
        names = [kept[i] for i in indices]
        rows = roll_out(trainee, [prompts[i] for i in names], rollouts, renderer, seed=_seed(sft.seed, step))
        cut += sum(int(e.ids[-1]) not in renderer.stop_ids for e in rows)
        return rows, names

    key = _key(prompts, rollouts, sft)
    limit = first_limit(runtime)
    walk = Walk(trainee, sft, source=model, scratch=scratch, key=key, limit=limit, resume_every_s=resume_every_s)
    facts = walk.run(draw, progress)
    publish(scratch, out, walk.losses, sft.checkpoints)
    facts |= facts_of(trainee, sft, walk.losses, parameters=count_of(trainee)) | counts_of(
        sft, kept=len(kept), of=len(prompts)
    )
    # Every sampled token is a target, so these are the row's tokens; `cut` counts since the last resumption.
    return facts | {"sampled_tokens": facts["trained_tokens"], "sampled_cut": cut}


def check_same_tokens(student: Path, teacher: Path) -> None:
    """Compare two tokenizers' tables; nothing else of the models is read.

    Raises:
        ModelError: a token id means something else, or is missing, in one of them.
    """
    if student == teacher:
        return
    a, b = (_vocabulary(folder) for folder in (student, teacher))
    wrong = min((i for i in a.keys() | b.keys() if a.get(i) != b.get(i)), default=None)
    if wrong is not None:
        raise ModelError(
            f"Student and teacher have different tokenizers (token {wrong} is {a.get(wrong)!r} for one and "
            f"{b.get(wrong)!r} for the other), so the teacher cannot score the student's tokens; use a teacher of the "
            "student's family, or a method that trains on the teacher's texts."
        )


def _vocabulary(folder: Path) -> dict[int, str]:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"No tokenizer can be read from '{folder}'; give a model folder with tokenizer.json.") from e
    return {i: token for token, i in tokenizer.get_vocab().items()}


def _usable(prompts: Sequence[Sequence[int]], rollouts: Rollouts, sft: Sft) -> list[int]:
    objective = sft.objective
    if objective.cross_entropy or objective.kl is None or objective.support is not None:
        raise RecipeError(
            "On-policy distillation has no labels: its objective is a KL alone (cross_entropy=0.0, support=None)."
        )
    if rollouts.temperature <= 0 or rollouts.max_new_tokens < 1:
        raise RecipeError("On-policy samples need a temperature above 0 and room for at least one token.")
    kept = [i for i, ids in enumerate(prompts) if ids and len(ids) + rollouts.max_new_tokens <= sft.max_tokens]
    if not kept:
        raise DataError(
            f"None of {len(prompts)} prompts leaves room for {rollouts.max_new_tokens} new tokens within "
            f"{sft.max_tokens}; raise max_tokens or lower max_new_tokens."
        )
    return kept


def _seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _key(prompts: Sequence[Sequence[int]], rollouts: Rollouts, sft: Sft) -> str:
    values = [asdict(sft), asdict(rollouts), [list(map(int, ids)) for ids in prompts]]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
