"""Who computes: a team of worker processes, or this process itself.

Both take groups of recipes and give back events. This module refuses to know the graph and the order. Invariant: each
recipe given to a team comes back in exactly one outcome: finished, busy, failed, unfinished or lost.
"""

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, final

from offmodel.core.errors import RecipeError
from offmodel.flow import devices
from offmodel.flow.execution import Busy, Failed, Finished, Outcome, Unfinished, execute
from offmodel.flow.worker import Idle, Told, last_words, thread_settings, work
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Recipe, Runtime

_SECONDS_TO_LEAVE = 5.0
_SECONDS_TO_DIE = 2.0  # after the pipe's end; who is killed while it exits cannot tell why it did


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker died before it was done with a recipe; `memory` if it may be that the system had none left for it."""

    digest: str
    how: str
    memory: bool


Event = Outcome | Told | Lost


class Team(Protocol):
    """Takes groups of recipes, gives events."""

    def free(self) -> int:
        """How many groups could be given now."""
        ...

    def give(self, recipes: Sequence[Recipe]) -> None:
        """Start computing a group."""
        ...

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened; waits for it at most `timeout` seconds."""
        ...

    def close(self) -> None:
        """Stop at once, work in progress included."""
        ...


@final
class Inline:
    """Computes in this process, one group at a time: for tests and debuggers."""

    def __init__(self, store: Store, runtime: Runtime):
        self._store, self._runtime = store, runtime
        self._given: Sequence[Recipe] = ()

    def free(self) -> int:
        return 0 if self._given else 1

    def give(self, recipes: Sequence[Recipe]) -> None:
        self._given = recipes

    def events(self, timeout: float) -> Iterator[Event]:
        if not self._given:
            time.sleep(timeout)
            return
        yield from execute(self._store, self._given, self._runtime, lambda _: lambda fraction, text="": None)
        self._given = ()

    def close(self) -> None:
        self._given = ()


@dataclass(slots=True, kw_only=True)
class _Member:
    process: BaseProcess
    pipe: Connection
    log: Path
    gpu: str | None
    tasks: set[str] = field(default_factory=set)
    idle: bool = True


@final
class Processes:
    """Persistent worker processes; one that dies is replaced when there is work for it.

    Several workers on "cuda" are dealt out to the GPUs there are: each sees one alone, and its neighbours on it if
    there are more workers than GPUs. "cuda:N", and trainings on several GPUs, take what they name.

    Args:
        store: where results go.
        runtime: device, threads and such of each worker.
        workers: how many.
    """

    def __init__(self, store: Store, runtime: Runtime, workers: int):
        self._store, self._runtime, self._size = store, runtime, workers
        self._gpus = devices.gpus() if runtime.device == "cuda" and runtime.processes == 1 and workers > 1 else ()
        self._members: list[_Member] = []
        self._early: list[Event] = []
        self._started = 0

    def free(self) -> int:
        return sum(m.idle for m in self._members) + self._size - len(self._members)

    def give(self, recipes: Sequence[Recipe]) -> None:
        try:
            parcel = pickle.dumps(list(recipes), protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            problem = RecipeError(
                f"{type(recipes[0]).__name__} cannot be sent to a worker ({error}); define it at the top of a module."
            )
            self._early += [Failed(r.digest, problem) for r in recipes]
            return
        member = next((m for m in self._members if m.idle), None) or self._hire()
        member.tasks, member.idle = {r.digest for r in recipes}, False
        try:
            member.pipe.send([r.digest for r in recipes])
            member.pipe.send_bytes(parcel)
        except OSError:  # it has died; events() notices, and reports the tasks as lost
            return

    def events(self, timeout: float) -> Iterator[Event]:
        yield from self._early
        timeout, self._early = (0.0 if self._early else timeout), []
        if not self._members:
            time.sleep(timeout)
            return
        spoken = wait([m.pipe for m in self._members], timeout)
        for member in [m for m in self._members if m.pipe in spoken]:
            yield from self._hear(member)

    def close(self) -> None:
        for m in self._members:
            m.pipe.close()
            if not m.idle:
                m.process.terminate()
        end = time.monotonic() + _SECONDS_TO_LEAVE
        for m in self._members:
            m.process.join(max(0.0, end - time.monotonic()))
            if m.process.is_alive():
                m.process.kill()
                m.process.join()
            m.process.close()
            if m.log.is_file() and not m.log.stat().st_size:
                m.log.unlink()
        self._members = []

    def _hear(self, member: _Member) -> Iterator[Event]:
        try:
            while member.pipe.poll():
                message = member.pipe.recv()
                if isinstance(message, Idle):
                    member.idle = True
                    continue
                if isinstance(message, Finished | Busy | Failed | Unfinished):
                    member.tasks.discard(message.digest)
                yield message
        except (EOFError, OSError, pickle.UnpicklingError):  # the last: it died in the middle of a message
            yield from self._bury(member)

    def _bury(self, member: _Member) -> Iterator[Event]:
        self._members.remove(member)
        member.pipe.close()
        member.process.join(_SECONDS_TO_DIE)
        stuck = member.process.is_alive()
        if stuck:
            member.process.kill()
            member.process.join()
        code = member.process.exitcode or 0
        member.process.close()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if stuck:
            how = "closed its pipe and did not end"
        words = last_words(member.log)
        for digest in sorted(member.tasks):
            memory = code == -signal.SIGKILL and not stuck
            yield Lost(digest, f"{how}; its last words: {words}" if words else how, memory)

    def _least_used(self) -> str | None:
        """The GPU that the fewest of the workers see; None if there is nothing to deal out."""
        taken = [m.gpu for m in self._members]
        return min(self._gpus, key=taken.count) if self._gpus else None

    def _hire(self) -> _Member:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        folder = self._store.root / "logs"
        folder.mkdir(exist_ok=True)
        self._started += 1
        log = folder / f"worker-{os.getpid()}-{self._runtime.device.replace(':', '')}-{self._started}.log"
        process = context.Process(
            target=work, args=(theirs, self._store.address, self._runtime, os.getpid(), str(log)), name=log.stem
        )
        gpu = self._least_used()
        settings = thread_settings(self._runtime.threads) | ({} if gpu is None else devices.hides(gpu))
        with _environment(settings):
            process.start()
        theirs.close()
        member = _Member(process=process, pipe=ours, log=log, gpu=gpu)
        self._members.append(member)
        return member


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set variables while a child process is started: it inherits them before it imports anything."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
