"""SegRPN's rules from the size of an object to the pyramid level that should find it (Eq. 1-5).

Sizes are square roots of box areas in pixels of the network input; lower bounds are inclusive.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from jointseg_core.targets import Target

_CASES = {
    1: (32.0, 64.0, 128.0, 256.0),  # Eq. 3: P2 .. P6 by octaves from 32
    2: (112.0, 224.0, 448.0),  # Eq. 4: as regions; P6 repeats P5
    3: (48.0, 96.0, 192.0, 384.0),  # Eq. 5: the nearest anchor size
}
"""Lower bounds of P3, P4, .. for each of the three cases."""


def _object_levels(boxes: Tensor, case: int) -> Tensor:
    """Pyramid level [N] of each object's box [N, 4] under case 1, 2 or 3 (Eq. 3, 4, 5)."""
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    return 2 + torch.bucketize(sizes, sizes.new_tensor(_CASES[case]), right=True)


def true_scale_maps(targets: list[Target], case: int, unit: float = 1.0) -> list[Tensor]:
    """Where what is sought lies, by level: maps [B, 1, h, w] of 0 and 1 for P2..P6 (Table II).

    case 1, 2 or 3 is the rule of Eq. 3, 4 or 5, with its sizes multiplied by `unit`. A cell is set
    when any of its pixels is, so that thin objects do not vanish.
    """
    maps = [
        _maps(target.masks, target.boxes / unit, case) for target in map(Target.sought, targets)
    ]
    return [torch.stack(level)[:, None].float() for level in zip(*maps, strict=True)]


def _maps(masks: Tensor, boxes: Tensor, case: int) -> list[Tensor]:
    levels = _object_levels(boxes, case)
    return [
        _downsample(masks[_belongs(levels, level, case)], stride=2**level) for level in range(2, 7)
    ]


def _belongs(levels: Tensor, level: int, case: int) -> Tensor:
    return levels == (min(level, 5) if case == 2 else level)


def _downsample(masks: Tensor, stride: int) -> Tensor:
    union = masks.any(0) if len(masks) else masks.new_zeros(masks.shape[1:])
    cells = F.max_pool2d(union[None, None].float(), stride, ceil_mode=True)
    return cells[0, 0] > 0
