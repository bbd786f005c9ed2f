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


OF_A_THREAD = """
import ctypes, re, threading
from jointseg_core.runtime.malloc import keep_memory, return_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    blocks = [libc.malloc(1 << 20) for _ in range(50)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    for block in blocks:
        libc.free(block)
def own_memory():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
keep_memory()
before = own_memory()
thread = threading.Thread(target=use)
thread.start()
thread.join()
return_memory()
print(own_memory() - before)
"""


def printed(code, *words):
    run = [sys.executable, "-c", code, *words]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not keep_memory(), reason="the C library is not glibc")
def test_a_block_that_was_freed_costs_no_page_faults_when_it_is_taken_again():
    pages = 20 * (16 << 20) // resource.getpagesize()
    assert printed(FAULTS, "kept") < pages / 100


@pytest.mark.skipif(not keep_memory(), reason="the C library is not glibc")
def test_what_a_thread_has_freed_is_given_back():
    assert printed(OF_A_THREAD) < 10 << 10  # kB, of 50 MB
