"""Which GPUs this machine has for worker processes, asked without loading anything that computes.

This module refuses to know drivers: it reads a variable and names of files. Invariant: what it names is what CUDA would
see in this process.
"""

import os
import re
from pathlib import Path

_NODES = Path("/dev")


def gpus() -> tuple[str, ...]:
    """The GPUs that processes may use, as CUDA_VISIBLE_DEVICES names them: those named there, else all of NVIDIA's."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(word.strip() for word in said.split(",") if word.strip())
    return tuple(str(number) for number in range(count()))


def count() -> int:
    """How many GPUs of NVIDIA have a file here.

    Their files' numbers are the machine's; a container may have numbers 2 and 3 alone, which CUDA calls 0 and 1.
    """
    return sum(re.fullmatch(r"nvidia\d+", node.name) is not None for node in _NODES.glob("nvidia*"))


def hides(gpu: str) -> dict[str, str]:
    """Environment of a process that is to see one GPU alone."""
    return {"CUDA_VISIBLE_DEVICES": gpu}
