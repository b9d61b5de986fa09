"""Freed memory stays with the process: a second step asks the system for none."""

import platform
import resource

import pytest
import torch

from offmodel.engines import heap


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_a_second_allocation_of_some_megabytes_touches_no_new_pages():
    assert heap.keep_freed()
    pages = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [torch.zeros(2 << 20) for _ in range(8)]
        del held
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert pages[-1] < 100  # of 16,384
