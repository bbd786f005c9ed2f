"""SegRPN's proposal heads: RPN_det on the pyramid, RPN_mask on the class-agnostic branch.

The second helps the first by feature fusion (rows "RPN" of Table I) and by score fusion ("ROI").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

from jointseg_core.boxes import best_of_levels, box_loss, decode_boxes
from jointseg_core.layers import init_normal, per_anchor
from jointseg_core.letterbox import Letterbox
from jointseg_core.targets import Target


class ProposalHead(nn.Module):
    """Objectness and boxes from one 3x3 convolution, whose output can be fused."""

    def __init__(self, channels_in: int, channels: int, per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, per_cell, 1)
        self.box_deltas = nn.Conv2d(channels, per_cell * 4, 1)
        init_normal(self)

    def features(self, levels: list[Tensor]) -> list[Tensor]:
        """The maps that both predictions read, [B, channels, h, w]."""
        return [F.relu(self.conv(level), inplace=True) for level in levels]

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness [B, A] and box deltas [B, A, 4]."""
        objectness = per_anchor([self.objectness(f) for f in features], 1)[..., 0]
        return objectness, per_anchor([self.box_deltas(f) for f in features], 4)


class ScaleMapHead(nn.Module):
    """In place of RPN_mask: the places of each level's objects are given (Table II).

    A map is its own feature and the objectness of each of its cell's anchors. Maps of zeros change
    neither features nor scores, so without them the network is the paper's baseline.
    """

    def __init__(self, per_cell: int) -> None:
        super().__init__()
        self.per_cell = per_cell

    def features(self, maps: list[Tensor]) -> list[Tensor]:
        """The maps [B, 1, h, w] themselves."""
        return maps

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness [B, A] and no box deltas [B, 0, 4]."""
        anchors = [level.expand(-1, self.per_cell, -1, -1) for level in maps]
        objectness = per_anchor(anchors, 1)[..., 0]
        return objectness, objectness.new_zeros(len(objectness), 0, 4)


def fuse_features(detection: list[Tensor], mask: list[Tensor]) -> list[Tensor]:
    """F' = F_det * F_mask + F_det, maps [B, C, h, w] level by level: the paper's rows "RPN".

    The paper says "multiplication followed by an element-wise sum", not of what. With F_det as the
    summand, features of 0 leave the detector as it was, as its rows "w/o RPN at test" need.
    """
    return [f * m + f for f, m in zip(detection, mask, strict=True)]


def fuse_scores(detection: Tensor, mask: Tensor) -> Tensor:
    """z' = z_det + z_mask, logits [B, A] before the sigmoid: the paper's rows "ROI"."""
    return detection + mask


def anchor_losses(
    objectness: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    target: Target,
    assigned: Tensor,
    sampled: Tensor,
) -> tuple[Tensor, Tensor]:
    """Objectness and box loss of one head at the sampled of one image's anchors, summed.

    objectness [A], deltas [A, 4], anchors [A, 4], assigned [A] their objects, sampled [n] indices.
    """
    wanted = (assigned[sampled] >= 0).to(objectness.dtype)
    classes = F.binary_cross_entropy_with_logits(objectness[sampled], wanted, reduction="sum")
    positive = sampled[assigned[sampled] >= 0]
    boxes = target.boxes[assigned[positive]]
    return classes, box_loss(deltas[positive], boxes, anchors[positive], beta=1 / 9)


def choose_proposals(
    scores: Tensor,
    deltas: Tensor,
    anchors: list[Tensor],
    input_size: tuple[int, int],
    candidates: int,
    nms_iou: float,
) -> tuple[Tensor, Tensor]:
    """Boxes [n, 4] of one image in network pixels that survive NMS, best first, and scores [n].

    scores [A], deltas [A, 4]; `candidates` come from each level. None is smaller than a pixel.
    """
    index, level = best_of_levels(scores, [len(one) for one in anchors], candidates)
    frame = Letterbox(input_size, input_size)
    boxes = frame.to_image(decode_boxes(deltas[index].float(), torch.cat(anchors)[index]))
    visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)  # after clipping to the input
    boxes, scores, level = boxes[visible], scores[index][visible], level[visible]
    # levels do not compete; in fp64 as in `detect`
    keep = batched_nms(boxes.double(), scores.double(), level, nms_iou)
    return boxes[keep], scores[keep]
