"""The C library's allocator: keep freed memory for the next frame, or give it back once."""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8  # malloc.h
_KEPT_BLOCK = 32 << 20
"""Bytes; glibc keeps blocks up to this size for reuse, which is the most it allows."""


@cache
def keep_memory() -> bool:
    """Let glibc reuse freed memory instead of returning it to the system after every layer.

    Otherwise each large activation is mapped, zeroed page by page and unmapped again. All threads
    share one arena: of those of their own, what a thread has freed would be for it alone, and
    `return_memory` does not reach their ends. Holds for the whole process, threads that have
    allocated before apart; False where the C library has no such policy.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    policy = (
        (_M_MMAP_THRESHOLD, _KEPT_BLOCK),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 2 * _KEPT_BLOCK),
        (_M_ARENA_MAX, 1),
    )
    return all(mallopt(option, value) for option, value in policy)


def return_memory() -> None:
    """Give freed memory back to the system once, where the C library is glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
