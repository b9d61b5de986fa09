"""The runner: computes what is missing of some targets, parents first, with a team of workers.

It gives work to whoever is free, the longest chain first, and keeps the books; all computing happens in the team. This
module refuses to know what recipes do. Invariant: when `run` returns, every target is in the store, with its files if
they were wanted; when it raises, everything that could be finished is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from offmodel.core.errors import StoreError
from offmodel.flow.agenda import Agenda
from offmodel.flow.board import Board
from offmodel.flow.execution import Busy, Failed, Finished, Unfinished
from offmodel.flow.graph import closure, missing
from offmodel.flow.plan import Typical, chains, estimate
from offmodel.flow.progress import Silent, Watch
from offmodel.flow.team import Event, Inline, Lost, Processes, Team
from offmodel.flow.worker import Told
from offmodel.store.artifacts import Artifact, Store
from offmodel.store.exchange import share_left
from offmodel.store.recipe import Recipe, Runtime
from offmodel.store.turns import is_free
from offmodel.store.workspace import tidy

_TICK = 0.5
_SECONDS_BETWEEN_LOOKS = 0.3
_SECONDS_BETWEEN_REMOTE_LOOKS = 3.0
_UNKNOWN_SECONDS = 1.0  # so that among kinds of unknown cost the longer chain still goes first


Finish = Callable[[Artifact], None]
"""Is told of a finished artifact."""
Hire = Callable[[Runtime], Team]
"""Makes a team for a runtime: who computes, if not processes of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run did.

    Attributes:
        artifacts: the targets' artifacts, in the targets' order.
        computed: how many recipes this run computed.
        shared: how many another run computed meanwhile.
        present: how many recipes of the closure needed no computing.
        seconds: wall time.
    """

    artifacts: tuple[Artifact, ...]
    computed: int
    shared: int
    present: int
    seconds: float


def run(
    targets: Sequence[Recipe],
    *,
    store: Store,
    runtime: Runtime,
    workers: int,
    whole: Sequence[Recipe] = (),
    beside: int = 0,
    typical: Typical | None = None,
    watch: Watch | None = None,
    finished: Finish | None = None,
    teams: Hire | None = None,
) -> Ran:
    """Compute what is missing of the targets.

    Args:
        targets: the recipes whose artifacts are wanted.
        store: where results are and go; other runs may use it at the same time, and the work is shared.
        runtime: device, threads and such of each worker.
        workers: processes that compute at once; 0 computes in this process.
        whole: the targets of which all files are wanted: one that is record-only is computed again.
        beside: further processes, on the CPU, for recipes that need no device; 0 gives the workers these too.
        typical: costs of kinds that the store has not measured, for the time remaining and the order.
        watch: shows progress; None shows nothing.
        finished: told of every artifact as it is finished, by this run or another.
        teams: makes a team that computes in place of this machine's processes, such as a cluster.

    Raises:
        OffmodelError: recipes failed; what does not need them was finished first. The first error is raised, with the
            others as its notes.
    """
    todo = missing(targets, store, whole=whole)
    everything = closure(targets)
    costs = estimate(everything.values(), store, typical=typical, device=runtime.device) if todo else {}
    seconds = {k: _UNKNOWN_SECONDS if c.seconds is None else c.seconds for k, c in costs.items()}
    present = len(everything) - len(todo)
    books = _Books(
        store=store,
        agenda=Agenda(
            todo,
            chains(todo, seconds),
            split=workers > 0 and beside > 0 and teams is None,
            # A model that takes several GPUs leaves no room for a cohort on one.
            device=runtime.device.split(":")[0] if runtime.processes == 1 else "cpu",
        ),
        board=Board(todo, present=present, costs=costs, workers=workers),
        watch=watch or Silent(),
        finished=finished,
    )
    tidy(store, everything.values())
    share_left(store, everything.values())
    if todo:
        store.probe()
        hired = _teams(store, runtime, min(workers, len(todo)), beside, teams)
        try:
            _drive(books, hired)
        finally:
            for team in hired:
                team.team.close()
            books.watch.close(books.board)
    _raise(books.agenda.failures, todo, len(books.agenda.stopped))
    return Ran(
        artifacts=_collect(targets, store),
        computed=books.computed,
        shared=books.shared,
        present=present,
        seconds=books.board.elapsed,
    )


@dataclass(slots=True, kw_only=True)
class _Books:
    store: Store
    agenda: Agenda
    board: Board
    watch: Watch
    finished: Finish | None = None
    computed: int = 0
    shared: int = 0
    looked: float = 0.0


@dataclass(frozen=True, slots=True)
class _Queue:
    """A team, and which of the agenda's queues it works off."""

    team: Team
    size: int
    on_device: bool


def _teams(store: Store, runtime: Runtime, workers: int, beside: int, hire: Hire | None) -> list[_Queue]:
    if store.shelf is not None and store.shelf.in_this_process and (workers or hire):
        raise StoreError(f"The store {store.address} lives in one process; use --workers 0, or another store.")
    if hire is not None:
        # A cluster gives each recipe what it needs, so nothing waits for a device that it does not use.
        team = hire(runtime)
        return [_Queue(team, max(1, team.free()), True)]
    if not workers:
        return [_Queue(Inline(store, runtime), 1, True)]
    teams = [_Queue(Processes(store, runtime, workers), workers, True)]
    if beside:
        on_cpu = replace(runtime, device="cpu", threads=1, micro_batch=None)
        teams.append(_Queue(Processes(store, on_cpu, beside), beside, False))
    return teams


def _drive(books: _Books, teams: Sequence[_Queue]) -> None:
    agenda, board = books.agenda, books.board
    while agenda.left:
        for queue in teams:
            while queue.team.free() and (group := agenda.take(queue.size, on_device=queue.on_device)):
                for recipe in group:
                    board.begin(recipe, together=len(group))
                queue.team.give(group)
        books.watch.show(board)
        wait = (_SECONDS_BETWEEN_LOOKS if agenda.elsewhere else _TICK) / len(teams)
        for queue in teams:
            for event in queue.team.events(wait):
                _book(books, event)
                books.watch.show(board)
        _look_elsewhere(books)


def _book(books: _Books, event: Event) -> None:
    agenda, board = books.agenda, books.board
    if isinstance(event, Told):
        board.tell(event.digest, event.fraction, event.text)
    elif isinstance(event, Finished):
        books.computed += event.seconds is not None
        books.shared += event.seconds is None
        agenda.finish(event.digest)
        artifact = books.store.find(agenda.todo[event.digest], fresh=True)
        board.finish(event.digest, event.seconds, artifact.record["facts"] if artifact else None)
        if artifact and books.finished:
            books.finished(artifact)
    elif isinstance(event, Failed):
        agenda.fail(event.digest, event.error)
        board.give_up({event.digest} | agenda.stopped)
    elif isinstance(event, Busy):
        agenda.busy(event.digest)
        board.drop(event.digest)
    elif isinstance(event, Unfinished):
        agenda.retry(event.digest, alone=True)
        board.drop(event.digest)
    elif isinstance(event, Lost):
        agenda.lost(event.digest, event.how, memory=event.memory)
        board.drop(event.digest)
        board.give_up(set(agenda.failures) | agenda.stopped)
    board.elsewhere = len(agenda.elsewhere)


def _look_elsewhere(books: _Books) -> None:
    """See whether other runs have finished what they hold, or have died and left it."""
    pause = _SECONDS_BETWEEN_LOOKS if books.store.shelf is None else _SECONDS_BETWEEN_REMOTE_LOOKS
    if not books.agenda.elsewhere or time.monotonic() - books.looked < pause:
        return
    books.looked = time.monotonic()
    for digest in sorted(books.agenda.elsewhere):
        artifact = books.store.find(books.agenda.todo[digest], fresh=True)
        if artifact is not None and books.store.at_hand(artifact):
            _book(books, Finished(digest, None))
        elif is_free(books.store, digest):
            books.agenda.retry(digest)


def _raise(failures: Mapping[str, Exception], todo: Mapping[str, Recipe], stopped: int) -> None:
    if not failures:
        return
    (_, first), *others = failures.items()
    for digest, error in others:
        first.add_note(f"Also failed: {todo[digest].kind}/{todo[digest].name()}: {error}")
    if stopped:
        first.add_note(f"{stopped} more could not be computed without what failed; all else is finished.")
    raise first


def _collect(targets: Sequence[Recipe], store: Store) -> tuple[Artifact, ...]:
    found: list[Artifact] = []
    for target in targets:
        artifact = store.find(target)
        if artifact is None:
            raise StoreError(f"{target.kind}/{target.name()} was deleted while the run went on; run again.")
        found.append(artifact)
    return tuple(found)
