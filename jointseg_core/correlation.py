"""Correlation and cropping, RDSNet section 3.1, and the mask loss of 3.2: objects over pixels.

What an object is like and what every pixel is like give its mask, inside a crop around its box.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.boxes import crop_windows, logit, window_pixels
from jointseg_core.losses import mean_per_object, select_hard_pixels
from jointseg_core.predictions import Masks
from jointseg_core.preprocessing import Letterbox
from jointseg_core.targets import Target, random_subset

MASK_STRIDE = 4
"""Network pixels per cell of the pixel stream's map."""


def correlate(representations: Tensor, pixels: Tensor) -> Tensor:
    """Mask logits [..., h, w] of representations [..., d] over pixels [d, h, w] (3.1).

    With [N, 2, d] these are background and object logits; with the difference of the two,
    [N, d], the logit of the object's probability.
    """
    return torch.einsum("...d,dhw->...hw", representations, pixels)


def contrast(representations: Tensor) -> Tensor:
    """Object minus background representation [N, d]: its sigmoid is the softmax over the two."""
    return representations[:, 1] - representations[:, 0]


def sample_masks(
    representations: Tensor, pixels: Tensor, boxes: Tensor, margin: float, frame: Letterbox
) -> tuple[list[Tensor], Tensor]:
    """Mask logits [h_i, w_i] inside windows [N, 4] around camera boxes [N, 4], and the windows.

    representations [N, d], pixels [d, h, w] at MASK_STRIDE; margin as in `crop_windows`.
    """
    windows = mask_windows(boxes, margin, frame)
    return frame.sample(correlate(representations, pixels), MASK_STRIDE, windows), windows


def mask_windows(boxes: Tensor, margin: float, frame: Letterbox) -> Tensor:
    """Where masks of camera boxes [N, 4] may be, [N, 4]: a margin is at least a cell wide."""
    cell = MASK_STRIDE / min(frame.scale)
    return crop_windows(boxes, margin, frame.image_size, min_pad=cell)


def threshold_masks(crops: list[Tensor], windows: Tensor, probability: float) -> Masks:
    """Masks of the pixels whose logits, in the crops [h_i, w_i] of the windows, are above it."""
    threshold = logit(probability)
    return Masks.from_crops(windows, [crop > threshold for crop in crops])


def mask_losses(
    representations: Tensor,
    pixels: Tensor,
    target: Target,
    objects: Tensor,
    margin: float,
    hard_ratio: float,
) -> Tensor:
    """Mean loss [n] over the counted pixels of each sample's crop (3.2).

    Filters [n, d] over pixels [d, h, w] should give the masks of objects [n] of the target;
    hard_ratio as in `select_hard_pixels`.
    """
    masks = shrink_masks(target.masks, MASK_STRIDE)  # not larger than the pixels
    windows = crop_windows(target.boxes[objects] / MASK_STRIDE, margin, tuple(masks.shape[-2:]))
    owner, x, y = window_pixels(windows)
    logits = (representations[owner] * pixels[:, y, x].T).sum(1)
    wanted = masks[objects[owner], y, x]
    losses = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    keep = select_hard_pixels(losses, wanted, owner, hard_ratio)
    return mean_per_object(losses, keep, owner, len(representations))


def shrink_masks(masks: Tensor, stride: int) -> Tensor:
    """Masks [N, H, W] in cells of stride x stride pixels, bool [N, h, w]; sides are rounded up."""
    bottom, right = (-side % stride for side in masks.shape[1:])
    if bottom or right:
        masks = F.pad(masks, (0, right, 0, bottom))
    if not len(masks):
        return masks[:, ::stride, ::stride]
    return (
        F.interpolate(masks[:, None].float(), scale_factor=1 / stride, mode="bilinear")[:, 0] > 0.5
    )


def mask_samples(target: Target, assigned: Tensor, min_area: int, limit: int) -> Tensor:
    """Anchors [n] that train masks, of which assigned [A] says the objects.

    They are positive, their objects have more than min_area pixels; of more than `limit` it is a
    random choice.
    """
    candidates = _mask_candidates(target, assigned, min_area)
    return random_subset(candidates, limit, target.generator())


def count_mask_samples(found: list[tuple[Target, Tensor]], min_area: int, limit: int) -> int:
    """How many anchors of all images `mask_samples` chooses, without choosing."""
    return sum(min(len(_mask_candidates(*image, min_area)), limit) for image in found)


def _mask_candidates(target: Target, assigned: Tensor, min_area: int) -> Tensor:
    large = target.masks.flatten(1).sum(1) > min_area
    usable = torch.cat([large, large.new_zeros(2)])[assigned]  # NEGATIVE and IGNORED take these
    return usable.nonzero().flatten()
