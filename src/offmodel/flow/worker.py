"""A worker process: takes groups of recipes from a pipe, computes them one after the other, tells how it goes.

This module refuses to choose what to compute. It loads nothing heavy before a recipe does. Invariant: a worker does not
outlive the process that started it, so that no orphan holds a lock.
"""

import ctypes
import faulthandler
import importlib
import importlib.util
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, final

from offmodel.core.errors import RecipeError, RunError
from offmodel.flow.execution import Failed, Outcome, execute
from offmodel.store.addresses import open_store
from offmodel.store.artifacts import Store
from offmodel.store.recipe import Progress, Recipe, Runtime

_PR_SET_PDEATHSIG = 1
_SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True, slots=True)
class Told:
    """How far a recipe is."""

    digest: str
    fraction: float
    text: str


@dataclass(frozen=True, slots=True)
class Idle:
    """The worker waits for more."""


def thread_settings(threads: int) -> dict[str, str]:
    """Environment of a worker that computes with so many threads; read by libraries when they are first imported."""
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "RAYON_NUM_THREADS",
    )
    return {**dict.fromkeys(names, str(threads)), "TOKENIZERS_PARALLELISM": "false"}


def work(pipe: Connection, address: str, runtime: Runtime, parent: int, log: str) -> None:
    """The life of a worker.

    Args:
        pipe: digests and then recipes come in; outcomes, progress and `Idle` go out.
        address: the store's folder or address.
        runtime: device, threads and such.
        parent: id of the process that started this one.
        log: file that takes what the computations print.
    """
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the runner decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _redirect_output(Path(log))
    try:
        _serve(pipe, address, runtime)
    finally:
        # While Python shuts down, an exception from a handler would only be printed.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _serve(pipe: Connection, address: str, runtime: Runtime) -> None:
    voice = Voice(pipe)
    store: Store | None = None
    while True:
        try:
            digests = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            parcel = pipe.recv_bytes()
            if store is None:
                for plugin in runtime.plugins:
                    load_plugin(plugin)
                store = open_store(address, create=False)
            recipes: list[Recipe] = pickle.loads(parcel)  # noqa: S301 -- made by the process that started this one
        except Exception as error:  # noqa: BLE001 -- whatever importing user code raises is the run's error, told there
            for digest in digests:
                voice.say(Failed(digest, _unloadable(error)))
        else:
            for outcome in execute(store, recipes, runtime, voice.progress):
                voice.say(outcome)
        voice.say(Idle())


@final
class Voice:
    """The worker's end of the pipe; recipes may tell progress from threads of their own."""

    def __init__(self, pipe: Connection):
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, message: Outcome | Told | Idle) -> None:
        """Send one message, and end the process if nobody listens any more."""
        if isinstance(message, Failed):
            message = Failed(message.digest, portable(message.error))
        try:
            with self._lock:
                self._pipe.send(message)
        except OSError:  # closed, with or without messages that nobody read
            os._exit(1)

    def progress(self, digest: str) -> Progress:
        """A taker of a recipe's progress, which passes on a few reports a second."""
        last = -_SECONDS_BETWEEN_REPORTS

        def tell(fraction: float, text: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _SECONDS_BETWEEN_REPORTS:
                last = now
                self.say(Told(digest, float(fraction), text))

        return tell


def load_plugin(plugin: str) -> None:
    """Import a plugin of a `Runtime`; a file may import the modules beside it."""
    name, _, path = plugin.partition("=")
    if not path:
        importlib.import_module(name)
    elif name not in sys.modules:
        folder = str(Path(path).parent)
        if folder not in sys.path:
            sys.path.append(folder)  # last: no file in it hides a package
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None, path
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def _unloadable(error: Exception) -> Exception:
    return RecipeError(
        f"A worker cannot load the recipe's code ({type(error).__name__}: {error}); "
        "put its module on the Python path, or list it among the plugins."
    )


def portable(error: Exception) -> Exception:
    """The error itself if it survives the way to another process, else one with its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes, made in this line
    except Exception:  # noqa: BLE001 -- any failure means the same: this error cannot travel
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        # The kernel's signal comes even while a long computation holds the interpreter.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)


def _redirect_output(log: Path) -> None:
    file = log.open("a", buffering=1, encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file.fileno(), stream.fileno())
    faulthandler.enable(file)
    _kept.append(file)


_kept: list[Any] = []  # faulthandler writes to the file's number, which must stay open


def last_words(log: Path) -> str:
    """The last line that a worker printed, "" if it was silent."""
    lines: Sequence[str] = log.read_text(errors="replace").splitlines() if log.is_file() else ()
    return next((s.strip() for s in reversed(lines) if s.strip()), "")
