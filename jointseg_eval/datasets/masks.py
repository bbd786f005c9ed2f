"""Masks of objects: their boxes, and as crops of bits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def tight_boxes(masks: Tensor) -> Tensor:
    """Boxes [N, 4] around the pixels of masks bool [N, H, W]; zeros for a mask without any."""
    if not masks.numel():
        return torch.zeros(len(masks), 4)
    height, width = masks.shape[1:]
    bits = masks.numpy()  # whose reductions of bool are ten times as fast
    columns, rows = bits.any(1), bits.any(2)
    edges = [
        columns.argmax(1),
        rows.argmax(1),
        width - columns[:, ::-1].argmax(1),
        height - rows[:, ::-1].argmax(1),
    ]
    return torch.from_numpy(np.stack(edges, 1) * columns.any(1, keepdims=True)).float()


def pixel_counts(masks: Tensor) -> Tensor:
    """Pixels int64 [N] of masks bool [N, H, W]."""
    return torch.tensor([np.count_nonzero(mask) for mask in masks.numpy()], dtype=torch.int64)


def pack(masks: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Windows int32 [N, 4] (x1, y1, x2, y2) of masks bool [N, H, W], and the bits inside.

    The bits of a window begin with a byte (uint8 [bytes]), row after row.
    """
    windows = tight_boxes(masks).numpy().astype(np.int32)
    crops = [m[y1:y2, x1:x2] for m, (x1, y1, x2, y2) in zip(masks.numpy(), windows, strict=True)]
    return windows, np.concatenate([np.zeros(0, np.uint8), *map(np.packbits, crops)])


def unpack(windows: np.ndarray, bits: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The masks bool [N, H, W] that `pack` was given, of pictures of `size`."""
    masks = np.zeros((len(windows), *size), bool)
    start = 0
    for mask, (x1, y1, x2, y2) in zip(masks, windows.tolist(), strict=True):
        count = (y2 - y1) * (x2 - x1)
        end = start + (count + 7) // 8
        crop = np.unpackbits(bits[start:end], count=count)
        mask[y1:y2, x1:x2] = crop.reshape(y2 - y1, x2 - x1)
        start = end
    return torch.from_numpy(masks)
