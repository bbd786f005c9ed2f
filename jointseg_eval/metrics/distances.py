"""How many objects are found, by how far away they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import ImageColumns
from jointseg_eval.metrics.confusion_matrix import MIN_IOU, shown
from jointseg_eval.metrics.matching import match
from jointseg_eval.metrics.overlaps import as_array, box_overlaps

EDGES = (0, 15, 30, 50)
"""Metres at which a range begins; the last one has no end."""
RANGES = (*(f"{a}_{b}_m" for a, b in pairwise(EDGES)), f"{EDGES[-1]}_m_up")


class DistanceRecall(ImageColumns):
    """Collects the objects of many images whose distance is known, then tells how many were found.

    An object is found when a detection of its class with a score of 0.3 or more overlaps its box by
    an IoU of 0.5 or more; each detection finds one object, the most certain first. Precision is not
    told: nobody knows how far away an object is that is not there.
    Columns: images int [I, ranges, 2], the objects that were found and that there are.
    """

    def __init__(self) -> None:
        super().__init__(images=np.zeros((0, len(EDGES), 2), np.int64))

    def add(self, predictions: Predictions, target: Target, distances: Tensor | None) -> None:
        """One more image; distances [N] in m, NaN or None where they are not known."""
        counts = np.zeros((len(EDGES), 2), np.int64)
        if distances is not None:
            known = as_array(distances)
            counted = ~as_array(target.crowd) & (known >= EDGES[0])
            ranges = np.searchsorted(EDGES, known[counted], "right") - 1
            right = _are_found(predictions, target)[counted]
            np.add.at(counts, ranges, np.stack([right, np.ones_like(right)], 1).astype(int))
        self.extend({"images": counts[None]})

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """recall_0_15_m, recall_15_30_m ..., NaN where there is no object; none without distances.

        objects_0_15_m ... are the numbers of objects.
        """
        if not self.columns()["images"].any():
            return {}
        found, sought = self.total("images", images).T
        recall = np.divide(found, sought, out=np.full(len(EDGES), np.nan), where=sought > 0)
        named = {f"recall_{name}": float(v) for name, v in zip(RANGES, recall, strict=True)}
        return named | {f"objects_{name}": int(n) for name, n in zip(RANGES, sought, strict=True)}


def _are_found(predictions: Predictions, target: Target) -> np.ndarray:
    """Which objects bool [N] are found."""
    boxes, labels = shown(predictions)
    crowd, wanted = as_array(target.crowd), as_array(target.labels)
    same = labels[:, None] == wanted
    overlaps = box_overlaps(boxes, as_array(target.boxes), crowd)
    matched = match(np.where(same, overlaps, -1), crowd[None], crowd, np.array([MIN_IOU]))
    found = np.zeros(len(wanted), bool)
    found[matched[matched >= 0]] = True
    return found
