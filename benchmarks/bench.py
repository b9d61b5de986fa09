"""What all benchmarks share: a result file that is whole after every row, a limit of time, and who ran what where.

Invariant: a benchmark that is killed or runs out of time leaves every row that it had measured.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("offmodel", "torch", "transformers", "peft", "trl", "vllm", "liger-kernel", "accelerate", "numpy")


class Rows:
    """Rows of measurements, printed and written as they come.

    Args:
        out: JSON file; None prints only.
        device: "cpu" or "cuda".
        limit: seconds after which no further row is begun; None for no limit.
        facts: of the benchmark as a whole.
    """

    def __init__(self, out: Path | None, *, device: str, limit: float | None = None, **facts: Any):
        self.out, self.limit, self.began = out, limit, time.monotonic()
        self.found: dict[str, Any] = {
            "command": "python " + " ".join(sys.argv),
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(device),
            "versions": versions(),
            **facts,
            "rows": [],
        }

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return float("inf") if self.limit is None else self.limit - (time.monotonic() - self.began)

    def add(self, **row: Any) -> dict[str, Any]:
        """Keep a row."""
        self.found["rows"].append(row)
        print(json.dumps(row), flush=True)
        self.write()
        return row

    def note(self, **facts: Any) -> None:
        """Keep facts of the whole."""
        self.found |= facts
        self.write()

    def measure(self, name: str, work: Callable[[], dict[str, Any]], *, needs: float = 0.0) -> dict[str, Any] | None:
        """A row by a function; what fails or no longer fits the limit is a row that says so.

        Args:
            name: of the row.
            work: gives the row's columns.
            needs: seconds that it may take.
        """
        if self.left < needs:
            self.add(name=name, skipped=f"{self.left:.0f} s were left, it may take {needs:.0f}")
            return None
        began = time.monotonic()
        try:
            columns = work()
        except Exception as error:  # noqa: BLE001 -- one peer that fails must not cost the other rows
            self.add(name=name, failed=f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}")
            return None
        return self.add(name=name, **columns, wall_s=round(time.monotonic() - began, 1))

    def write(self) -> None:
        """Write the file anew, by one rename."""
        self.found["seconds_in_all"] = round(time.monotonic() - self.began, 1)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            draft = self.out.with_suffix(".partial")
            draft.write_text(json.dumps(self.found, indent=1) + "\n")
            draft.replace(self.out)


def machine(device: str) -> dict[str, Any]:
    """The machine, without its name."""
    found: dict[str, Any] = {"system": f"{platform.system()}-{platform.machine()}", "cores": os.cpu_count()}
    found["python"] = platform.python_version()
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def median(values: list[float]) -> float:
    """The median, rounded to what a clock can tell."""
    return round(statistics.median(values), 4)
