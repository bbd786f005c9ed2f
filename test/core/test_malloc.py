"""Memory that the C library keeps is found again without the system's help."""

import resource
import subprocess
import sys

import pytest

from jointseg_core.runtime.malloc import keep_memory

FAULTS = """
import ctypes, resource, sys
from jointseg_core.runtime.malloc import keep_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
if sys.argv[1] == "kept":
    keep_memory()
use(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    run = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_memory(), reason="the C library is not glibc")
def test_a_block_that_was_freed_costs_no_page_faults_when_it_is_taken_again():
    pages = 20 * (16 << 20) // resource.getpagesize()
    assert faults("kept") < pages / 100
