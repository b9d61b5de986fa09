"""What a record says of the device's work: measured where it can be, left out where it cannot."""

import ctypes
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from offmodel.flow import meter
from offmodel.flow.meter import Meter


def test_a_cpu_that_waits_is_not_at_work() -> None:
    with Meter("cpu", threads=1) as watch:
        time.sleep(0.3)
        assert watch.lap()["device_share"] < 0.4
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        assert watch.lap()["device_share"] > 0.1  # of a machine that others may use too


def test_the_peak_of_memory_is_of_the_lap() -> None:
    with Meter("cpu", threads=1) as watch:
        block = np.ones(40_000_000)  # 0.3 GiB
        high = watch.lap()["peak_memory_gib"]
        del block
        if not _can_reset():
            pytest.skip("this kernel does not let a process reset its high-water mark")
        watch.lap()
        assert watch.lap()["peak_memory_gib"] < high - 0.2


def _can_reset() -> bool:
    try:
        meter._CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


class Driver:
    """A driver with one GPU, half of whose readings are busy ones."""

    def __init__(self, status: int = 0):
        self.status, self.reads, self.asked = status, 0, []

    def nvmlInit_v2(self) -> int:
        return self.status

    def nvmlDeviceGetHandleByIndex_v2(self, number: Any, handle: Any) -> int:
        self.asked.append(number.value)
        return 0

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:
        self.asked.append(name.decode())
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        self.reads += 1
        rates._obj.gpu = 100 if self.reads % 2 else 0
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.used = self.reads * 2**30
        return 0


def test_a_gpu_is_read_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(meter, "_SECONDS_BETWEEN_READINGS", 0.005)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Meter("cuda:0", threads=1) as watch:
        while driver.reads < 20:
            time.sleep(0.01)
        first = watch.lap()
        watch.lap()
    assert first["device_share"] == pytest.approx(0.5, abs=0.1)
    assert first["peak_memory_gib"] >= 20
    assert driver.asked == [0]


@pytest.mark.parametrize(("visible", "device", "asked"), [("3,1", "cuda:1", 1), ("GPU-ab", "cuda", "GPU-ab")])
def test_the_gpu_that_cuda_means_is_asked(
    monkeypatch: pytest.MonkeyPatch, visible: str, device: str, asked: int | str
) -> None:
    driver = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert meter.gpu_reader(device) is not None
    assert driver.asked == [asked]


@pytest.mark.parametrize("driver", [Driver(status=9), SimpleNamespace()])
def test_a_driver_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch, driver: Any) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert meter.gpu_reader("cuda") is None
    with Meter("cuda", threads=1) as watch:
        assert watch.lap() == {}
