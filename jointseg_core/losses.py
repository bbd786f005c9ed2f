"""The losses that the models share; every one is a sum, to be divided by a count."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from jointseg_core.boxes import encode_boxes


def divide(sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> dict[str, Tensor]:
    """Each sum by the count of its name, or by 1 if that is less.

    Sums and counts of images add up, so a batch may be spread over steps and processes: divided by
    the counts of the whole, the losses of its parts add up to that of the whole.
    """
    return {name: total / max(counts[name], 1) for name, total in sums.items()}


def focal_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sigmoid focal loss (alpha 0.25, gamma 2) of logits [A, K], summed.

    labels [A] hold 0..K-1 for a positive and K for background.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device)
    wanted = (labels[:, None] == classes).to(logits.dtype)
    return sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")


def mined_cross_entropy(logits: Tensor, labels: Tensor, ratio: float) -> Tensor:
    """Cross entropy of logits [A, K + 1] at all objects and the hardest background, summed.

    labels [A] hold 0..K-1 for an object and K for background, of which `ratio` times as many count
    as there are objects, those with the highest losses (as if one, where there is no object).
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    is_object = labels < logits.shape[1] - 1
    background = losses[~is_object]
    wanted = int(ratio * max(1, int(is_object.sum())))
    return losses[is_object].sum() + background.topk(min(wanted, len(background))).values.sum()


def box_loss(
    deltas: Tensor, boxes: Tensor, anchors: Tensor, beta: float, scale: Tensor | float = 1.0
) -> Tensor:
    """Smooth L1 between deltas [n, 4] and those that lead from anchors to boxes [n, 4], summed.

    scale multiplies the wanted deltas (a region head's box weights).
    """
    return F.smooth_l1_loss(
        deltas, encode_boxes(boxes, anchors) * scale, beta=beta, reduction="sum"
    )


def select_hard_pixels(losses: Tensor, is_object: Tensor, owner: Tensor, ratio: float) -> Tensor:
    """Pixels that count in the mask loss (RDSNet 3.2, OHEM), bool [P].

    Every object pixel, and of each object's background the `ratio` times as many pixels with the
    highest losses (all of them if there are fewer); none where an object shows no pixel.

    losses [P], is_object [P] bool, owner [P] the object 0..N-1 whose crop a pixel lies in.
    """
    losses = losses.detach()
    background = (~is_object).nonzero().flatten()
    by_loss = background[losses[background].argsort(descending=True, stable=True)]
    order = by_loss[owner[by_loss].argsort(stable=True)]  # by owner, hardest first
    count = int(owner.max()) + 1 if len(owner) else 0
    available = torch.bincount(owner[background], minlength=count)
    wanted = torch.bincount(owner[is_object], minlength=count) * ratio
    first = available.cumsum(0) - available
    rank = torch.arange(len(order), device=order.device) - first[owner[order]]
    keep = is_object.clone()
    keep[order] = rank < wanted[owner[order]]
    return keep


def mean_per_object(losses: Tensor, keep: Tensor, owner: Tensor, count: int) -> Tensor:
    """Mean over the kept pixels of each of `count` objects [count]; 0 where none is kept."""
    totals = losses.new_zeros(count).index_add(0, owner, losses * keep)
    pixels = losses.new_zeros(count).index_add(0, owner, keep.to(losses.dtype))
    return totals / pixels.clamp(min=1)
