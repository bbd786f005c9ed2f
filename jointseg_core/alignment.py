"""Which cells find which object, and how well they should: task-aligned assignment.

TOOD: Task-aligned One-stage Object Detection (Feng et al., ICCV 2021), section 3.2. A cell suits an
object as well as its score and its box do, so what is learned changes as both get better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou_loss

from jointseg_core.correlation import MASK_STRIDE
from jointseg_core.targets import IGNORED, NEGATIVE, Target

_CELLS = 10  # of an object at most; TOOD has 13
_SCORE_POWER, _OVERLAP_POWER = 0.5, 4.0  # TOOD has 1 and 6
_MATCH = 0.5  # overlap from which a box has found an object
_REACH = 0.75  # cells: so far from a small object's centre its cells may lie


class Aligned(NamedTuple):
    """What the cells [A] of an image have to find."""

    owner: Tensor  # [A] the object of each, NEGATIVE, or IGNORED for one that is not asked
    quality: Tensor  # [A] the score that it should have for that object's class, 0..1
    best: Tensor  # [A] bool, whether it suits its object best of all cells

    @torch.no_grad()
    def chosen(self, logits: Tensor, cells: int, others: int) -> Tensor:
        """Indices of the best `cells` of each object, then of the most certain ones without any.

        logits [A, K]; of the latter there are at most `others`.
        """
        free = (self.owner == NEGATIVE).nonzero().flatten()
        free = free[logits[free].amax(1).topk(min(others, len(free))).indices]
        mine = (self.owner >= 0).nonzero().flatten()
        order = mine[self.quality[mine].argsort(descending=True, stable=True)]
        same = self.owner[order, None] == self.owner[order]
        rank = same.tril(-1).sum(1)  # how many of the same object come before
        return torch.cat([order[rank < cells], free])


@torch.no_grad()
def align(scores: Tensor, boxes: Tensor, anchors: Tensor, side: float, target: Target) -> Aligned:
    """The cells of each object: of those that lie in it, the ones that suit it best.

    scores [A, K] and boxes [A, 4] are what the network finds now; anchors [A, 4] are squares of
    `side` strides around the cells. The best cell of an object should score as its box
    overlaps it, others less in proportion.
    """
    groups, target = target.masks[target.crowd], target.sought()
    count, cells = len(target.labels), len(anchors)
    if not count:
        none = anchors.new_zeros(cells)
        owner = _leave_groups_out(none.long() + NEGATIVE, boxes, groups)
        return Aligned(owner, none, none.bool())
    overlaps = box_iou(target.boxes, boxes)  # [N, A]
    near, distance = _near(anchors, target.boxes, side)
    certainty = scores.T[target.labels]
    # the last term decides while nothing overlaps yet
    suits = certainty**_SCORE_POWER * overlaps**_OVERLAP_POWER + 1e-9 / (1 + distance)
    suits = suits.masked_fill(~near, 0)
    top = suits.topk(min(_CELLS, cells), 1)
    chosen = torch.zeros_like(suits).scatter(1, top.indices, top.values)
    best, owner = chosen.max(0)  # a cell that suits several objects goes to one
    found = best > 0
    mine = chosen * (F.one_hot(owner, count).T * found)  # [N, A]
    most, overlap = mine.amax(1), (overlaps * (mine > 0)).amax(1)
    quality = (best * overlap[owner] / most[owner].clamp(min=1e-12)).clamp(max=1) * found
    best_of_all = found & (best == most[owner])
    owner = _leave_groups_out(torch.where(found, owner, NEGATIVE), boxes, groups)
    return Aligned(owner, quality, best_of_all)


def _near(anchors: Tensor, boxes: Tensor, side: float) -> tuple[Tensor, Tensor]:
    """Whether cells lie in objects, or near those that are small; distances in cells; [N, A]."""
    centers, strides = (anchors[:, :2] + anchors[:, 2:]) / 2, (anchors[:, 2] - anchors[:, 0]) / side
    middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    away = (centers - middles[:, None]).abs()  # [N, A, 2]
    reach = torch.maximum(halves[:, None], _REACH * strides[:, None])
    return (away < reach).all(-1), away.amax(-1) / strides


@torch.no_grad()
def match(boxes: Tensor, scores: Tensor, labels: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The object of each box, NEGATIVE or IGNORED, and how well they overlap, else 0: [n].

    Of boxes [n, 4] of an object's class that overlap it by half, the most certain one has it, as
    where they are scored.
    """
    groups, target = target.masks[target.crowd], target.sought()
    if not len(boxes) or not len(target.labels):
        owner = _leave_groups_out(labels.new_full((len(boxes),), NEGATIVE), boxes, groups)
        return owner, scores.new_zeros(len(boxes))
    overlaps, owner = (box_iou(boxes, target.boxes) * (labels[:, None] == target.labels)).max(1)
    certain = scores.masked_fill(overlaps < _MATCH, -1)
    most = scores.new_full((len(target.labels),), -1.0).scatter_reduce(0, owner, certain, "amax")
    found = (certain >= 0) & (certain == most[owner])
    owner = torch.where(found, owner, NEGATIVE)
    return _leave_groups_out(owner, boxes, groups), overlaps * found


@torch.no_grad()
def _leave_groups_out(owner: Tensor, boxes: Tensor, groups: Tensor) -> Tensor:
    """The owners [n] of boxes [n, 4], IGNORED for those of nothing that lie in groups by half.

    groups [G, H, W] are pixels of objects that nobody can tell apart: what is found there is not
    wrong, as COCO counts.
    """
    there = F.pad(groups.any(0).double(), (1, 0, 1, 0)).cumsum(0).cumsum(1)
    height, width = groups.shape[1:]
    x, y = (boxes[:, i::2].round().long().clamp(0, n) for i, n in enumerate((width, height)))
    (left, right), (top, bottom) = x.unbind(1), y.unbind(1)
    shown = there[bottom, right] - there[top, right] - there[bottom, left] + there[top, left]
    inside = shown > 0.5 * ((right - left) * (bottom - top))
    return torch.where(inside & (owner == NEGATIVE), IGNORED, owner)


def quality_focal_loss(logits: Tensor, owner: Tensor, quality: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of scores with qualities, weighted by how far they are apart, summed.

    Generalized Focal Loss (Li et al., NeurIPS 2020), Eq. 5 with beta 2. logits [n, K]; a NEGATIVE
    owner wants 0 for every class, an IGNORED one nothing.
    """
    classes = logits.shape[1]
    label = torch.cat([labels, labels.new_tensor([classes])])[owner.clamp(min=-1)]
    wanted = F.one_hot(label, classes + 1)[:, :classes] * quality[:, None]
    apart = (logits.sigmoid() - wanted).abs()
    losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    asked = (owner != IGNORED)[:, None]
    return (losses * apart.square() * asked).sum()


def overlap_loss(boxes: Tensor, wanted: Tensor, quality: Tensor) -> Tensor:
    """1 - GIoU of boxes [n, 4] with those that are wanted, weighted and summed."""
    losses: Tensor = generalized_box_iou_loss(boxes, wanted)
    return (losses * quality).sum()


def covered(masks: Tensor, size: Sequence[int]) -> Tensor:
    """The share of each cell that masks [N, H, W] cover, [N, h, w] of the size, 0..1.

    Unlike a yes or no it says where in a cell an edge is, and a mask's logits are interpolated.
    """
    height, width = (MASK_STRIDE * side for side in size)
    room = 0, width - masks.shape[2], 0, height - masks.shape[1]
    return F.avg_pool2d(F.pad(masks.float(), room)[:, None], MASK_STRIDE)[:, 0]


def mask_losses(logits: Tensor, shares: Tensor, windows: Tensor) -> Tensor:
    """Losses [n] of masks: cross entropy, mean over each window, and dice in it.

    V-Net (Milletari et al., 3DV 2016), section 3, which does not care how large an object is.
    Logits, the shares of cells that are wanted and windows (1 inside) are [n, h, w].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    entropy = (entropy * windows).sum((1, 2)) / windows.sum((1, 2)).clamp(min=1)
    found, wanted = logits.sigmoid() * windows, shares * windows
    both = (found * wanted).sum((1, 2))
    squares = found.square().sum((1, 2)) + wanted.square().sum((1, 2))
    return entropy + 1 - (2 * both + 1) / (squares + 1)
