"""Memory of the size of pictures is used again instead of being given back after every frame."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed; False where the C library is not glibc.

    By default every picture that arrives is new memory from the system, page by page, which is a
    quarter of the CPU time of receiving it. Call this once at the start of the process.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
