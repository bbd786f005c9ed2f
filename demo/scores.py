"""How good the results of a model are, in the few numbers that the demo shows."""

from __future__ import annotations

from demo.models import MODELS
from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics import MIN_SHARE, AveragePrecision, PixelConfusion, foreground_truth
from jointseg_eval.scores import rounded


class ModelScores:
    """Collects what a model found in many annotated images."""

    def __init__(self, model: str, classes: Classes) -> None:
        self.objects = AveragePrecision(classes.things)
        self.pixels = PixelConfusion(len(classes.semantic))
        self.foreground = PixelConfusion(2)
        self._names, self._classes = MODELS[model].scores, classes

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

    def summary(self) -> dict[str, float | None]:
        """The model's scores by name, 0 to 1 to four digits; None where nothing was there."""
        known = self.objects.boxes().named("box") | self.objects.masks().named("mask")
        known["miou"] = self.pixels.mean_iou(MIN_SHARE)
        known["foreground_miou"] = self.foreground.mean_iou()
        return rounded({name: known[name] for name in self._names})
