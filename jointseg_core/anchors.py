"""Anchors: the boxes that a pyramid's cells start from."""

from __future__ import annotations

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

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        """Anchors [h * w * k, 4] of each level, for feature maps [B, C, h, w]; centres on cells."""
        key = (*[tuple(f.shape[-2:]) for f in features], features[0].device)
        if key not in self._cache:
            self._cache = {
                key: [self._level(*pair) for pair in zip(self.strides, features, strict=True)]
            }
        return self._cache[key]

    def _level(self, stride: int, feature: Tensor) -> Tensor:
        height, width = feature.shape[-2:]
        y = torch.arange(height, device=feature.device) + 0.5
        x = torch.arange(width, device=feature.device) + 0.5
        y, x = torch.meshgrid(y, x, indexing="ij")
        centers = torch.stack([x, y, x, y], -1)[:, :, None]  # [h, w, 1, 4]
        return ((centers + self._shapes.to(feature.device)) * stride).reshape(-1, 4)
