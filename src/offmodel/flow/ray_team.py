"""A Ray cluster as a team: each group of recipes is a Ray task with the GPUs and threads that it needs.

The tasks do what worker processes do: take a turn, stage, compute, publish, in a store that all machines see under one
path or one address.
This module refuses to know the graph, and leaves retries to the agenda. Invariant: a recipe given comes back in exactly
one outcome; a machine that dies gives back what it held as lost, and the agenda hands that out again.
"""

import os
import pickle
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from offmodel.core.errors import OffmodelError, RunError, StoreError, UserError
from offmodel.flow.execution import Failed, Outcome, Unfinished, execute
from offmodel.flow.team import Event, Lost
from offmodel.flow.worker import load_plugin, portable, thread_settings
from offmodel.store.addresses import is_address, open_shelf, open_store
from offmodel.store.artifacts import Store
from offmodel.store.locks import attempt
from offmodel.store.recipe import Recipe, Runtime
from offmodel.store.shelf import Shelf

_PROBE_SECONDS = 60.0
_AHEAD = 2  # groups given to the cluster beyond what it can compute at once, so that no machine waits for the driver


def hire(address: str, store: Store) -> Callable[[Runtime], "RayTeam"]:
    """Connect to a cluster and check that its machines share the store; gives the maker of a team.

    Args:
        address: "ray" for the cluster that this machine belongs to (or a local one, started now), or "ray://host:port".
        store: under a path that all machines see, or at an address that all can reach.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
        StoreError: a machine does not see the store, or its locks do not hold between machines.
    """
    ray = _ray()
    if not ray.is_initialized():
        try:
            # A local cluster is made if there is none; a ray:// address must answer.
            ray.init(address=None if address == "ray" else address, log_to_driver=False, logging_level="error")
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"The Ray cluster '{address}' cannot be reached ({reason}); start one with `ray start --head` and give "
                "its address as ray://HOST:10001."
            ) from error
    store.probe()
    probe_machines(store)
    return lambda runtime: RayTeam(store, runtime)


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports] -- an extra
    except ImportError as error:
        raise UserError("Ray is not installed; install it with `pip install 'offmodel[ray]'`.") from error
    return ray


def probe_machines(store: Store) -> None:
    """Ask every machine whether it sees what is new in the store, and respects that another was first.

    Raises:
        StoreError: one does not; the message names it.
    """
    key = f"probe-{uuid.uuid4().hex}"
    with _shown(store, key) if store.shelf is None else _shared(store.shelf, key):
        ray = _ray()
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = [(n, look.options(**_on(n["NodeID"])).remote(store.address, key)) for n in _alive(ray)]
        for node, answer in asked:
            try:
                seen = ray.get(answer, timeout=_PROBE_SECONDS)
            except ray.exceptions.RayError:
                continue  # it has died and the cluster has not noticed yet; no work will reach it
            _judge(store, node["NodeManagerAddress"], seen)


@contextmanager
def _shown(store: Store, key: str) -> Iterator[None]:
    """A folder under its final name, and a lock that is held."""
    draft, final = store.tmp / f"{key}-draft", store.tmp / key
    draft.mkdir()
    (draft / "word").write_text(key)
    draft.rename(final)
    try:
        with attempt(store.locks, key) as held:
            if not held:
                raise StoreError(f"The store at {store.root} does not keep locks; put it on another file system.")
            yield
    finally:
        (final / "word").unlink(missing_ok=True)
        final.rmdir()
        (store.locks / f"{key}.lock").unlink(missing_ok=True)


@contextmanager
def _shared(shelf: Shelf, key: str) -> Iterator[None]:
    """A word on the shelf, created where nobody else may create one now."""
    shelf.create(f"probe/{key}", key.encode())
    try:
        yield
    finally:
        shelf.remove(f"probe/{key}")


def _judge(store: Store, machine: str, seen: str) -> None:
    if seen.startswith("unreached"):
        raise StoreError(f"The machine {machine} does not reach the store. {seen.removeprefix('unreached: ')}")
    if seen in ("absent", "unlocked") and store.shelf is not None:
        raise StoreError(
            f"The machine {machine} sees other things at {store.address} than this one; give an address that means the "
            "same on all machines, such as a bucket, or a folder that all of them mount."
        )
    if seen == "absent":
        raise StoreError(
            f"The machine {machine} does not see the store at {store.root}; put the store on a file system that all "
            "machines mount under this path."
        )
    if seen == "unlocked":
        raise StoreError(
            f"The machine {machine} does not respect locks in {store.root}, so two machines could write one result; "
            "mount the file system with working locks (NFS 4, or Lustre with flock)."
        )


def _look(address: str, key: str) -> str:
    """On a machine of the cluster: "absent", "unlocked" or "fine", or "unreached: " and why."""
    if is_address(address):
        return _look_at_shelf(address, f"probe/{key}", key.encode())
    word = Path(address) / "tmp" / key / "word"
    if not word.is_file() or word.read_text() != key:
        return "absent"
    with attempt(Path(address) / "locks", key) as free:
        return "unlocked" if free else "fine"


def _look_at_shelf(address: str, name: str, word: bytes) -> str:
    try:
        shelf = open_shelf(address, create=False)
        if shelf.read(name) != word:
            return "absent"
        return "unlocked" if shelf.create(name, b"another machine") else "fine"
    except StoreError as error:
        return f"unreached: {error}"


def _alive(ray: Any) -> list[dict[str, Any]]:
    return [n for n in ray.nodes() if n["Alive"]]


def _on(node: str) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id=node, soft=False)}


@final
class RayTeam:
    """Computes on a Ray cluster that is connected.

    Args:
        store: under a path that all machines see, or at an address that all can reach.
        runtime: device, threads and such of each task; `processes` GPUs go to a training on one machine.
    """

    def __init__(self, store: Store, runtime: Runtime):
        self._store, self._runtime, self._ray = store, runtime, _ray()
        self._given: dict[Any, list[str]] = {}
        self._failed: list[Event] = []
        # No retries by Ray: the agenda counts deaths. Ray ends the process of a task that used a GPU, and its memory.
        self._task = self._ray.remote(max_retries=0)(_compute)

    def free(self) -> int:
        """Groups that the cluster could take now, with a few ahead."""
        total = self._ray.cluster_resources()
        on_gpu = self._runtime.device != "cpu"
        slots = total.get("GPU", 0.0) / self._runtime.processes if on_gpu else total.get("CPU", 1.0) / self._threads
        return max(0, int(slots) + _AHEAD - len(self._given))

    @property
    def _threads(self) -> int:
        return max(1, self._runtime.threads)

    def give(self, recipes: Sequence[Recipe]) -> None:
        """Submit a group as one task."""
        needs = self.needs(recipes)
        try:
            self._check(needs)
            paths = [p for p in sys.path if p]
            parcel = pickle.dumps(list(recipes), protocol=pickle.HIGHEST_PROTOCOL)
            runtime = self._runtime
            if runtime.device != "cpu" and not needs["num_gpus"]:
                runtime = replace(runtime, device="cpu", micro_batch=None)  # Ray hides the GPUs that a task has not got
            ref = self._task.options(**needs).remote(self._store.address, parcel, runtime, paths)
        except (OffmodelError, pickle.PicklingError, TypeError, AttributeError) as error:
            self._failed += [Failed(r.digest, error) for r in recipes]
            return
        self._given[ref] = [r.digest for r in recipes]

    def needs(self, recipes: Sequence[Recipe]) -> dict[str, Any]:
        """CPUs and GPUs of a group's task, all on one machine.

        A recipe that computes on the device takes one GPU, one that trains takes as many as train together.
        """
        if self._runtime.device == "cpu" or not recipes[0].on_device:
            trains = hasattr(recipes[0], "sft")
            return {"num_cpus": self._threads * (self._runtime.processes if trains else 1), "num_gpus": 0}
        gpus = self._runtime.processes if hasattr(recipes[0], "sft") else 1
        return {"num_cpus": 1, "num_gpus": gpus}

    def _check(self, needs: dict[str, Any]) -> None:
        """Refuse what no machine of the cluster could ever run: Ray would wait for such a machine without a word."""
        machines = [n["Resources"] for n in _alive(self._ray)]
        best = [max((m.get(k, 0.0) for m in machines), default=0.0) for k in ("CPU", "GPU")]
        if needs["num_cpus"] > best[0] or needs["num_gpus"] > best[1]:
            raise RunError(
                f"A step needs {needs['num_gpus']} GPUs and {needs['num_cpus']} CPUs on one machine, and the cluster's "
                f"largest has {best[1]:g} and {best[0]:g}; lower --gpus, or add a larger machine."
            )

    def events(self, timeout: float) -> Iterator[Event]:
        """What has happened."""
        yield from self._failed
        self._failed = []
        if not self._given:
            return
        done, _ = self._ray.wait(list(self._given), num_returns=1, timeout=timeout)
        for ref in done:
            yield from self._hear(ref, self._given.pop(ref))

    def _hear(self, ref: Any, digests: list[str]) -> Iterator[Event]:
        left = set(digests)
        try:
            outcomes: list[Outcome] = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(getattr(error, "cause", None), Exception) else error
            problem = cause if isinstance(cause, OffmodelError) else RunError(f"{type(cause).__name__}: {cause}")
            for digest in digests:
                yield Failed(digest, problem)
            return
        except self._ray.exceptions.RayError as error:
            how = f"{type(error).__name__}: its worker or machine died"
            for digest in digests:
                yield Lost(digest, how, memory=True)  # Ray does not always tell what ended a worker
            return
        for outcome in outcomes:
            left.discard(outcome.digest)
            yield outcome
        for digest in sorted(left):
            yield Unfinished(digest)

    def close(self) -> None:
        """Cancel what runs; a cluster that was there before stays."""
        for ref in self._given:
            self._ray.cancel(ref, force=True)
        self._given = {}


_STORES: dict[str, Store] = {}


def _compute(address: str, parcel: bytes, runtime: Runtime, paths: list[str]) -> list[Outcome]:
    """On a machine of the cluster: compute a group in the shared store.

    Args:
        address: the store's path or address.
        parcel: the group, pickled by the driver; its classes may lie in plugins, which come first.
        runtime: device, threads and such.
        paths: where the driver finds modules, for studies that lie beside it.
    """
    os.environ.update(thread_settings(runtime.threads))
    sys.path += [p for p in paths if p not in sys.path and Path(p).exists()]
    for plugin in runtime.plugins:
        load_plugin(plugin)
    if address not in _STORES:
        _STORES[address] = open_store(address, create=False)
    recipes: list[Recipe] = pickle.loads(parcel)  # noqa: S301 -- made by the driver of this run
    outcomes = list(execute(_STORES[address], recipes, runtime, lambda _: lambda fraction, text="": None))
    return [Failed(o.digest, portable(o.error)) if isinstance(o, Failed) else o for o in outcomes]
