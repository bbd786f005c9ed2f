"""RoIAlign over a pyramid (Mask R-CNN section 3, FPN 4.2), written as one weighted sum of cells.

A bin of a region is the mean of 2x2 bilinear samples, which is a sum of 16 cells with weights that
are products of one for the row and one for the column. `embedding_bag` computes such sums with
channels last, many times faster than a kernel that goes through channels one by one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.tensors import constants

_STRIDES = (4, 8, 16, 32)
"""Network pixels per cell of P2..P5."""
BINS, _SAMPLES = 7, 2
"""Bins along each side of a region, and samples along each side of a bin."""


def roi_align(features: list[Tensor], regions: list[Tensor], canonical_size: float) -> Tensor:
    """Pooled features [n, BINS * BINS, C] of regions [n_i, 4] of each image, in network pixels.

    features are P2..P5, [B, C, h, w] each. A region of canonical_size comes from P4, one of half
    the side from P3 and so on.
    """
    boxes, images = torch.cat(regions), _image_of(regions)
    levels = _region_levels(boxes, canonical_size)
    height, width = (constants([f.shape[i] for f in features], levels) for i in (-2, -1))
    areas = height * width  # of each level
    starts = len(regions) * (areas.cumsum(0) - areas)  # where each level's cells start
    height, width = height[levels], width[levels]
    first = (starts[levels] + images * areas[levels])[:, None]
    scaled = boxes / constants(_STRIDES, boxes)[levels, None]
    # 4 rows and 4 columns of cells for each bin: all pairs, with the products of their weights
    rows, row_weights = _samples(scaled[:, 1], scaled[:, 3], height)
    columns, column_weights = _samples(scaled[:, 0], scaled[:, 2], width)
    cells = (first + rows * width[:, None]).view(-1, BINS, 1, 2 * _SAMPLES, 1)
    cells = cells + columns.view(-1, 1, BINS, 1, 2 * _SAMPLES)
    weights = row_weights.view(-1, BINS, 1, 2 * _SAMPLES, 1)
    weights = weights * column_weights.view(-1, 1, BINS, 1, 2 * _SAMPLES)
    pooled = F.embedding_bag(
        cells.flatten(0, 2).flatten(1),
        torch.cat([f.permute(0, 2, 3, 1).flatten(0, 2) for f in features]),
        per_sample_weights=weights.flatten(0, 2).flatten(1).to(features[0].dtype),
        mode="sum",
    )
    return pooled.view(-1, BINS * BINS, pooled.shape[1])


def _region_levels(boxes: Tensor, canonical_size: float) -> Tensor:
    """The pyramid level of each box [n], counted from P2 = 0 (FPN equation 1)."""
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    level = torch.floor(4 + torch.log2(sides / canonical_size) + 1e-6)
    return level.clamp(2, 5).long() - 2


def _image_of(regions: list[Tensor]) -> Tensor:
    """The number of the image that each region is in, [n]."""
    return torch.cat([torch.full_like(r[:, 0], i, dtype=torch.long) for i, r in enumerate(regions)])


def _samples(start: Tensor, end: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Along one side: the two cells around every sample [n, 2 * BINS * _SAMPLES], their weights.

    start, end [n] in cells of maps that are length [n] cells long. Samples outside weigh nothing.
    """
    count = BINS * _SAMPLES
    step = (end - start).clamp(min=1) / count
    position = start[:, None] + (torch.arange(count, device=start.device) + 0.5) * step[:, None]
    last = length[:, None] - 1
    inside = (position >= -1) & (position <= last + 1)
    position = position.clamp(min=0).minimum(last)
    before = position.floor().minimum(last - 1).clamp(min=0)
    share = position - before
    pair = torch.stack([before, (before + 1).minimum(last)], -1).long()
    weights = torch.stack([1 - share, share], -1) * inside[..., None] / _SAMPLES
    return pair.flatten(1), weights.flatten(1)
