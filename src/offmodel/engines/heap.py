"""The C library's heap: what a training step frees stays with the process.

By default glibc gives large blocks back to the system at once and is given them again, page by page, in the next step.
This module refuses to know what is allocated.
"""

import ctypes
import platform
from functools import lru_cache

# glibc's malloc.h: parameters of mallopt, and the largest threshold that it takes for blocks of their own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_IN_HEAP = 32 << 20
_KEPT = 1 << 30


@lru_cache(maxsize=1)
def keep_freed() -> bool:
    """Keep up to 1 GiB of freed memory for the next step; False where the C library is another than glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_IN_HEAP)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
