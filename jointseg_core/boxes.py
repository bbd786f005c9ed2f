"""Box arithmetic that torchvision.ops lacks; boxes are x1, y1, x2, y2 in pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)
"""A decoded side is at most this much (in log) longer than its anchor's."""
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Scale of box deltas where they are made to vary by about 1: one over the usual variances."""


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    corners_1, corners_2 = boxes[..., :2], boxes[..., 2:]
    return (corners_1 + corners_2) / 2, corners_2 - corners_1


def logit(probability: float) -> float:
    """The number whose sigmoid is the probability; infinite for 0 and 1."""
    return torch.tensor(probability, dtype=torch.float64).logit().item()


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Deltas (dx, dy, dw, dh) [..., 4] that lead from anchors [..., 4] to boxes [..., 4]."""
    centers, sizes = _centers_and_sizes(boxes)
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    shifts = (centers - anchor_centers) / anchor_sizes
    return torch.cat([shifts, torch.log(sizes / anchor_sizes)], -1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes [..., 4] that the deltas [..., 4] reach from the anchors [..., 4]."""
    anchor_centers, anchor_sizes = _centers_and_sizes(anchors)
    centers = anchor_centers + deltas[..., :2] * anchor_sizes
    halves = deltas[..., 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp() * anchor_sizes / 2
    return torch.cat([centers - halves, centers + halves], -1)


def has_area(boxes: Tensor) -> Tensor:
    """Which boxes [..., 4] are wider and higher than nothing, bool [...]; false for NaN."""
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def expand_boxes(boxes: Tensor, factor: float) -> Tensor:
    """Boxes [..., 4] scaled about their centres; not clipped (RDSNet 3.1, cropping module)."""
    centers, sizes = _centers_and_sizes(boxes)
    halves = sizes * factor / 2
    return torch.cat([centers - halves, centers + halves], -1)


def crop_windows(boxes: Tensor, margin: float, size: tuple[int, int], min_pad: float = 1) -> Tensor:
    """Pixels of an image (H, W) whose centres lie inside boxes with a margin: int64 [N, 4].

    The margin is a share of the box's sides, added on each side (so 0.25 expands by 1.5); one
    above 0 pads by at least min_pad pixels.
    """
    grown, pad = expand_boxes(boxes, 1 + 2 * margin), min_pad if margin > 0 else 0
    first = torch.minimum(grown[..., :2], boxes[..., :2] - pad)
    last = torch.maximum(grown[..., 2:], boxes[..., 2:] + pad)
    height, width = size
    # pixel j is inside when x1 <= j + 0.5 < x2, so both ends round the same way
    edges = (torch.stack([first, last], -2) - 0.5).ceil()  # [..., 2, 2]
    x, y = edges[..., 0].clamp(0, width), edges[..., 1].clamp(0, height)
    return torch.stack([x, y], -1).flatten(-2).long()


def window_pixels(windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel of windows [N, 4] row by row, window after window: owner [P], x [P], y [P]."""
    x1, y1, x2, y2 = windows.unbind(-1)
    widths, areas = x2 - x1, (x2 - x1) * (y2 - y1)
    owner = torch.arange(len(windows), device=windows.device).repeat_interleave(areas)
    inside = torch.arange(len(owner), device=windows.device) - (areas.cumsum(0) - areas)[owner]
    return owner, x1[owner] + inside % widths[owner], y1[owner] + inside // widths[owner]
