"""How hard a device works while something is computed: the share of time that it was busy, and the most memory in use.

A GPU is asked through the driver's own library, so neither torch nor a further package is needed; a CPU is read from
the process's own clock. This module refuses to know what is computed. Invariant: what cannot be measured is left out,
never guessed, and measuring never fails a computation.
"""

import ctypes
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, final

Reading = tuple[float, float]
"""(share of the last moments in which the device worked, GiB in use on it)."""

# NVML looks back between a sixth of a second and a second.
_SECONDS_BETWEEN_READINGS = 0.25
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@final
class Meter:
    """Measures from its beginning, or from the last lap, to the next lap.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        threads: of this process, all of which at work count as a share of 1.
    """

    def __init__(self, device: str, threads: int):
        self._threads, self._on_cpu = max(threads, 1), not device.startswith("cuda")
        self._read = gpu_reader(device)
        self._readings: list[Reading] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True) if self._read else None
        if self._thread is not None:
            self._thread.start()
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def lap(self) -> dict[str, float]:
        """Gives "device_share" and "peak_memory_gib" since the last lap, as far as they can be measured."""
        found = self._of_cpu() if self._on_cpu else self._of_gpu()
        self._begin()
        return found

    def _begin(self) -> None:
        self._readings.clear()
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        if self._on_cpu:
            with suppress(OSError):
                _CLEAR_REFS.write_text("5")  # the kernel's high-water mark of memory starts again

    def _of_cpu(self) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        found = {"device_share": round(min(1.0, cpu / max(wall, 1e-9) / self._threads), 4)}
        with suppress(OSError):
            if mark := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()):
                found["peak_memory_gib"] = round(int(mark[1]) / 2**20, 3)
        return found

    def _of_gpu(self) -> dict[str, float]:
        if self._read is None:
            return {}
        self._look()
        if not self._readings:
            return {}
        shares, used = zip(*self._readings, strict=True)
        return {"device_share": round(sum(shares) / len(shares), 4), "peak_memory_gib": round(max(used), 3)}

    def _look(self) -> None:
        assert self._read is not None
        with suppress(OSError):
            self._readings.append(self._read())

    def _watch(self) -> None:
        while not self._closed.wait(_SECONDS_BETWEEN_READINGS):
            self._look()


class _Rates(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_reader(device: str) -> Callable[[], Reading] | None:
    """Asks the driver about a GPU; None for a CPU, or where the driver does not tell (a part of a divided GPU)."""
    if not device.startswith("cuda"):
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        _ask(library.nvmlInit_v2)
        handle = _handle(library, device)
    except (OSError, AttributeError, ValueError):
        return None

    def read() -> Reading:
        rates, memory = _Rates(), _Memory()
        _ask(library.nvmlDeviceGetUtilizationRates, handle, ctypes.byref(rates))
        _ask(library.nvmlDeviceGetMemoryInfo, handle, ctypes.byref(memory))
        return rates.gpu / 100, memory.used / 2**30

    try:
        read()
    except (OSError, AttributeError):
        return None
    return read


def _handle(library: Any, device: str) -> ctypes.c_void_p:
    """The driver's handle of the GPU that CUDA calls by this number in this process."""
    number, handle = int(device.partition(":")[2] or 0), ctypes.c_void_p()
    visible = [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    name = visible[number].strip() if number < len(visible) else str(number)
    if name.isdigit():
        _ask(library.nvmlDeviceGetHandleByIndex_v2, ctypes.c_uint(int(name)), ctypes.byref(handle))
    else:
        _ask(library.nvmlDeviceGetHandleByUUID, name.encode(), ctypes.byref(handle))
    return handle


def _ask(function: Any, *arguments: Any) -> None:
    status = function(*arguments)
    if status != 0:
        raise OSError(f"the driver answered {status}")
