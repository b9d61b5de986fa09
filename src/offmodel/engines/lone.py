"""One LoRA training as a cohort of one, whose passes can be captured.

This module refuses to know what is trained. Invariant: files, losses and states are those of the plain loop, up to the
rounding of floating point.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from offmodel.core.errors import OffmodelError
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Layout, Sft
from offmodel.store.recipe import Facts, Progress, Runtime


def fits(
    model: Path, sft: Sft, runtime: Runtime, layout: Layout, reference: Path | None, adapter: Path | None = None
) -> bool:
    """Whether a training is to be captured and can be: a plain adapter, trained with AdamW against its own base."""
    from offmodel.engines.adapters import read_config, special_settings
    from offmodel.engines.graphs import wanted

    packed = layout in ("auto", "varlen") if runtime.device.startswith("cuda") else layout in ("packed", "varlen")
    return (
        wanted(runtime)
        and packed
        and runtime.processes == 1
        and runtime.micro_batch is None
        and sft.lora is not None
        and sft.lora.targets == "all-linear"
        and sft.optimizer == "adamw"
        and sft.objective.load_balancing is None
        and reference in (None, model)
        and (adapter is None or not special_settings(read_config(adapter), "target_parameters"))
    )


def run(
    *,
    model: Path,
    adapter: Path | None,
    examples: Sequence[Example],
    sft: Sft,
    out: Path,
    scratch: Path,
    runtime: Runtime,
    progress: Progress,
    layout: Layout,
    resume_every_s: float,
) -> Facts:
    """Train; see `offmodel.engines.sft.train`."""
    from offmodel.engines.cohort import Member, train_cohort

    started = time.monotonic()
    member = Member(adapter=adapter, examples=examples, sft=sft, out=out, scratch=scratch, progress=progress)
    done = train_cohort(
        model=model, members=[member], runtime=runtime, layout=layout, resume_every_s=resume_every_s, room=1
    )
    ((_, found),) = list(done)
    if isinstance(found, OffmodelError):
        raise found
    facts = {k: v for k, v in found.items() if k not in ("cohort", "seconds_in_cohort")}
    stepping = {"seconds_stepping": found["seconds_in_cohort"]}
    return facts | stepping | {"seconds": round(time.monotonic() - started, 3)}
