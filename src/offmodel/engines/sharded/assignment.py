"""What the processes of one training are told, and what they answer, as files in a folder.

This module refuses to know torch. Invariant: what is written is read back equal; nothing is pickled.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from offmodel.core import errors
from offmodel.engines.objective import KlToReference, LoadBalancing, Objective, TokenSupport
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Lora, Sft
from offmodel.store.recipe import Facts

_TASK, _EXAMPLES, _RESULT, _ERROR = "task.json", "examples.safetensors", "result.json", "error-{}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One training, for several processes.

    Attributes:
        model, adapter, reference: as in `sft.train`, but an adapter is never merged.
        scratch: folder that survives a kill.
        sft: how to train.
        device: "cpu" or "cuda"; each process takes the device of its number.
        threads: CPU threads of each process.
        recompute: activation checkpointing.
        layout: how sequences share a pass.
        rows, tokens: what one forward pass may hold; rows None for no limit.
        resume_every_s: seconds between states.
        parent: id of the process that waits for the result.
    """

    model: str
    adapter: str | None
    reference: str | None
    scratch: str
    sft: Sft
    device: str
    threads: int
    recompute: bool
    layout: str
    rows: int | None
    tokens: int
    resume_every_s: float
    parent: int


def write(folder: Path, task: Assignment, examples: Sequence[Example]) -> None:
    """Write a task and its examples."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _TASK).write_text(json.dumps(asdict(task)))
    weights = [np.ones(len(e.ids), np.float32) if e.weights is None else e.weights for e in examples]
    tensors = {
        "ids": np.concatenate([e.ids for e in examples]),
        "mask": np.concatenate([e.mask for e in examples]).astype(np.uint8),
        "weights": np.concatenate(weights).astype(np.float32),
        "weighted": np.array([e.weights is not None for e in examples], np.uint8),
        "lengths": np.array([len(e.ids) for e in examples], np.int64),
    }
    save_file(tensors, folder / _EXAMPLES)


def read(folder: Path) -> tuple[Assignment, list[Example]]:
    """The inverse of `write`."""
    values: dict[str, Any] = json.loads((folder / _TASK).read_text())
    task = Assignment(**{**values, "sft": _sft(values["sft"])})
    t = load_file(folder / _EXAMPLES)
    cuts = np.cumsum(t["lengths"])[:-1]
    split = [np.split(t[name], cuts) for name in ("ids", "mask", "weights")]
    return task, [
        Example(ids.astype(np.int32), mask.astype(bool), weights if weighted else None)
        for ids, mask, weights, weighted in zip(*split, t["weighted"], strict=True)
    ]


_TERMS = {"kl": KlToReference, "support": TokenSupport, "load_balancing": LoadBalancing}


def _sft(values: dict[str, Any]) -> Sft:
    objective, lora = values["objective"], values["lora"]
    terms = {name: None if objective[name] is None else made(**objective[name]) for name, made in _TERMS.items()}
    return Sft(
        **{
            **values,
            "checkpoints": tuple(values["checkpoints"]),
            "lora": None if lora is None else Lora(**lora),
            "objective": Objective(cross_entropy=objective["cross_entropy"], **terms),
        }
    )


def halved(task: Assignment) -> Assignment:
    """The task with half as much in one forward pass."""
    return replace(task, rows=None if task.rows is None else max(1, task.rows // 2), tokens=max(1, task.tokens // 2))


def write_result(folder: Path, facts: Facts, losses: list[dict[str, Any]]) -> None:
    """For the first process, when all are done."""
    (folder / _RESULT).write_text(json.dumps({"facts": facts, "losses": losses}))


def read_result(folder: Path) -> tuple[Facts, list[dict[str, Any]]] | None:
    """Facts and losses; None where the processes did not come to an end."""
    file = folder / _RESULT
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    return found["facts"], found["losses"]


def write_error(folder: Path, rank: int, error: BaseException) -> None:
    """What went wrong in a process."""
    about = {"type": type(error).__name__, "text": str(error)}
    (folder / _ERROR.format(rank)).write_text(json.dumps(about))


def read_error(folder: Path) -> Exception | None:
    """The deliberate error of any process, else the first other one as it was told; None if none was written."""
    found = [json.loads(f.read_text()) for f in sorted(folder.glob(_ERROR.format("*")))]
    for about in found:
        kind = getattr(errors, about["type"], None)
        if isinstance(kind, type) and issubclass(kind, errors.OffmodelError):
            return kind(about["text"])
    if not found:
        return None
    about, text = found[0]["type"], (found[0]["text"].splitlines() or ["no message"])[0]
    return errors.RunError(
        f"A process of the training failed with {about}: {text} (where a connection broke, another process or its "
        "machine died first); run again, and it goes on from its last state."
    )
