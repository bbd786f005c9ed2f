"""The numbers of the demo: how good a model's results are, and how late they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import MIN_SHARE, AveragePrecision, PixelConfusion, foreground_truth

SCORES = {
    "rdsnet": ("box_ap", "box_ap50", "mask_ap", "mask_ap50"),
    "segrpn": ("box_ap", "box_ap50", "miou", "foreground_miou"),
    "joint": ("box_ap", "box_ap50", "mask_ap", "mask_ap50", "miou", "foreground_miou"),
}
"""What is measured of each model."""


class ModelScores:
    """Collects what a model found in many annotated images."""

    def __init__(self, model: str, classes: Classes) -> None:
        self.model = model
        self.objects = AveragePrecision(classes.things)
        self.pixels = PixelConfusion(len(classes.semantic))
        self.foreground = PixelConfusion(2)
        self._classes = classes

    def add(self, found: Predictions, truth: Target) -> None:
        """One more image; all detections with a score of 0.05 or more should be in `found`."""
        self.objects.add(found, truth)
        if truth.semantic is None:
            return
        if found.semantic is not None:
            self.pixels.add(found.semantic, truth.semantic)
        if found.foreground is not None:
            things = foreground_truth(truth.semantic, self._classes)
            self.foreground.add(found.foreground, things)

    def summary(self) -> dict[str, float]:
        """The numbers that SCORES names for this model, 0 to 1; NaN where nothing was there."""
        boxes, known = self.objects.boxes(), {}
        known |= {"box_ap": boxes.ap, "box_ap50": boxes.ap50}
        if "mask_ap" in SCORES[self.model]:
            masks = self.objects.masks()
            known |= {"mask_ap": masks.ap, "mask_ap50": masks.ap50}
        if "miou" in SCORES[self.model]:
            known["miou"] = self.pixels.mean_iou(MIN_SHARE)
            known["foreground_miou"] = self.foreground.mean_iou()
        return {name: known[name] for name in SCORES[self.model]}


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """The 50th, 95th and 99th percentile, to a tenth of a millisecond; None when there are none."""
    names = {"p50": 50, "p95": 95, "p99": 99}
    if not len(latencies_ms):
        return dict.fromkeys(names)
    return {k: round(float(np.percentile(latencies_ms, q)), 1) for k, q in names.items()}


def known_or_none(value: float) -> float | None:
    """The number to four digits, None in place of NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, 4)
