"""Whether bf16 saves time on this CPU, which its list of instructions does not tell."""

from __future__ import annotations

import time
from functools import cache

import torch

_SIDE, _TRIALS, _MARGIN = 256, 5, 0.8


@cache
def bf16_saves_time() -> bool:
    """Whether this CPU multiplies matrices faster in bf16 than in fp32: tried once, in 3 ms.

    Processors with the instructions exist that need four times as long with them.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    # by a clear margin, so that a busy machine does not answer one way now and another then
    return _seconds(torch.bfloat16) < _MARGIN * _seconds(torch.float32)


def _seconds(dtype: torch.dtype) -> float:
    """The least of some trials, the first of which also prepares."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype)
    spent = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - began)
    return min(spent)
