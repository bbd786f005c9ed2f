"""How instances and pixels inform each other: the two ways of the joint network.

Pixels to instances: features of objects are multiplied by what the dense stream sees there (SegRPN
2.5), and each object looks once at the pixels under its mask and thinks again (K-Net, Zhang et al.,
NeurIPS 2021, section 3.2). Instances to pixels: masks with their scores are evidence for the class
of each pixel (UPSNet, Xiong et al., CVPR 2019, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointseg_core.boxes import crop_windows
from jointseg_core.correlation import MASK_STRIDE, correlate
from jointseg_core.layers import init_normal


class Modulation(nn.Module):
    """SegRPN's F (1 + F_mask) on each level: what pixels show there weighs an object's features.

    It starts as the identity.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.weights = nn.ModuleList([nn.Conv2d(channels, channels, 1) for _ in range(levels)])
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, levels: list[Tensor], dense: Tensor | None) -> list[Tensor]:
        """Levels [B, C, h, w], each half as fine as the one before, and the stream at the first.

        Without a stream each level is weighed by itself: the control.
        """
        found = []
        for level, weight in zip(levels, self.weights, strict=True):
            found.append(level + level * weight(level if dense is None else dense))
            dense = None if dense is None else F.avg_pool2d(dense, 2, ceil_mode=True)
        return found


class Instances(NamedTuple):
    """Objects of one image while they are weighed against the pixels."""

    class_logits: Tensor  # [n, K]
    kernels: Tensor  # [n, d]
    boxes: Tensor  # [n, 4] in network pixels


class Exchange(nn.Module):
    """The second look of objects at pixels, and their word in the classes of pixels.

    It starts as the identity for objects, and with a factor of 2 for pixels. Blind, it computes as
    much, but objects see nothing and pixels hear nothing: the control.
    """

    def __init__(
        self,
        pixel_channels: int,
        num_classes: int,
        num_semantic: int,
        hidden: int,
        margin: float,
        blind: bool = False,
    ) -> None:
        super().__init__()
        d, classes = pixel_channels, num_classes
        self.margin, self.sizes, self.blind = margin, (classes, d), blind
        self.norm = nn.LayerNorm(2 * d)
        self.hidden = nn.Linear(2 * d + num_semantic + classes, hidden)
        self.change = nn.Linear(hidden, classes + d)
        self.weight = nn.Parameter(torch.tensor(2.0))
        init_normal(self.change, 0.0)

    def forward(self, found: Instances, pixels: Tensor, semantic_logits: Tensor) -> Instances:
        """Objects with other class logits and kernels after a look at the pixels under their masks.

        They see the mean of the pixels [d, h, w] and that of their classes' probabilities, over
        every second row and column: a mean needs no fine edges.
        """
        windows = inside(found.boxes, self.margin, pixels.shape[-2:])
        # flat, so that each is copied once
        maps = (windows, pixels, semantic_logits)
        windows, pixels, logits = (m[:, ::2, ::2].flatten(1) for m in maps)
        masks = correlate(found.kernels, pixels).sigmoid() * windows
        share = masks / masks.sum(1, keepdim=True).clamp(min=1) * (not self.blind)
        looks, likely = (share @ m.T for m in (pixels, logits.softmax(0)))
        both = self.norm(torch.cat([found.kernels, looks], 1))
        known = torch.cat([both, likely, found.class_logits], 1).to(self.hidden.weight.dtype)
        change = self.change(F.relu(self.hidden(known))).float()
        classes, kernels = change.split(self.sizes, 1)
        return Instances(found.class_logits + classes, found.kernels + kernels, found.boxes)

    def shown(self, masks: Tensor, boxes: Tensor) -> Tensor:
        """Probabilities of mask logits [n, h, w], 0 outside the windows of their boxes."""
        return masks.sigmoid() * inside(boxes, self.margin, masks.shape[-2:])

    def evidence(self, shown: Tensor, scores: Tensor) -> Tensor:
        """What masks [n, h, w] with scores [n, K] say of the classes of pixels: logits [K, h, w].

        Of each class the sum of scores times masks, at most 1, times a learned factor.
        """
        total = correlate(scores.T, shown).float()  # in training it may be half
        return self.weight * (not self.blind) * total.clamp(max=1)


def inside(boxes: Tensor, margin: float, size: Sequence[int], stride: int = MASK_STRIDE) -> Tensor:
    """1 in the windows of boxes [n, 4] with a margin, else 0: [n, h, w] in cells of the stride.

    Boxes are in network pixels; margin as in `crop_windows`.
    """
    height, width = size
    windows = crop_windows(boxes / MASK_STRIDE, margin, size)
    columns, rows = _between(windows[:, 0::2], width), _between(windows[:, 1::2], height)
    return rows[:, :, None] * columns[:, None]


def _between(ends: Tensor, length: int) -> Tensor:
    """1 from the first of both ends [n, 2] on and 0 from the second, [n, length]."""
    numbers = torch.arange(length, device=ends.device)
    return ((numbers >= ends[:, :1]) & (numbers < ends[:, 1:])).float()
