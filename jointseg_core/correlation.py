"""RDSNet section 3.1: representations of objects and of pixels, their correlation, cropping.

What an object is like and what every pixel is like give its mask, inside a crop around its box.
The loss of these masks is that of section 3.2. Weights and configs say filters where this says
representations of objects: files hold those names.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.boxes import crop_windows, logit
from jointseg_core.layers import (
    CellConv2d,
    conv_norm_relu,
    init_normal,
    init_xavier,
    per_anchor,
    tower,
)
from jointseg_core.letterbox import Letterbox
from jointseg_core.predictions import Masks
from jointseg_core.targets import Target, random_subset

MASK_STRIDE = 4
"""Network pixels per cell of the pixel stream's map."""

# -- the streams ------------------------------------------------------------------------------


class ObjectStream(nn.Module):
    """Three towers over all levels: classes, boxes, and representations of objects.

    per_cell     anchors of a cell
    filter_size  d, length of a representation; with 0 there is no third tower
    depth        3x3 convolutions in each tower
    groups       of the group norm after each, 0 = no norm
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        per_cell: int,
        filter_size: int = 32,
        depth: int = 4,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.num_classes, self.filter_size, self.per_cell = num_classes, filter_size, per_cell
        self.class_tower = tower(channels, channels, depth, groups)
        self.box_tower = tower(channels, channels, depth, groups)
        self.class_logits = nn.Conv2d(channels, per_cell * num_classes, 3, padding=1)
        self.box_deltas = CellConv2d(channels, per_cell * 4)
        if self.filter_size:
            self.filter_tower = tower(channels, channels, depth, groups)
            self.filters = CellConv2d(channels, per_cell * 2 * self.filter_size)
        init_normal(self)
        # every anchor starts as an object with probability 0.01, as focal loss needs
        nn.init.constant_(self.class_logits.get_parameter("bias"), -math.log(0.99 / 0.01))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """P3..P7 [B, C, h, w] to class logits [B, A, K] and the features of the other two heads."""
        logits = per_anchor(
            [self.class_logits(self.class_tower(f)) for f in features], self.num_classes
        )
        box_features = [self.box_tower(f) for f in features]
        return logits, box_features, [self.filter_tower(f) for f in features if self.filter_size]

    def deltas_at(self, box_features: list[Tensor], anchors: Tensor) -> Tensor:
        """Box deltas [n, 4] of anchors [n] (their indices) of one image."""
        return self.box_deltas.at_anchors(box_features, anchors, self.per_cell)

    def representations_at(self, filter_features: list[Tensor], anchors: Tensor) -> Tensor:
        """Representations [n, 2, d] of anchors [n] of one image: background, then object."""
        values = self.filters.at_anchors(filter_features, anchors, self.per_cell)
        return values.view(-1, 2, self.filter_size)


class PixelStream(nn.Module):
    """Sums the pyramid at its finest level and gives every cell a representation of d values.

    levels  how many pyramid levels come in, finest first and up to P5: from P3, or with 4 from P2

    From P3 the sum is doubled in size after another convolution, to stride 4.
    """

    def __init__(self, channels: int, filter_size: int, groups: int, levels: int = 3) -> None:
        super().__init__()
        up = levels == 3
        # level i is enlarged i times, each time after a convolution
        self.branches = nn.ModuleList(
            [
                nn.ModuleList(
                    [conv_norm_relu(channels, channels, groups) for _ in range(max(1, level))]
                )
                for level in range(levels)
            ]
        )
        self.merge = conv_norm_relu(channels, channels, groups) if up else nn.Identity()
        self.factor = 2 if up else 1
        init_xavier(self)
        self.output = nn.Conv2d(channels, filter_size, 1)
        init_normal(self.output)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Maps [B, C, h, w] to pixel representations [B, d, H/4, W/4], in fp32."""
        total = self._branch(0, features[0])
        for level, feature in enumerate(features[1:], 1):
            total = total + self._branch(level, feature)
        # a 1x1 convolution and a bilinear resize commute: project first, there are fewer pixels
        return _enlarge(self.output(self.merge(total)).float(), self.factor)

    def _branch(self, level: int, x: Tensor) -> Tensor:
        for conv in self.branches[level].children():
            x = _enlarge(conv(x), 2 if level else 1)
        return x


def _enlarge(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


class NoPixelStream(nn.Module):
    """RetinaNet's: no representation of any pixel, [B, 0, H/4, W/4] of maps from P3 on."""

    def forward(self, features: list[Tensor]) -> Tensor:
        batch, _, height, width = features[0].shape
        return features[0].new_zeros(batch, 0, 2 * height, 2 * width)


# -- correlation and cropping -----------------------------------------------------------------


def correlate(representations: Tensor, pixels: Tensor) -> Tensor:
    """Mask logits [..., h, w] of representations [..., d] over pixels [d, h, w], or [d, cells].

    With [N, 2, d] these are background and object logits; with the difference of the two,
    [N, d], the logit of the object's probability.
    """
    shape = *representations.shape[:-1], *pixels.shape[1:]
    return (representations @ pixels.flatten(1)).view(shape)


def contrast(representations: Tensor) -> Tensor:
    """Object minus background representation, [N, 2, d] to [N, d].

    The softmax over two logits is the sigmoid of their difference, and correlation is linear: one
    map instead of two.
    """
    return representations[:, 1] - representations[:, 0]


def sample_masks(
    logits: Tensor, boxes: Tensor, margin: float, frame: Letterbox
) -> tuple[list[Tensor], Tensor]:
    """Mask logits [h_i, w_i] inside windows [N, 4] around camera boxes [N, 4], and the windows.

    logits [N, h, w] at MASK_STRIDE; margin as in `crop_windows`.
    """
    windows = mask_windows(boxes, margin, frame)
    return frame.sample(logits, MASK_STRIDE, windows), windows


def mask_windows(boxes: Tensor, margin: float, frame: Letterbox) -> Tensor:
    """Where masks of camera boxes [N, 4] may be, [N, 4]: a margin is at least a cell wide."""
    cell = MASK_STRIDE / min(frame.scale)
    return crop_windows(boxes, margin, frame.image_size, min_pad=cell)


def threshold_masks(crops: list[Tensor], windows: Tensor, probability: float) -> Masks:
    """Masks of the pixels whose logits, in the crops [h_i, w_i] of the windows, are above it.

    Logits were interpolated, and only then are they compared: edges are as fine as camera pixels.
    """
    values = Masks.from_crops(windows, crops).pixels
    return Masks(windows, values > logit(probability))


# -- training (3.2) ---------------------------------------------------------------------------


def mask_losses(
    representations: Tensor,
    pixels: Tensor,
    target: Target,
    objects: Tensor,
    margin: float,
    hard_ratio: float,
) -> Tensor:
    """Mean cross entropy [n] over the counted pixels of each sample's crop (3.2).

    Representations [n, d], as `contrast` gives them, over pixels [d, h, w] should give the masks of
    objects [n] of the target; hard_ratio as in `_select_hard_pixels`.
    """
    masks = shrink_masks(target.masks, MASK_STRIDE)  # not larger than the pixels
    windows = crop_windows(target.boxes[objects] / MASK_STRIDE, margin, masks.shape[-2:])
    owner, x, y = _window_pixels(windows)
    # correlated at the pixels of the crops alone, of which there are far fewer than n h w
    logits = (representations[owner] * pixels[:, y, x].T).sum(1)
    wanted = masks[objects[owner], y, x]
    losses = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    keep = _select_hard_pixels(losses, wanted, owner, hard_ratio)
    return _mean_per_object(losses, keep, owner, len(representations))


def _window_pixels(windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel of windows [N, 4] row by row, window after window: owner [P], x [P], y [P]."""
    x1, y1, x2, y2 = windows.unbind(-1)
    widths, areas = x2 - x1, (x2 - x1) * (y2 - y1)
    owner = torch.arange(len(windows), device=windows.device).repeat_interleave(areas)
    inside = torch.arange(len(owner), device=windows.device) - (areas.cumsum(0) - areas)[owner]
    return owner, x1[owner] + inside % widths[owner], y1[owner] + inside // widths[owner]


def _select_hard_pixels(losses: Tensor, is_object: Tensor, owner: Tensor, ratio: float) -> Tensor:
    """Pixels that count in the mask loss, bool [P]: online hard example mining (3.2).

    Every object pixel, and of each object's background the `ratio` times as many pixels with the
    highest losses (all of them if there are fewer); none where an object shows no pixel.

    losses [P], is_object [P] bool, owner [P] the object 0..N-1 whose crop a pixel lies in.
    """
    losses = losses.detach()
    background = (~is_object).nonzero().flatten()
    # two stable sorts: by loss, then by owner, so each owner's pixels come hardest first
    by_loss = background[losses[background].argsort(descending=True, stable=True)]
    order = by_loss[owner[by_loss].argsort(stable=True)]
    count = int(owner.max()) + 1 if len(owner) else 0
    available = torch.bincount(owner[background], minlength=count)
    wanted = torch.bincount(owner[is_object], minlength=count) * ratio
    first = available.cumsum(0) - available
    rank = torch.arange(len(order), device=order.device) - first[owner[order]]
    keep = is_object.clone()
    keep[order] = rank < wanted[owner[order]]
    return keep


def _mean_per_object(losses: Tensor, keep: Tensor, owner: Tensor, count: int) -> Tensor:
    """Mean over the kept pixels of each of `count` objects [count]; 0 where none is kept."""
    totals = losses.new_zeros(count).index_add(0, owner, losses * keep)
    pixels = losses.new_zeros(count).index_add(0, owner, keep.to(losses.dtype))
    return totals / pixels.clamp(min=1)


def shrink_masks(masks: Tensor, stride: int) -> Tensor:
    """Masks [N, H, W] in cells of stride x stride pixels, bool [N, h, w]; sides are rounded up."""
    bottom, right = (-side % stride for side in masks.shape[1:])
    if bottom or right:
        masks = F.pad(masks, (0, right, 0, bottom))
    if not len(masks):  # which `interpolate` refuses
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
