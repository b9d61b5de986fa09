"""What each process of a sharded training runs: `python -m offmodel.engines.sharded.process FOLDER`, by torchrun.

This module refuses to know who started it. Invariant: it ends when the process that waits for it is gone, so that no
training is left alone on its GPUs.
"""

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from offmodel.core.errors import OutOfMemory
from offmodel.engines import folders, optimizers
from offmodel.engines.batches import Limit
from offmodel.engines.captures import is_memory
from offmodel.engines.forward import weights_of
from offmodel.engines.loop import key_of, usable
from offmodel.engines.outcome import counts_of, facts_of
from offmodel.engines.preparation import check_head, check_routers, frozen_body, settle_both, settle_layout
from offmodel.engines.rendering import Example
from offmodel.engines.sharded.assignment import Assignment, read, write_error, write_result
from offmodel.engines.sharded.model import Whole, build
from offmodel.engines.sharded.state import trained
from offmodel.engines.sharded.walk import ShardedWalk
from offmodel.engines.support import supported
from offmodel.store.recipe import Facts

MARK = "@offmodel "  # begins a line of progress: fraction, then text


def main(folder: Path) -> None:
    """Run one process' part of the task in a folder."""
    task, examples = read(folder)
    threading.Thread(target=_watch, args=(task.parent,), daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        device = _join(task)
        facts, losses = train_part(task, examples, device)
        if rank == 0:
            write_result(folder, facts, losses)
        dist.barrier()
        dist.destroy_process_group()
    except BaseException as error:
        write_error(folder, rank, _named(error))
        raise


def _join(task: Assignment) -> str:
    torch.set_num_threads(task.threads)
    if task.device == "cpu":
        dist.init_process_group("gloo")
        return "cpu"
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=torch.device(device))
    return device


def train_part(task: Assignment, examples: list[Example], device: str) -> tuple[Facts, list[dict[str, Any]]]:
    """This process' part of a training; facts and losses are the same in all processes.

    Args:
        task: what to do.
        examples: all examples.
        device: of this process.
    """
    sft, scratch = task.sft, Path(task.scratch)
    kept = usable(examples, sft)
    mesh = init_device_mesh(device.split(":")[0], (dist.get_world_size(),))
    whole = build(
        Path(task.model),
        sft,
        device=device,
        mesh=mesh,
        adapter=None if task.adapter is None else Path(task.adapter),
        recompute=task.recompute,
        frozen=None if task.reference is None else Path(task.reference),
    )
    limit = Limit(rows=task.rows, tokens=task.tokens)
    _settle(whole, task)
    examples_seen, facts = examples, {}
    if sft.objective.support is not None:
        support = sft.objective.support
        examples_seen = whole.look(lambda body: supported(body, examples, kept, support, limit))
        facts["target_tokens_left_out"] = sum(int((weights_of(examples_seen[i]) == 0).sum()) for i in kept)
    params = list(trained(whole).values())
    optimizer = optimizers.build(params, sft)
    walk = ShardedWalk(
        whole,
        optimizer,
        sft,
        source=Path(task.model),
        scratch=scratch,
        key=key_of(examples, kept, sft),
        limit=limit,
        resume_every_s=task.resume_every_s,
    )
    facts |= walk.run(examples_seen, kept, _tell if dist.get_rank() == 0 else _silent)
    facts |= facts_of(whole.body, sft, walk.losses, parameters=sum(p.numel() for p in params))
    facts |= counts_of(sft, kept=len(kept), of=len(examples))
    return facts | _how(whole, task), walk.losses


def _settle(whole: Whole, task: Assignment) -> None:
    whole.look(lambda body: check_head(body, whole.base))
    if task.sft.objective.load_balancing is not None:
        whole.look(lambda body: check_routers(body, whole.base))
    layout: Any = task.layout
    if whole.frozen is None:
        chosen = whole.look(lambda body: settle_layout(body, whole.base, layout))
    else:
        chosen = whole.look(lambda body: settle_both(body, frozen_body(body, whole.frozen), layout))
    whole.body = replace(whole.body, layout=chosen.layout)


def _how(whole: Whole, task: Assignment) -> Facts:
    base: Any = whole.base
    facts: Facts = {"processes": dist.get_world_size(), "sharding": "fsdp2", "recompute": task.recompute}
    if folders.is_mixture(base):
        facts["experts_implementation"] = getattr(base.config, "_experts_implementation", None)
    return facts


def _tell(fraction: float, text: str = "") -> None:
    print(f"{MARK}{fraction:.6f} {text}", flush=True)


def _silent(fraction: float, text: str = "") -> None:
    return


def _named(error: BaseException) -> BaseException:
    if isinstance(error, RuntimeError) and is_memory(error):
        return OutOfMemory(
            "A forward pass does not fit into the memory of a process even when it holds one sequence; use more "
            "processes, switch on recompute, or lower max_tokens."
        )
    return error


def _watch(parent: int) -> None:
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
