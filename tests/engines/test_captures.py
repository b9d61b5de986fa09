"""A capture ends whatever breaks it. What only a GPU can show is in the test at the end, which others skip."""

import contextlib
import gc
from typing import ClassVar

import pytest
import torch

from offmodel.engines import captures
from offmodel.engines.graphs import wanted
from offmodel.store.recipe import Runtime


class Stream:
    def wait_stream(self, other):
        pass


class Graph:
    """Stands for a CUDA graph; `open` while it captures."""

    made: ClassVar[list] = []

    def __init__(self):
        self.open, self.refuses = False, False
        Graph.made.append(self)

    def capture_begin(self, *, pool, capture_error_mode):
        self.open = True

    def capture_end(self):
        self.open = False
        if self.refuses:
            raise RuntimeError("capture was invalidated")


@pytest.fixture
def stand_ins(monkeypatch):
    Graph.made.clear()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda *_: None, raising=False)


def test_work_is_captured_without_collections(stand_ins):
    seen = []
    graph = captures.captured(lambda: seen.append(gc.isenabled()), pool="p", stream=Stream(), device="cuda")
    assert graph is Graph.made[0]
    assert seen == [False]
    assert gc.isenabled()
    assert not graph.open


@pytest.mark.parametrize("error", [RuntimeError("no"), torch.OutOfMemoryError("full"), KeyboardInterrupt()])
@pytest.mark.parametrize("refuses", [False, True])
def test_a_broken_capture_ends_and_says_why(stand_ins, error, refuses):
    def work():
        Graph.made[0].refuses = refuses
        raise error

    with pytest.raises(type(error)):
        captures.captured(work, pool="p", stream=Stream(), device="cuda")
    assert not Graph.made[0].open
    assert gc.isenabled()


def test_what_counts_as_memory():
    assert captures.is_memory(torch.OutOfMemoryError("x"))
    assert captures.is_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert captures.is_memory(RuntimeError("CUDA error: out of memory\nmore"))
    assert not captures.is_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize(
    ("graphs", "said", "device", "expected"),
    [("auto", None, "cuda", True), ("auto", None, "cpu", False), ("auto", "0", "cuda", False),
     ("auto", "1", "cpu", True), ("off", "1", "cuda", False), ("on", "0", "cpu", True)],
)  # fmt: skip
def test_passes_are_captured_on_a_gpu_unless_told_otherwise(monkeypatch, graphs, said, device, expected):
    monkeypatch.delenv("OFFMODEL_GRAPHS", raising=False)
    if said is not None:
        monkeypatch.setenv("OFFMODEL_GRAPHS", said)
    assert wanted(Runtime(device=device, graphs=graphs)) is expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("breaks", ["memory", "wait"])
def test_after_a_broken_capture_a_gpu_goes_on(breaks):
    pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
    x = torch.ones(1000, device="cuda")

    def work():
        y = x * 2
        if breaks == "wait":
            y.sum().item()
        torch.empty(2**50, device="cuda")

    with pytest.raises(RuntimeError):
        captures.captured(work, pool=pool, stream=stream, device="cuda")
    big = torch.ones(2**28, device="cuda")
    del big
    before = torch.cuda.memory_reserved()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < before
    out = torch.zeros_like(x)
    graph = captures.captured(
        lambda: out.copy_(x * 3), pool=torch.cuda.graph_pool_handle(), stream=torch.cuda.Stream(), device="cuda"
    )
    graph.replay()
    assert out.sum().item() == 3000
    assert torch.rand(1, device="cuda").item() < 1
