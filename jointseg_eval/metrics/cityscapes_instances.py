"""The instance average precision of Cityscapes, which differs from COCO's.

As its official evaluation computes it (cityscapesScripts, instance level): an object is found by
more than the threshold's IoU, groups and objects of fewer than 100 pixels are ignored, of several
masks on one object the most certain is right and the others are wrong, and the area below the
curve of precision over recall is measured at every score rather than at 101 recalls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointseg_core.classes import UNLABELLED
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import ImageColumns, image_weights
from jointseg_eval.metrics.overlaps import SharedPixels, as_array

IOUS = np.arange(0.5, 1.0, 0.05)
BITS = 1 << np.arange(len(IOUS), dtype=np.uint16)[:, None]
MIN_PIXELS = 100
"""Objects of fewer pixels are ignored."""


class CityscapesPrecision(ImageColumns):
    """Collects the masks of many images, then scores all or some of them together.

    names: the things, in the order of their labels. The columns:

    sought  int [I, K]   objects of each class in each image
    image   int [D]      where a detection was made
    label   int [D]      its class
    score   float [D]
    counts  uint16 [D]   bit t: counts at IoU t
    right   uint16 [D]   bit t: is right there, else wrong

    A detection that is right or wrong about several objects has a row for each of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(
            sought=np.zeros((0, len(self.names)), np.int32),
            image=np.zeros(0, np.int32),
            label=np.zeros(0, np.int16),
            score=np.zeros(0, np.float32),
            counts=np.zeros(0, np.uint16),
            right=np.zeros(0, np.uint16),
        )

    def add(
        self,
        predictions: Predictions,
        target: Target,
        void: np.ndarray | None = None,
        shared: SharedPixels | None = None,
    ) -> None:
        """One more image; crowds of the target are its groups.

        void: bool [H, W], what is annotated but not as one of the classes; without it, the pixels
        that the target's class map calls unlabelled. shared: of both, where it is known already.
        ValueError when the results have no masks.
        """
        if predictions.masks is None:
            raise ValueError("the results have no masks")
        shared = shared or SharedPixels.of(predictions, target)
        void = _unlabelled(target) if void is None else void
        labels, scores = as_array(predictions.labels), as_array(predictions.scores)
        order = np.argsort(-scores, kind="stable")
        order = order[shared.found.areas[order] > 0]
        pixels, common, sizes = shared.found.areas[order], shared.common[order], shared.truth.areas
        overlaps = common / (pixels[:, None] + sizes - common)
        crowd, small = as_array(target.crowd), sizes < MIN_PIXELS
        sought, twice = ~crowd & ~small, crowd.astype(int) + small  # a small group counts as both
        excused = (shared.found.covered(void)[order] + common @ twice) / pixels
        counts, right = _matched(overlaps, sought, excused)
        rows, objects = counts.any(0).nonzero()
        wanted = as_array(target.labels)[sought]
        self.extend(
            {
                "sought": np.bincount(wanted, minlength=len(self.names)).astype(np.int32)[None],
                "image": np.zeros(len(rows), np.int32),
                "label": labels[order][rows].astype(np.int16),
                "score": scores[order][rows].astype(np.float32),
                "counts": (counts[:, rows, objects] * BITS).sum(0).astype(np.uint16),
                "right": (right[:, rows, objects] * BITS).sum(0).astype(np.uint16),
            }
        )

    def classes(self, images: Sequence[int] | None = None) -> np.ndarray:
        """Average precision [classes, 10 IoUs]; NaN for a class without objects."""
        columns, weights = self.columns(), image_weights(images, len(self))
        sought = self.total("sought", images)
        found = np.full((len(self.names), len(IOUS)), np.nan)
        for label in sought.nonzero()[0]:
            mine = np.flatnonzero(columns["label"] == label)
            mine = mine[np.argsort(-columns["score"][mine], kind="stable")]
            counts, right, scores = (columns[name][mine] for name in ("counts", "right", "score"))
            weight = weights[columns["image"][mine]]
            for level in range(len(IOUS)):
                kept = np.flatnonzero(counts >> level & 1)
                hits = weight[kept] * (right[kept] >> level & 1)
                found[label, level] = _area_below(scores[kept], hits, weight[kept], sought[label])
        return found

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """cityscapes_ap and cityscapes_ap50, of the images with these numbers or of all."""
        found = self.classes(images)
        known = found[~np.isnan(found[:, 0])]
        means = (known.mean(), known[:, 0].mean()) if len(known) else (float("nan"),) * 2
        return dict(zip(("cityscapes_ap", "cityscapes_ap50"), map(float, means), strict=True))


def _matched(
    overlaps: np.ndarray, sought: np.ndarray, excused: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which pairs count and which of these are right, bool [T, D, S + 1], at each of T IoUs.

    One object more than the S that are sought, so that there always is one: what a detection is
    wrong about when it overlaps nothing is said at the object that is nearest to it.

    overlaps  float [D, G]  of detections, the best first, and all objects
    sought    bool [G]      which objects are not ignored
    excused   float [D]     the share of a detection that lies in void or in what is ignored
    """
    near = np.append(overlaps[:, sought], np.zeros((len(overlaps), 1)), 1)
    lost = np.maximum(overlaps.max(1, initial=0), excused) <= IOUS[:, None]
    counts = near > IOUS[:, None, None]
    right = counts & (counts.cumsum(1) == 1)
    counts[:, np.arange(len(near)), near.argmax(1)] |= lost
    return counts, right


def _unlabelled(target: Target) -> np.ndarray:
    if target.semantic is None:
        return np.zeros(tuple(target.masks.shape[1:]), bool)
    return as_array(target.semantic) == UNLABELLED


def _area_below(scores: np.ndarray, hits: np.ndarray, made: np.ndarray, sought: float) -> float:
    """The area below precision over recall, by trapezoids between the scores that occur.

    scores, hits, made [n]: of the detections, best first, how often each is right and is there.
    """
    last = np.flatnonzero(np.diff(scores, append=-np.inf))
    hits, made = hits.cumsum()[last], made.cumsum()[last]
    hits, made = hits[made > 0], made[made > 0]
    recall = np.append(0.0, hits / sought)
    precision = np.append(1.0, hits / made)
    return float(np.dot(np.diff(recall), precision[1:] + precision[:-1]) / 2)
