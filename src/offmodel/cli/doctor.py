"""`offmodel doctor`: what this machine can do, one line each, with the mend where something is missing.

It refuses to change anything: nothing is downloaded or installed, and only an empty probe file is written to the store
and removed again. Invariant: every line that is not "ok" says what to do about it, or that nothing need be done.
"""

import os
import platform
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from offmodel.core.errors import OffmodelError, StoreError

if TYPE_CHECKING:
    from packaging.requirements import Requirement
    from rich.console import Console

State = Literal["ok", "absent", "broken"]
MARKS: dict[State, str] = {"ok": "[green]ok[/]", "absent": "[yellow]--[/]", "broken": "[red]!![/]"}
GIB = 2**30
HUB_TIMEOUT = 3.0
"""Seconds; a hub that takes longer to say hello is of no use for gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: a word or two.
        state: "ok"; "absent" for something optional that is not there; "broken" for something that stops work.
        text: what was found.
        mend: what to do, "" if the state is "ok".
    """

    what: str
    state: State
    text: str
    mend: str = ""


def doctor(console: "Console", store: str | Path = "offmodel-store") -> None:
    """Print what this machine can do.

    Args:
        console: where to print.
        store: the store whose folder is tried.
    """
    from rich.table import Table
    from rich.text import Text

    for finding in examine(store):
        # A grid a line, so that each line shows as soon as it is known and long ones wrap under themselves.
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=2)
        grid.add_column(width=13)
        grid.add_column()
        grid.add_row(MARKS[finding.state], Text(finding.what, style="bold"), Text(finding.text))
        if finding.mend:
            grid.add_row("", "", Text(finding.mend, style="dim"))
        console.print(grid)


def examine(store: str | Path) -> Iterator[Finding]:
    """Look at one thing after the other; the quick ones first, since torch takes seconds to load."""
    yield Finding(what="Python", state="ok", text=f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield _processor()
    yield _writable(store)
    yield _pocket()
    yield _hub()
    for name in ("transformers", "peft"):
        yield _package(name, optional=False)
    yield _vllm()
    yield _package("trl", optional=True, use="only benchmarks/ compares with it: pip install trl")
    yield from _torch()


def _processor() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return Finding(what="CPU", state="ok", text=f"{cores} cores")
    text = f"{cores} cores, {memory:.1f} GiB of memory"
    if memory < 3.5:
        return Finding(what="CPU", state="broken", text=text, mend="The quickstart needs 4 GB of memory.")
    return Finding(what="CPU", state="ok", text=text)


def _shared(address: str) -> Finding:
    from offmodel.store.addresses import open_shelf

    try:
        open_shelf(address, create=False).probe()
    except StoreError as error:
        return Finding(what="store", state="broken", text=address, mend=str(error))
    return Finding(what="store", state="ok", text=f"{address} can be shared")


def _writable(store: str | Path) -> Finding:
    if isinstance(store, str) and "://" in store:
        return _shared(str(store))
    place = Path(store).absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        mend = "Choose a store in a folder of yours, or free some space."
        return Finding(what="store", state="broken", text=f"{store}: {error.strerror or error}", mend=mend)
    stat = os.statvfs(place) if hasattr(os, "statvfs") else None
    free = f", {stat.f_bavail * stat.f_frsize / GIB:.0f} GiB free" if stat else ""
    return Finding(what="store", state="ok", text=f"{store} can be written{free}")


def _pocket() -> Finding:
    from offmodel.models import resolve_model
    from offmodel.pocket.world import MODELS

    present: list[str] = []
    try:
        for name in MODELS:
            resolve_model(f"pocket:{name}")
            present.append(name)
    except OffmodelError as error:
        mend = "Install the package again; its wheel and its checkout both carry them."
        return Finding(what="pocket models", state="broken", text=str(error), mend=mend)
    return Finding(what="pocket models", state="ok", text=", ".join(present))


def _hub() -> Finding:
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    mend = "Local folders and GGUF files work without it: give a path in place of an id."
    if HF_HUB_OFFLINE:
        return Finding(what="model hub", state="absent", text="off (HF_HUB_OFFLINE is set)", mend=mend)
    try:
        with urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT):
            pass
    except urllib.error.HTTPError:
        pass  # an answer, if not a kind one: the hub is there
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(what="model hub", state="absent", text=f"cannot be reached ({reason})", mend=mend)
    return Finding(what="model hub", state="ok", text="can be reached")


def _wanted(name: str) -> "Requirement | None":
    """What the package's own metadata ask of a dependency, extras included."""
    from packaging.requirements import Requirement

    try:
        parsed = [Requirement(text) for text in requires("offmodel") or ()]
    except PackageNotFoundError:  # run from a checkout that was not installed
        return None
    return next((r for r in parsed if r.name == name), None)


def _package(name: str, *, optional: bool, use: str = "") -> Finding:
    wanted = _wanted(name)
    range_ = str(wanted.specifier) if wanted else ""
    try:
        found = version(name)
    except PackageNotFoundError:
        mend = use or f"pip install '{name}{range_}'"
        return Finding(what=name, state="absent" if optional else "broken", text="not installed", mend=mend)
    if wanted and not wanted.specifier.contains(found, prereleases=True):
        mend = f"offmodel was made for {name}{range_}: pip install '{name}{range_}'"
        return Finding(what=name, state="absent" if optional else "broken", text=f"{found} is not supported", mend=mend)
    return Finding(what=name, state="ok", text=found)


def _vllm() -> Finding:
    use = "Sampling uses transformers instead. With a GPU, vLLM is faster: pip install 'offmodel[vllm]'"
    return _package("vllm", optional=True, use=use)


def _torch() -> Iterator[Finding]:
    found = _package("torch", optional=False)
    yield found
    if found.text == "not installed":
        return
    try:
        import torch
    except (ImportError, OSError) as error:
        mend = "Install torch again; its libraries do not fit this machine."
        yield Finding(what="torch", state="broken", text=f"cannot be loaded ({error})", mend=mend)
        return
    if not torch.cuda.is_available():
        mend = "Pocket studies need none; for 0.5B models and more, use a machine with a CUDA GPU."
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        text = "hidden (CUDA_VISIBLE_DEVICES is empty)" if hidden else "none that torch can use"
        yield Finding(what="GPU", state="absent", text=text, mend=mend)
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name, (free, total) = torch.cuda.get_device_name(i), torch.cuda.mem_get_info(i)
        bf16 = "" if torch.cuda.is_bf16_supported() else ", no bfloat16"
        text = f"cuda:{i} {name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free{bf16}"
        yield Finding(what="GPU", state="ok", text=text)
