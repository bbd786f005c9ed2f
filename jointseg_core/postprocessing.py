"""From the scores of all anchors to the few boxes that remain."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from jointseg_core.boxes import has_area

PROPOSAL_IOU = 0.7
"""Proposals may overlap by this much; they only have to miss nothing."""

MOST_CANDIDATES = 20_000


def best_of_levels(
    scores: Tensor, sizes: Iterable[int], limit: int, threshold: float = float("-inf")
) -> tuple[Tensor, Tensor]:
    """Each level's `limit` best anchors with scores above the threshold: indices [n], levels [n].

    scores [A] of all levels, `sizes` anchors each.
    """
    chosen, start = [], 0
    for size in sizes:
        top = scores[start : start + size].topk(min(limit, size))
        chosen.append(start + top.indices[top.values > threshold])
        start += size
    levels = [torch.full_like(indices, number) for number, indices in enumerate(chosen)]
    return torch.cat(chosen), torch.cat(levels)


def detect(
    boxes: Tensor, scores: Tensor, threshold: float, nms_iou: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Rows [n] and classes [n] of what scores above the threshold and survives NMS, best first.

    scores [N, K]; boxes [N, 4], or [N, K, 4] where each class has its own. Boxes without area,
    such as those in the padding, are not found. Of more candidates than MOST_CANDIDATES, as noise
    gives an untrained network, the best are taken, so that the time is bounded.
    """
    per_class = boxes if boxes.ndim == 3 else boxes[:, None]
    rows, labels = ((scores > threshold) & has_area(per_class)).nonzero(as_tuple=True)
    if len(rows) > MOST_CANDIDATES:
        best = scores[rows, labels].sort(descending=True, stable=True).indices[:MOST_CANDIDATES]
        rows, labels = rows[best], labels[best]
    found, certainty = per_class.expand(*scores.shape, 4)[rows, labels], scores[rows, labels]
    # in fp64, since NMS by class shifts boxes by the class, which in fp32 changes what overlaps
    keep = batched_nms(found.double(), certainty.double(), labels, nms_iou)[:limit]
    return rows[keep], labels[keep]


def of_any_class(boxes: Tensor, scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """At most `limit` of boxes [N, 4] and scores [N], best first, whatever their classes.

    Of boxes that overlap by more than PROPOSAL_IOU the best remains, of those without area none.
    """
    rows, _ = detect(boxes, scores[:, None], 0, PROPOSAL_IOU, limit)
    return boxes[rows], scores[rows]
