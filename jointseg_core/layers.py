"""The few building blocks that both models' heads are made of."""

from __future__ import annotations

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
    """A 3x3 prediction convolution that is computed only at the cells that somebody asks for."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def at(self, features: list[Tensor], cells: Tensor) -> Tensor:
        """Outputs [n, channels_out] at cells [n] of one image's maps, [C, h, w] each.

        Cells count through the levels, row by row: what `forward` would give there.
        """
        padded = torch.cat([F.pad(f, (1, 1, 1, 1)).flatten(1) for f in features], 1)  # [C, P]
        index = _neighbourhoods([tuple(f.shape[-2:]) for f in features], cells)
        patches = padded[:, index]  # [C, n, 9]
        return torch.einsum("cnk,ock->no", patches, self.weight.flatten(2)) + self.bias

    def at_anchors(self, features: list[Tensor], anchors: Tensor, per_cell: int) -> Tensor:
        """Outputs [n, channels_out / per_cell] at anchors [n], of which a cell has per_cell."""
        cells, inverse = (anchors // per_cell).unique(return_inverse=True)
        values = self.at(features, cells).unflatten(1, (per_cell, -1))
        return values[inverse, anchors % per_cell]


def _neighbourhoods(sizes: list[tuple[int, int]], cells: Tensor) -> Tensor:
    """Where 3x3 neighbourhoods [n, 9] of cells lie in maps padded by 1 and flattened."""
    corners, widths, start = [], [], 0
    for height, width in sizes:
        rows = torch.arange(height, device=cells.device)[:, None] * (width + 2)
        corners.append((start + rows + torch.arange(width, device=cells.device)).flatten())
        widths.append(torch.full_like(corners[-1], width + 2))
        start += (height + 2) * (width + 2)
    steps = torch.arange(3, device=cells.device)
    row_starts = torch.cat(corners)[cells][:, None] + torch.cat(widths)[cells][:, None] * steps
    return (row_starts[:, :, None] + steps).flatten(1)
