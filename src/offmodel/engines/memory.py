"""How much memory is free, on a GPU or on this machine.

This module refuses to decide what the memory is for. Invariant: it allocates nothing.
"""

import os

import torch


def available_bytes(device: str) -> int:
    """Bytes that could be allocated now: of the GPU (what torch holds unused counts as free), or of this machine."""
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
