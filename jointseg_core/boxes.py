"""Boxes: where anchors lie, the deltas that lead to objects, and which of many boxes remain.

A box is x1, y1, x2, y2 in pixels, right and bottom exclusive. torchvision.ops has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Scale of box deltas where they are made to vary by about 1: one over the usual variances."""
_PROPOSAL_IOU = 0.7  # proposals may overlap by this much; they only have to miss nothing
_MAX_LOG_SCALE = math.log(1000 / 16)  # a decoded side is at most so much longer than its anchor's
_MOST_CANDIDATES = 20_000

# -- anchors ----------------------------------------------------------------------------------


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
        # a ratio changes the sides by its root, so that all anchors of a scale have one area
        sides = torch.stack([scale / root, scale * root], -1).view(-1, 2) * base_size
        self._shapes = torch.cat([-sides / 2, sides / 2], -1)  # [k, 4] in strides
        self._cache: dict[tuple[object, ...], list[Tensor]] = {}

    def __call__(self, input_size: Sequence[int], device: torch.device | str) -> list[Tensor]:
        """Anchors [h * w * k, 4] of each level for an input of (H, W) pixels; centres on cells.

        A level has a cell for every started stride: h is H / stride rounded up.
        """
        key = (*input_size, torch.device(device))
        if key not in self._cache:  # only the last size is kept
            self._cache = {key: [self._level(s, input_size, device) for s in self.strides]}
        return self._cache[key]

    def _level(self, stride: int, input_size: Sequence[int], device: torch.device | str) -> Tensor:
        height, width = (math.ceil(side / stride) for side in input_size)
        y = torch.arange(height, device=device) + 0.5
        x = torch.arange(width, device=device) + 0.5
        y, x = torch.meshgrid(y, x, indexing="ij")
        centers = torch.stack([x, y, x, y], -1)[:, :, None]  # [h, w, 1, 4]
        return ((centers + self._shapes.to(device)) * stride).reshape(-1, 4)


# -- deltas -----------------------------------------------------------------------------------


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    corners_1, corners_2 = boxes[..., :2], boxes[..., 2:]
    return (corners_1 + corners_2) / 2, corners_2 - corners_1


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Deltas (dx, dy, dw, dh) [..., 4] that lead from anchors [..., 4] to boxes [..., 4].

    Shifts of the centre in sides of the anchor, and logarithms of how the sides grow.
    """
    centers, sizes = _centers_and_sizes(boxes)
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    shifts = (centers - anchor_centers) / anchor_sizes
    return torch.cat([shifts, torch.log(sizes / anchor_sizes)], -1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes [..., 4] that the deltas [..., 4] reach from the anchors [..., 4]."""
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    centers = anchor_centers + deltas[..., :2] * anchor_sizes
    # clamped, or an untrained network's exponentials overflow
    halves = deltas[..., 2:].clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE).exp() * anchor_sizes / 2
    return torch.cat([centers - halves, centers + halves], -1)


def box_loss(
    deltas: Tensor, boxes: Tensor, anchors: Tensor, beta: float, scale: Tensor | float = 1.0
) -> Tensor:
    """Smooth L1 between deltas [n, 4] and those that lead from anchors to boxes [n, 4], summed.

    Quadratic up to a difference of beta, linear beyond. scale multiplies the wanted deltas, as
    BOX_WEIGHTS does.
    """
    wanted = encode_boxes(boxes, anchors) * scale
    return F.smooth_l1_loss(deltas, wanted, beta=beta, reduction="sum")


# -- windows ----------------------------------------------------------------------------------


def has_area(boxes: Tensor) -> Tensor:
    """Which boxes [..., 4] are wider and higher than nothing, bool [...]; false for NaN."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def crop_windows(boxes: Tensor, margin: float, size: Sequence[int], min_pad: float = 1) -> Tensor:
    """Pixels of an image (H, W) whose centres lie inside boxes with a margin: int64 [N, 4].

    The cropping of RDSNet 3.1. The margin is a share of the box's sides, added on each side (so
    0.25 expands by 1.5); one above 0 pads by at least min_pad pixels.
    """
    centers, sizes = _centers_and_sizes(boxes)
    halves, pad = sizes * (1 + 2 * margin) / 2, min_pad if margin > 0 else 0
    first = torch.minimum(centers - halves, boxes[..., :2] - pad)
    last = torch.maximum(centers + halves, boxes[..., 2:] + pad)
    height, width = size
    # pixel j is inside when x1 <= j + 0.5 < x2, so both ends round the same way
    edges = (torch.stack([first, last], -2) - 0.5).ceil()  # [..., 2, 2]
    x, y = edges[..., 0].clamp(0, width), edges[..., 1].clamp(0, height)
    return torch.stack([x, y], -1).flatten(-2).long()


# -- the choice among boxes -------------------------------------------------------------------


def logit(probability: float) -> float:
    """The number whose sigmoid is the probability; infinite for 0 and 1."""
    return torch.tensor(probability, dtype=torch.float64).logit().item()


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
    such as those in the padding, are not found. Of more than 20 000 candidates, as noise gives an
    untrained network, the best are taken, so that the time is bounded.
    """
    per_class = boxes if boxes.ndim == 3 else boxes[:, None]
    rows, labels = ((scores > threshold) & has_area(per_class)).nonzero(as_tuple=True)
    if len(rows) > _MOST_CANDIDATES:
        best = scores[rows, labels].sort(descending=True, stable=True).indices[:_MOST_CANDIDATES]
        rows, labels = rows[best], labels[best]
    found, certainty = per_class.expand(*scores.shape, 4)[rows, labels], scores[rows, labels]
    # in fp64, since NMS by class shifts boxes by the class, which in fp32 changes what overlaps
    keep = batched_nms(found.double(), certainty.double(), labels, nms_iou)[:limit]
    return rows[keep], labels[keep]


def of_any_class(boxes: Tensor, scores: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """At most `limit` of boxes [N, 4] and scores [N], best first, whatever their classes.

    Of boxes that overlap by more than 0.7 the best remains, of those without area none.
    """
    rows, _ = detect(boxes, scores[:, None], 0, _PROPOSAL_IOU, limit)
    return boxes[rows], scores[rows]
