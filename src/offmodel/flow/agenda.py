"""The agenda of a run: which missing recipes are ready, which come first, which go together, which cannot go.

Pure bookkeeping: this module refuses to know processes, stores and clocks. Invariant: a recipe is handed out only
after all of its missing parents are finished, and to one worker at a time.
"""

import heapq
from collections import defaultdict
from collections.abc import Hashable, Mapping
from math import ceil
from typing import final

from offmodel.core.errors import RunError
from offmodel.store.recipe import Recipe

_DEATHS_ALLOWED = 1


@final
class Agenda:
    """What is left of a run.

    Args:
        todo: missing recipes by digest, parents first.
        urgency: seconds of the longest chain that begins with each; the longest goes first.
        split: whether recipes that need the device and those that do not stand in queues of their own.
        device: kind of device ("cpu" or "cuda"), on which a group may pay or not.
    """

    def __init__(
        self, todo: Mapping[str, Recipe], urgency: Mapping[str, float], *, split: bool = False, device: str = "cpu"
    ):
        self._split = split
        self.todo = dict(todo)
        self.failures: dict[str, Exception] = {}
        self.stopped: set[str] = set()
        self.elsewhere: set[str] = set()
        self.running: set[str] = set()
        self._order = {d: (-urgency.get(d, 0.0), i) for i, d in enumerate(todo)}
        self._deaths: defaultdict[str, int] = defaultdict(int)
        self._alone: set[str] = set()
        self._children: defaultdict[str, list[str]] = defaultdict(list)
        self._lacks: dict[str, set[str]] = {}
        self._keys = {d: _group_key(r, device) for d, r in todo.items()}
        self._ready: set[str] = set()
        self._heaps: defaultdict[bool, list[tuple[float, int, str]]] = defaultdict(list)
        self._mates: defaultdict[Hashable, set[str]] = defaultdict(set)
        for digest, recipe in todo.items():
            self._lacks[digest] = {p.digest for p in recipe.parents if p.digest in self.todo}
            for parent in self._lacks[digest]:
                self._children[parent].append(digest)
            if not self._lacks[digest]:
                self._make_ready(digest)

    @property
    def left(self) -> int:
        """How many recipes are neither finished nor hopeless."""
        return len(self._lacks)

    @property
    def ready(self) -> int:
        """How many recipes could be handed out now."""
        return len(self._ready)

    def take(self, workers: int, *, on_device: bool = True) -> list[Recipe]:
        """The most urgent recipe that is ready, with its share of those that can be computed together with it.

        A group is cut so that each of `workers` gets an equal part of it. Empty if nothing is ready. `on_device` names
        the queue of an agenda that is split.
        """
        heap = self._heaps[on_device]
        while heap and heap[0][2] not in self._ready:
            heapq.heappop(heap)
        if not heap:
            return []
        first = heap[0][2]
        key = self._keys[first]
        if key is None or first in self._alone:
            chosen = [first]
        else:
            mates = sorted(self._mates[key], key=self._order.__getitem__)
            chosen = mates[: ceil(len(mates) / max(workers, 1))]
        for digest in chosen:
            self._ready.discard(digest)
            self._mates[self._keys[digest]].discard(digest)
            self.running.add(digest)
        return [self.todo[d] for d in chosen]

    def finish(self, digest: str) -> None:
        """A recipe's artifact is there."""
        self._leave(digest)
        del self._lacks[digest]
        for child in self._children[digest]:
            if child in self._lacks:
                self._lacks[child].discard(digest)
                if not self._lacks[child]:
                    self._make_ready(child)

    def fail(self, digest: str, error: Exception) -> None:
        """A recipe cannot be computed; its descendants are given up, all else goes on."""
        self.failures[digest] = error
        self._leave(digest)
        stack = [digest]
        while stack:
            gone = stack.pop()
            if self._lacks.pop(gone, None) is not None and gone != digest:
                self.stopped.add(gone)
            stack += [c for c in self._children[gone] if c in self._lacks]

    def busy(self, digest: str) -> None:
        """Another run computes it."""
        self._leave(digest)
        self.elsewhere.add(digest)

    def retry(self, digest: str, *, alone: bool = False) -> None:
        """A recipe is ready again; `alone` keeps it out of groups."""
        self._leave(digest)
        if alone:
            self._alone.add(digest)
        self._make_ready(digest)

    def lost(self, digest: str, how: str, *, memory: bool) -> None:
        """The process that computed it died; it is tried once more, alone, then given up.

        Args:
            digest: what was lost.
            how: the process died, for the message.
            memory: whether memory may have run out.
        """
        self._deaths[digest] += 1
        if self._deaths[digest] <= _DEATHS_ALLOWED:
            self.retry(digest, alone=True)
            return
        recipe = self.todo[digest]
        mend = (
            "most often memory ran out: use fewer workers or a smaller micro-batch."
            if memory
            else "run it with --workers 0 to see what happens."
        )
        self.fail(
            digest, RunError(f"The process that computed {recipe.kind}/{recipe.name()} died twice ({how}); {mend}")
        )

    def _leave(self, digest: str) -> None:
        self.running.discard(digest)
        self.elsewhere.discard(digest)
        self._ready.discard(digest)

    def _make_ready(self, digest: str) -> None:
        self._ready.add(digest)
        heapq.heappush(self._heaps[self.todo[digest].on_device or not self._split], (*self._order[digest], digest))
        if self._keys[digest] is not None and digest not in self._alone:
            self._mates[self._keys[digest]].add(digest)


def _group_key(recipe: Recipe, device: str) -> Hashable:
    key = recipe.batch_key() if device in recipe.groups_on else None
    return None if key is None else (type(recipe), key)
