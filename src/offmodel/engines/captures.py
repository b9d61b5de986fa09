"""A CUDA graph of what some work launches, and a capture that always ends, whatever breaks it.

Memory that was freed in a pool belongs to the stream on which it was used: graphs that are to share a pool's memory are
captured on one stream. A capture that breaks must be ended by hand, or nothing can be freed any more in this process.
This module refuses to know what is captured. Invariant: when `captured` is left, no stream captures.
"""

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

# The allocator may go on asking a graph whose capture broke; an address used twice would mislead it.
_BROKEN: list[Any] = []


def captured(work: Callable[[], None], *, pool: Any, stream: Any, device: str) -> Any:
    """Capture what `work` launches; nothing of it runs.

    Args:
        work: uses memory of fixed addresses, and does not wait for the device.
        pool: a handle of graphs' memory; after an error it must not be used again.
        stream: the one stream of this pool's captures.
        device: "cuda" or "cuda:N".

    Raises:
        RuntimeError: what `work` launched cannot be captured, or memory ran out.
    """
    here, graph = torch.cuda.current_stream(device), torch.cuda.CUDAGraph()
    stream.wait_stream(here)
    collecting = gc.isenabled()
    gc.disable()  # graphs that are freed in the middle of a capture break it
    try:
        with torch.cuda.stream(stream):
            try:
                # Not torch.cuda.graph(), which collects garbage and empties the cache: 0.3 s where this takes 0.1.
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                work()
                graph.capture_end()
            except BaseException:
                _end(graph, pool, device)
                raise
    finally:
        if collecting:
            gc.enable()
    here.wait_stream(stream)
    return graph


def _end(graph: Any, pool: Any, device: str) -> None:
    """End a broken capture, and its hold on the allocator, which torch before 2.12 leaves behind."""
    with suppress(RuntimeError):
        graph.capture_end()
    index = torch.device(device).index
    with suppress(RuntimeError, AttributeError):
        index = torch.cuda.current_device() if index is None else index
        # Raises where `capture_end` got that far; then the graph gives the pool back itself.
        torch._C._cuda_endAllocateToPool(index, pool)
        _BROKEN.append(graph)
        torch._C._cuda_releasePool(index, pool)


def is_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of a GPU or of this machine."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "CUDA error: out of mem" in text
    )
