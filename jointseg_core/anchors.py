"""Anchors: the boxes that a pyramid's cells start from."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class AnchorGrid:
    """Anchors of every cell of every level, in the order level, row, column, scale and ratio.

    strides    pixels between the cells of each level
    base_size  side of a square anchor of scale 1, in strides
    scales     factors on the side; ratios are height / width
    """

    def __init__(
        self,
        strides: tuple[int, ...],
        base_size: float,
        scales: tuple[float, ...] = (1.0,),
        ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    ) -> None:
        self.strides = strides
        self.per_cell = len(scales) * len(ratios)
        scale = torch.tensor(scales)[:, None]
        root = torch.tensor(ratios).sqrt()
        sides = torch.stack([scale / root, scale * root], -1).view(-1, 2) * base_size
        self._shapes = torch.cat([-sides / 2, sides / 2], -1)  # [k, 4] in strides
        self._cache: dict[tuple, list[Tensor]] = {}

    def __call__(self, input_size: tuple[int, int], device: torch.device | str) -> list[Tensor]:
        """Anchors [h * w * k, 4] of each level for an input of (H, W) pixels; centres on cells.

        A level has a cell for every started stride: h is H / stride rounded up.
        """
        key = (*input_size, torch.device(device))
        if key not in self._cache:
            self._cache = {key: [self._level(s, input_size, device) for s in self.strides]}
        return self._cache[key]

    def _level(
        self, stride: int, input_size: tuple[int, int], device: torch.device | str
    ) -> Tensor:
        height, width = (math.ceil(side / stride) for side in input_size)
        y = torch.arange(height, device=device) + 0.5
        x = torch.arange(width, device=device) + 0.5
        y, x = torch.meshgrid(y, x, indexing="ij")
        centers = torch.stack([x, y, x, y], -1)[:, :, None]  # [h, w, 1, 4]
        return ((centers + self._shapes.to(device)) * stride).reshape(-1, 4)
