"""A funnel: many coroutines ask one question each, one batch answers them.

Inspect calls `generate()` once a sample, concurrently; a local sampler is fast only in batches. This module refuses to
know models and messages. Invariant: every question is answered once, or raises what its batch raised.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, final

import anyio
import anyio.to_thread

Q = TypeVar("Q")
A = TypeVar("A")
# Inspect starts its samples within milliseconds of each other; a batch is closed once nothing came for this long.
_QUIET_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Q, A]):
    question: Q
    done: anyio.Event = field(default_factory=anyio.Event)
    answers: list[A] = field(default_factory=list)
    error: BaseException | None = None


@final
class Funnel(Generic[Q, A]):
    """Gathers questions into batches; one batch runs at a time, in a thread of its own.

    Args:
        answer: answers a batch, in its order.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]]):
        self._answer = answer
        self._open: list[_Waiting[Q, A]] = []
        self._busy: anyio.Lock | None = None
        self.batches: list[int] = []

    async def ask(self, question: Q) -> A:
        """The answer to one question, after the batch that it falls into."""
        mine: _Waiting[Q, A] = _Waiting(question)
        self._open.append(mine)
        if len(self._open) == 1:
            # The first of a batch leads it; the others wait for the leader.
            batch = await self._gather()
            await self._run(batch)
        await mine.done.wait()
        if mine.error is not None:
            raise mine.error
        return mine.answers[0]

    async def _gather(self) -> list[_Waiting[Q, A]]:
        """Wait until no more questions come and no other batch runs, then close the batch."""
        if self._busy is None:
            self._busy = anyio.Lock()
        try:
            await self._busy.acquire()
            count = 0
            while count != len(self._open):
                count = len(self._open)
                await anyio.sleep(_QUIET_SECONDS)
        except BaseException as error:
            self._fail(self._take(), error)
            raise
        return self._take()

    def _take(self) -> list[_Waiting[Q, A]]:
        batch, self._open = self._open, []
        return batch

    async def _run(self, batch: list[_Waiting[Q, A]]) -> None:
        assert self._busy is not None
        try:
            questions = [w.question for w in batch]
            self.batches.append(len(questions))
            answers = await anyio.to_thread.run_sync(self._answer, questions)
            for waiting, answer in zip(batch, answers, strict=True):
                waiting.answers.append(answer)
                waiting.done.set()
        except BaseException as error:
            self._fail(batch, error)
            raise
        finally:
            self._busy.release()

    @staticmethod
    def _fail(batch: Sequence[_Waiting[Q, A]], error: BaseException) -> None:
        for waiting in batch:
            waiting.error = error if isinstance(error, Exception) else RuntimeError("the batch was cancelled")
            waiting.done.set()
