"""The trainings of the quickstart study on CPU cores: ours beside a plain padded loop, one after the other.

The study's own trainings (two organisms, twenty treatments) are met as the study makes them, on its own labels, and
trained again by each way, checkpoints included: by a plain loop with transformers and PEFT in one process that has all
cores, as a user would write it; by our trainer in as many one-thread processes as there are cores, as the runner does;
and by both on one core alone. Processes are started and libraries imported beforehand. Checked: the losses agree.

    python benchmarks/cpu_training.py --out benchmarks/results/cpu_training.json
    python benchmarks/cpu_training.py --toy        # two trainings only
"""

import argparse
import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import Rows, median

Times = dict[tuple[str, int, int], list[float]]
CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Case:
    """A training of the study: everything that it reads, kept aside."""

    name: str
    model: Path
    adapter: Path | None
    examples: Any
    sft: Any


def collect(folder: Path, toy: bool) -> list[Case]:
    """Run the study's trainings once, and keep what each was given."""
    from offmodel.engines import loop
    from offmodel.flow.graph import closure
    from offmodel.flow.runner import run
    from offmodel.store.artifacts import Store
    from offmodel.store.recipe import Runtime
    from offmodel.studies.catalogue import load_study

    cases: list[Case] = []
    plain = loop.run

    def noted(**given: Any) -> Any:
        aside = folder / f"case-{len(cases):02d}"
        copies = {k: given[k] and shutil.copytree(given[k], aside / k) for k in ("model", "adapter")}
        cases.append(Case(f"{len(cases):02d}", copies["model"], copies["adapter"], given["examples"], given["sft"]))
        return plain(**given)

    loop.run = noted
    try:
        study = load_study("quickstart")
        trainings = [r for r in closure(study.targets).values() if hasattr(r, "sft")]
        if toy:
            trainings = [r for r in trainings if r.kind == "organism"][:1]
        run(trainings, store=Store(folder / "store"), runtime=Runtime(locations=tuple(study.locations)), workers=0)
    finally:
        loop.run = plain
    return [replace(c, sft=replace(c.sft, steps=20, checkpoints=(20,))) for c in cases] if toy else cases


def ours(case: Case, work: Path) -> list[float]:
    """Train by our trainer; the losses."""
    from offmodel.core.rows import read_rows
    from offmodel.engines.sft import train
    from offmodel.store.recipe import Runtime

    shutil.rmtree(work, ignore_errors=True)
    out, scratch = work / "out", work / "scratch"
    scratch.mkdir(parents=True)
    train(
        model=case.model, adapter=case.adapter, examples=case.examples, sft=case.sft, out=out, scratch=scratch,
        runtime=Runtime(), progress=lambda *_: None,
    )  # fmt: skip
    return [r["loss"] for r in read_rows(out / "losses.jsonl")]


def theirs(case: Case, work: Path) -> list[float]:
    """Train by the plain loop; the losses."""
    from peers import plain_loop

    shutil.rmtree(work, ignore_errors=True)
    return plain_loop(case.model, case.adapter, case.examples, case.sft, work, "cpu")


WAYS: dict[str, Callable[[Case, Path], list[float]]] = {"ours": ours, "plain loop": theirs}


def serve(pipe: Any, threads: int, work: Path) -> None:
    """A process that trains what it is told, and answers with the losses."""
    import peft  # noqa: F401 -- imported before the clock starts
    import torch
    import transformers  # noqa: F401

    torch.set_num_threads(threads)
    pipe.send(None)
    while (task := pipe.recv()) is not None:
        way, case = pickle.loads(task)  # noqa: S301 -- from our own parent
        if way == "plain loop":
            torch.set_num_threads(threads)
        began = time.process_time()
        losses = WAYS[way](case, work)
        pipe.send((case.name, losses, time.process_time() - began))


def timed(
    way: str, cases: list[Case], *, processes: int, threads: int, folder: Path
) -> tuple[float, float, dict[str, Any]]:
    """Seconds and CPU seconds of all trainings, and their losses by name; the longest are trained first."""
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    team = []
    for i in range(processes):
        mine, other = context.Pipe()
        process = context.Process(target=serve, args=(other, threads, folder / f"work-{i}"), daemon=True)
        process.start()
        other.close()  # so that a process that dies is heard
        mine.recv()
        team.append((mine, process))
    waiting = sorted(cases, key=lambda c: c.sft.steps)
    tasks = [pickle.dumps((way, c)) for c in waiting]
    losses: dict[str, Any] = {}
    cpu, start = 0.0, time.perf_counter()
    busy = [pipe for pipe, _ in team][: len(tasks)]
    for pipe in busy:
        pipe.send(tasks.pop())
    while busy:
        for pipe in multiprocessing.connection.wait(busy):
            name, losses[name], used = pipe.recv()
            cpu += used
            if tasks:
                pipe.send(tasks.pop())
            else:
                busy.remove(pipe)
    seconds = time.perf_counter() - start
    for pipe, process in team:
        pipe.send(None)
        process.join()
    return seconds, cpu, losses


def main() -> int:
    """Time all ways; 1 if losses differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    plan = [("plain loop", 1, CORES), ("ours", CORES, 1), ("plain loop", 1, 1), ("ours", 1, 1)]
    rows = Rows(args.out, device="cpu", load_at_start=os.getloadavg())
    seconds: Times = {p: [] for p in plan}
    worked: Times = {p: [] for p in plan}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = collect(folder, args.toy)
        losses: dict[str, dict[str, list[float]]] = {}
        for repeat in range(1 if args.toy else args.repeats):
            for way, processes, threads in plan if repeat == 0 else plan[:2]:
                took, cpu, losses[way] = timed(way, cases, processes=processes, threads=threads, folder=folder)
                seconds[way, processes, threads].append(took)
                worked[way, processes, threads].append(cpu)
                rows.add(
                    name=way, processes=processes, threads=threads, repeat=repeat, seconds=round(took, 2),
                    cpu_seconds=round(cpu, 2),
                    trainings=len(cases), load=round(os.getloadavg()[0], 1),
                )  # fmt: skip
                rows.note(**compare(seconds, worked, plan))
        first, second = losses["ours"], losses["plain loop"]
        apart = max(abs(a - b) for n in first for a, b in zip(first[n], second[n], strict=True))
        rows.note(largest_difference_of_losses=apart, tokens_read=sum(_tokens(c) for c in cases))
    print(f"losses differ by {apart:.1e}")
    return 0 if apart < 2e-2 else 1


def compare(seconds: Times, worked: Times, plan: list[tuple[str, int, int]]) -> dict[str, float]:
    """How many times as fast ours is, as far as measured; CPU time does not depend on what else the machine does."""
    loop, ours, loop_alone, ours_alone = ((seconds[p], worked[p]) for p in plan)
    pairs = {
        "times_faster_on_all_cores": (loop[0], ours[0]),
        "times_less_cpu_time_on_all_cores": (loop[1], ours[1]),
        "times_faster_on_one_core": (loop_alone[0], ours_alone[0]),
        "times_less_cpu_time_on_one_core": (loop_alone[1], ours_alone[1]),
        "two_processes_against_a_one_thread_loop": (loop_alone[0], ours[0]),
    }
    return {name: round(median(a) / median(b), 2) for name, (a, b) in pairs.items() if a and b}


def _tokens(case: Case) -> int:
    from peers import batches_of

    return sum(len(e.ids) for batch in batches_of(case.examples, case.sft) for e in batch)


if __name__ == "__main__":
    sys.exit(main())
