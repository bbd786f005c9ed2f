"""Masks without their edges, many at once."""

from __future__ import annotations

from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]


def eroded(cells: _Array, sizes: _Array, share: float) -> _Array:
    """Masks without their edges: of a share of the window, and of a pixel at least.

    cells: bool [N, G, G], whether a mask holds G x G places of its window; sizes: int [N, 2], width
    and height of the windows in pixels. Where less than a fifth of a mask would be left, half as
    much is taken away, and again, until nothing is: no mask vanishes.
    """
    if share <= 0:
        return cells
    reach = np.ceil(np.maximum(share, 1 / sizes) * cells.shape[1]).astype(np.int64)  # [N, 2], cells
    inner = cells.copy()
    left = np.arange(len(cells))
    while len(left):
        inner[left] = _around(cells[left], reach[left])
        enough = inner[left].sum((1, 2)) * 5 >= cells[left].sum((1, 2))
        reach = reach // 2
        left = left[~enough]
    return inner


def _around(cells: _Array, reach: _Array) -> _Array:
    """Cells with none but cells of the mask around, so far across and down: int [N, 2]."""
    side = cells.shape[1]
    sums = np.zeros((len(cells), side + 1, side + 1), np.int32)
    np.cumsum(cells, 1, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], 2, out=sums[:, 1:, 1:])
    place = np.arange(side)
    ends = [
        (np.maximum(place - r[:, None], 0), np.minimum(place + r[:, None] + 1, side))
        for r in reach.T
    ]
    each = np.arange(len(cells))[:, None]
    rows = sums[each, ends[1][1]] - sums[each, ends[1][0]]  # [N, G, G + 1]
    full = np.take_along_axis(rows, ends[0][1][:, None], 2)
    full -= np.take_along_axis(rows, ends[0][0][:, None], 2)
    inside: _Array = full == (2 * reach + 1).prod(1)[:, None, None]
    return inside
