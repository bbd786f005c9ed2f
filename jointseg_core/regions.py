"""SegRPN's second stage: what each proposed region shows, and where exactly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou

from jointseg_core.boxes import BOX_WEIGHTS, box_loss, decode_boxes
from jointseg_core.roi_align import BINS, roi_align
from jointseg_core.targets import Target, anchor_labels, sample
from jointseg_core.tensors import constants

_POSITIVE_REGIONS = 0.25  # at most this share of the sampled regions are objects


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

    def detect(self, features: list[Tensor], regions: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Boxes [n_i, K, 4], one for each class, and scores [n_i, K] of each image's regions."""
        logits, deltas = self(features, regions)
        scale = constants(BOX_WEIGHTS, deltas)
        boxes = decode_boxes(deltas / scale, torch.cat(regions)[:, None])
        scores, counts = logits.softmax(1)[:, :-1], [len(of_image) for of_image in regions]
        pairs = zip(torch.split(boxes, counts), torch.split(scores, counts), strict=True)
        return list(pairs)


def _assign_regions(regions: Tensor, boxes: Tensor, positive: float = 0.5) -> Tensor:
    """The object of each region [R]: the one it overlaps most, if that IoU >= positive, else -1."""
    if not len(boxes):
        return torch.full((len(regions),), -1, device=regions.device)
    best, assigned = box_iou(regions, boxes).max(1)
    return torch.where(best >= positive, assigned, -1)


def sample_regions(
    proposals: Tensor, target: Target, generator: torch.Generator | None, count: int
) -> tuple[Tensor, Tensor]:
    """At most `count` random proposals [n, 4] of an image that train the head, their objects [n].

    The objects' own boxes are proposals too, so that there is something to learn from the start.
    """
    candidates = torch.cat([proposals, target.boxes])
    assigned = _assign_regions(candidates, target.boxes)
    chosen = sample(assigned, count, _POSITIVE_REGIONS, generator)
    return candidates[chosen], assigned[chosen]


def region_losses(
    logits: Tensor,
    deltas: Tensor,
    regions: list[Tensor],
    owners: list[Tensor],
    targets: list[Target],
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the classes of all regions, and box loss of those with an object, summed.

    logits [n, K + 1] and deltas [n, K, 4] of the regions [n_i, 4] of each image; owners [n_i] are
    their objects as `_assign_regions` gives them.
    """
    background = logits.shape[1] - 1
    images = list(zip(targets, owners, strict=True))
    labels = torch.cat([anchor_labels(target, owner, background) for target, owner in images])
    wanted = torch.cat([target.boxes[owner[owner >= 0]] for target, owner in images])
    positive = (labels < background).nonzero().flatten()
    found = deltas[positive, labels[positive]]  # each class has a box of its own
    scale = constants(BOX_WEIGHTS, deltas)
    boxes = box_loss(found, wanted, torch.cat(regions)[positive], beta=1.0, scale=scale)
    return F.cross_entropy(logits, labels, reduction="sum"), boxes
