"""What was taken for what: which objects were found as which class, missed, or made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import Columns, ImageColumns
from jointseg_eval.metrics.matching import match
from jointseg_eval.metrics.overlaps import as_array, box_overlaps

MIN_SCORE, MIN_IOU = 0.3, 0.5
"""What a viewer shows, and when two boxes count as the same object."""


class ObjectConfusion(ImageColumns):
    """A confusion matrix of objects over many images, and how good each image is.

    names: the things, in the order of their labels.

    Detections of any class choose the object they overlap most, the most certain first; what lies
    in a crowd counts for nothing.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(quality=np.zeros(0))
        self.names = tuple(names)
        count = len(self.names) + 1
        self.counts = np.zeros((count, count), np.int64)  # [truth, found]; the last is background

    @property
    def quality(self) -> np.ndarray:
        """For each image [I] 2 right / (found + annotated), NaN where there is neither."""
        return self.columns()["quality"]

    def add(self, predictions: Predictions, target: Target) -> None:
        """One more image."""
        boxes, labels = shown(predictions)
        crowd, truth = as_array(target.crowd), as_array(target.labels)
        overlaps = box_overlaps(boxes, as_array(target.boxes), crowd)
        matched = match(overlaps, crowd[None], crowd, np.array([MIN_IOU]))[0, 0]
        free = ~np.append(crowd, False)[matched]
        matched, labels = matched[free], labels[free]
        background = len(self.names)
        counts = np.zeros_like(self.counts)
        np.add.at(counts, (np.append(truth, background)[matched], labels), 1)
        missed = ~crowd
        missed[matched[matched >= 0]] = False
        np.add.at(counts, (truth[missed], background), 1)
        total = counts[:background].sum() + counts[:, :background].sum()
        right = 2 * counts[:background, :background].trace()
        quality = np.array([right / total if total else np.nan])
        self.extend({"counts": counts, "quality": quality})

    def columns(self) -> Columns:
        """All that is known, to be given to `extend` elsewhere."""
        return {"counts": self.counts, **super().columns()}

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        super().extend(columns)
        self.counts += columns["counts"]


def shown(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [D, 4] and labels [D] of the objects that a viewer shows, the most certain first."""
    scores = as_array(predictions.scores)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= MIN_SCORE]
    return as_array(predictions.boxes)[order], as_array(predictions.labels)[order]
