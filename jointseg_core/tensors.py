"""Tensors that are made where they are needed, without a copy from the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def constants(values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers [n] that the device of `like` writes itself; `new_tensor` would wait for a copy.

    dtype is that of `like` unless given.
    """
    return torch.cat([like.new_full((1,), value, dtype=dtype) for value in values])
