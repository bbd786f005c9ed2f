"""What the validation pictures hold: how many objects of each size, and on which pyramid levels.

A study cannot answer for sizes and levels of which its pictures hold hardly any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torchvision.ops import box_iou

from jointseg_core import Preprocessing
from jointseg_core.checkpoint import Model
from jointseg_eval.datasets import Samples
from jointseg_eval.metrics.overlaps import object_areas
from training.loading.augmentation import as_input

FEWEST = 200
"""A result of a size class with fewer objects is not reported."""
SIZES = {"small": 32**2, "medium": 96**2}
"""COCO's, by the largest area; what is larger is large."""


def objects_of(samples: Samples, model: Model, preprocessing: Preprocessing) -> dict[str, Any]:
    """Objects of each size, and the share in percent whose best anchor is on each level."""
    sizes, levels = Counter(dict.fromkeys((*SIZES, "large"), 0)), Counter()
    names = [f"P{stride.bit_length() - 1}" for stride in model.anchors.strides]
    for number in range(len(samples)):
        sample = samples[number]
        sought = ~sample.target.crowd.numpy()
        sizes.update(size_of(area) for area in object_areas(sample.target, sample.areas)[sought])
        image, target = as_input(sample, preprocessing)
        anchors = model.anchors(image.shape[-2:], "cpu")
        level = torch.arange(len(names)).repeat_interleave(torch.tensor([len(a) for a in anchors]))
        boxes = target.sought().boxes
        if len(boxes):
            levels.update(level[box_iou(boxes, torch.cat(anchors)).argmax(1)].tolist())
    total = max(1, levels.total())
    shares = {name: round(100 * levels[i] / total, 1) for i, name in enumerate(names)}
    return {"sizes": dict(sizes), "levels": shares}


def size_of(area: float) -> str:
    """COCO's name of a size."""
    return next((name for name, most in SIZES.items() if area < most), "large")


def is_reported(column: str, sizes: Mapping[str, int]) -> bool:
    """Whether there are enough objects for a score; all but those of a size class are."""
    return sizes.get(column.rpartition("_")[2], FEWEST) >= FEWEST
