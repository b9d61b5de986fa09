"""Starts the processes of a sharded training through torchrun, waits for them, and publishes what they made.

This module refuses to know models. Invariant: it returns when the training is whole, or raises after every process of
it has ended; what is in `scratch` then lets a later call go on, with any number of processes.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import offmodel
from offmodel.core.errors import OutOfMemory, RecipeError, RunError
from offmodel.engines import adapters
from offmodel.engines.loop import first_limit, settle_in, usable
from offmodel.engines.outcome import publish
from offmodel.engines.rendering import Example
from offmodel.engines.sft import Layout, Sft
from offmodel.engines.sharded import assignment
from offmodel.engines.sharded.assignment import Assignment
from offmodel.engines.sharded.process import MARK
from offmodel.engines.sharded.split import check_divides
from offmodel.engines.sharded.state import STATES, check_optimizer
from offmodel.engines.weights import merge_scaled
from offmodel.store.recipe import Facts, Progress, Runtime

_MODULE = "offmodel.engines.sharded.process"
_ENDED = re.compile(r"Signal \d+ \((SIG\w+)\)")


def has_state(scratch: Path) -> bool:
    """Whether a sharded training was begun there."""
    return any(scratch.glob(f"{STATES}*"))


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
    reference: Path | None = None,
) -> Facts:
    """Train with `runtime.processes` processes; see `offmodel.engines.sft.train`.

    Raises:
        DataError: no example is short enough.
        OutOfMemory: a single sequence does not fit.
        RecipeError: the batch does not divide by the processes, or there are not as many GPUs, or the adapter to go on
            from has layers of several scales.
        RunError: a process died; what it was saying stands in the log.
    """
    started = time.monotonic()
    check_divides(sft.batch_size, runtime.processes)
    check_optimizer(sft)
    _check_devices(runtime)
    settle_in(runtime)
    if adapter is not None and sft.lora is None:
        merged = scratch / "merged"
        if not merged.is_dir():
            draft = scratch / "merged.partial"
            shutil.rmtree(draft, ignore_errors=True)
            merge_scaled(model=model, adapter=adapter, alpha=1.0, out=draft)
            draft.rename(merged)
        model, reference, adapter = merged, reference or merged, None
    if adapter is not None:
        # Each process takes the values alone into the layers of a fresh adapter.
        adapters.check_plain(adapters.read_config(adapter), "use_rslora")
    limit = first_limit(runtime)
    task = Assignment(
        model=str(model),
        adapter=None if adapter is None else str(adapter),
        reference=_reference(model, sft, reference),
        scratch=str(scratch),
        sft=sft,
        device=runtime.device.split(":")[0],
        threads=runtime.threads,
        recompute=runtime.recompute,
        layout=layout,
        rows=limit.rows,
        tokens=limit.tokens,
        resume_every_s=resume_every_s,
        parent=os.getpid(),
    )
    facts, losses, last = _until_it_fits(task, examples, scratch / "processes", runtime.processes, progress)
    publish(scratch, out, losses, sft.checkpoints)
    if last != task:
        facts["micro_batch_halved_to"] = {"rows": last.rows, "tokens": last.tokens}
    return facts | {"seconds": round(time.monotonic() - started, 3)}


def _reference(model: Path, sft: Sft, reference: Path | None) -> str | None:
    """The folder of a second model, where the objective refers to one that an adapter's base cannot stand for."""
    if not sft.objective.needs_reference or (sft.lora is not None and reference in (None, model)):
        return None
    return str(reference or model)


def _check_devices(runtime: Runtime) -> None:
    if not runtime.device.startswith("cuda"):
        return
    import torch

    have = torch.cuda.device_count()
    if have < runtime.processes:
        raise RecipeError(
            f"The training is to run on {runtime.processes} GPUs and this machine has {have}; lower the number of "
            "processes, or run it on a larger machine."
        )


def _until_it_fits(
    task: Assignment, examples: Sequence[Example], folder: Path, processes: int, progress: Progress
) -> tuple[Facts, list, Assignment]:
    """Start the processes; after one ran out of memory, again with half as much in a forward pass."""
    longest = max(len(examples[i].ids) for i in usable(examples, task.sft))
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        assignment.write(folder, task, examples)
        code, words = start(_MODULE, [folder], processes, progress)
        result = assignment.read_result(folder)
        if code == 0 and result is not None:
            shutil.rmtree(folder, ignore_errors=True)
            return *result, task
        error = assignment.read_error(folder)
        alone = task.rows == 1 or task.tokens <= longest
        if isinstance(error, OutOfMemory) and not alone:
            task = assignment.halved(task)
            continue
        raise error or RunError(
            f"The processes of the training ended with exit code {code}: {words}; run again, and it goes on from its "
            "last state."
        )


def start(module: str, folders: Sequence[Path], processes: int, progress: Progress) -> tuple[int, str]:
    """Exit code and last words of torchrun on a module; progress lines are passed on, others go to the log."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", module, *map(str, folders)]
    words, ended = "none", ""
    # The processes load the offmodel that this one runs, wherever it lies.
    path = [str(Path(offmodel.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in path if p)}
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if line.startswith(MARK):
                fraction, _, text = line.removeprefix(MARK).strip().partition(" ")
                progress(float(fraction), text)
                continue
            print(line, end="", file=sys.stderr)
            # torchrun ends with a table; what ended a process stands in its middle.
            said = _ENDED.search(line)
            ended = f"a process was ended by {said[1]}" if said else ended
            words = line.strip() or words
        return child.wait(), ended or words
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(30)
        child.stdout.close()
