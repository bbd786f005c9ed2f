"""SegRPN's second stage: what each proposed region shows, and where exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, box_iou


class RegionHead(nn.Module):
    """Two fully connected layers over 7x7 pooled features: class and box of each region."""

    def __init__(self, channels: int, hidden: int, num_things: int, canonical_size: float) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(
            ["P2", "P3", "P4", "P5"], 7, 2, canonical_scale=canonical_size, canonical_level=4
        )
        self.hidden = nn.Sequential(
            nn.Linear(channels * 49, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.class_logits = nn.Linear(hidden, num_things + 1)  # background comes last
        self.box_deltas = nn.Linear(hidden, num_things * 4)
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.box_deltas.weight, std=0.001)
        nn.init.zeros_(self.class_logits.bias)
        nn.init.zeros_(self.box_deltas.bias)

    def forward(
        self, features: list[Tensor], regions: list[Tensor], input_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Regions [n_i, 4] of each image to class logits [n, K + 1] and box deltas [n, K, 4]."""
        maps = dict(zip(("P2", "P3", "P4", "P5"), features, strict=True))
        pooled = self.pool(maps, regions, [input_size] * len(regions))
        hidden = self.hidden(pooled.flatten(1))
        return self.class_logits(hidden), self.box_deltas(hidden).unflatten(1, (-1, 4))


def assign_regions(regions: Tensor, boxes: Tensor, positive: float = 0.5) -> Tensor:
    """The object of each region [R]: the one it overlaps most, if that IoU >= positive, else -1."""
    if not len(boxes):
        return torch.full((len(regions),), -1, device=regions.device)
    best, assigned = box_iou(regions, boxes).max(1)
    return torch.where(best >= positive, assigned, -1)
