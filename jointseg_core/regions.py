"""SegRPN's second stage: what each proposed region shows, and where exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from jointseg_core.roi_align import BINS, roi_align


class RegionHead(nn.Module):
    """Two fully connected layers over 7x7 pooled features: class and box of each region."""

    def __init__(self, channels: int, hidden: int, num_things: int, canonical_size: float) -> None:
        super().__init__()
        self.canonical_size = canonical_size
        inputs = channels * BINS * BINS
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.class_logits = nn.Linear(hidden, num_things + 1)  # background comes last
        self.box_deltas = nn.Linear(hidden, num_things * 4)
        nn.init.normal_(self.class_logits.weight, std=0.01)
        nn.init.normal_(self.box_deltas.weight, std=0.001)
        nn.init.zeros_(self.class_logits.bias)
        nn.init.zeros_(self.box_deltas.bias)

    def forward(self, features: list[Tensor], regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Regions [n_i, 4] of each image to class logits [n, K + 1] and box deltas [n, K, 4].

        features are P2..P5; results are in fp32.
        """
        return self.classify(roi_align(features, regions, self.canonical_size))

    def classify(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """The same of pooled features [n, BINS * BINS, C]."""
        hidden = self.hidden(pooled.transpose(1, 2).flatten(1))
        deltas = self.box_deltas(hidden).float().unflatten(1, (-1, 4))
        return self.class_logits(hidden).float(), deltas


def assign_regions(regions: Tensor, boxes: Tensor, positive: float = 0.5) -> Tensor:
    """The object of each region [R]: the one it overlaps most, if that IoU >= positive, else -1."""
    if not len(boxes):
        return torch.full((len(regions),), -1, device=regions.device)
    best, assigned = box_iou(regions, boxes).max(1)
    return torch.where(best >= positive, assigned, -1)
