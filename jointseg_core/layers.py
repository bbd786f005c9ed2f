"""The few building blocks that the models' heads are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(channels_in: int, channels_out: int, groups: int) -> nn.Sequential:
    """3x3 convolution, group norm, ReLU; groups=0 is a convolution with bias and no norm."""
    norm = [nn.GroupNorm(groups, channels_out)] if groups else []
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=not groups)
    return nn.Sequential(conv, *norm, nn.ReLU(inplace=True))


def tower(channels_in: int, channels: int, depth: int, groups: int) -> nn.Sequential:
    """`depth` 3x3 convolutions one after the other, each with norm and ReLU."""
    widths = [channels_in, *[channels] * depth]
    return nn.Sequential(*[conv_norm_relu(a, b, groups) for a, b in pairwise(widths)])


def per_anchor(levels: list[Tensor], values: int) -> Tensor:
    """Maps [B, k * values, h, w] of all levels as one list of anchors [B, A, values]."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, values) for m in levels], 1)


def init_normal(module: nn.Module, std: float = 0.01) -> None:
    """Convolutions and linear layers from N(0, std), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_xavier(module: nn.Module) -> None:
    """Convolutions from Xavier's uniform distribution, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class CellConv2d(nn.Conv2d):
    """A 3x3 prediction convolution that can be computed at some cells of the maps alone."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def at(self, features: list[Tensor], cells: Tensor) -> Tensor:
        """Outputs [n, channels_out] in fp32 at cells [n] of one image's maps, [C, h, w] each.

        Cells count through the levels, row by row: what `forward` would give there.
        """
        rows = [f.permute(1, 2, 0).flatten(0, 1) for f in features]  # [h * w, C], channels last
        outside = rows[0].new_zeros(1, self.in_channels)
        # as a matrix product over the 9 cells around each, those outside being zeros
        around = _neighbourhoods([f.shape[-2:] for f in features], cells)
        patches = torch.cat([*rows, outside])[around]  # [n, 9, C]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches.flatten(1), weight, self.bias).float()

    def at_anchors(self, features: list[Tensor], anchors: Tensor, per_cell: int) -> Tensor:
        """Outputs [n, channels_out / per_cell] at anchors [n], of which a cell has per_cell."""
        # a cell whose anchors are asked for together is computed once
        cells, inverse = torch.unique(anchors // per_cell, return_inverse=True)
        values = self.at(features, cells).view(-1, per_cell, self.out_channels // per_cell)
        return values[inverse, anchors % per_cell]

    def at_each(self, features: list[Tensor], anchors: Tensor, per_cell: int) -> Tensor:
        """The same, but each anchor pays for its whole cell: shapes depend on n alone."""
        values = self.at(features, anchors // per_cell)
        values = values.view(-1, per_cell, self.out_channels // per_cell)
        return values[torch.arange(len(anchors), device=anchors.device), anchors % per_cell]


def _neighbourhoods(sizes: Sequence[Sequence[int]], cells: Tensor) -> Tensor:
    """The 3x3 cells [n, 9] around each of these; one past the last stands for all outside."""
    around, start, outside = [], 0, sum(height * width for height, width in sizes)
    for height, width in sizes:
        numbers = torch.arange(start, start + height * width, device=cells.device)
        padded = F.pad(numbers.view(height, width), (1, 1, 1, 1), value=outside)
        around.append(padded.unfold(0, 3, 1).unfold(1, 3, 1).reshape(-1, 9))
        start += height * width
    return torch.cat(around)[cells]
