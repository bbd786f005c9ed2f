"""COCO's average precision of boxes and of masks, over all images or any list of them.

Lin et al., Microsoft COCO, as its tools compute it: 101 recall points, IoU 0.50 to 0.95, at most
100 detections of a class in an image, crowds ignored. Images are judged once, when they are added;
scoring then only accumulates, so that a thousand resamples take seconds rather than hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from training.metrics.overlaps import (
    as_array,
    box_areas,
    box_overlap,
    mask_areas,
    mask_intersections,
    match,
    object_areas,
    overlap,
)
from training.metrics.resampling import image_weights

Kind = Literal["box", "mask"]

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Square pixels, both ends included."""
HIT, WRONG, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Precision:
    """Average precision over all classes that occur; NaN where nothing of the kind occurs.

    ap is the mean over IoU 0.50, 0.55 ... 0.95, and by_iou holds those ten; ap50 and ap75 are at
    one IoU; small, medium and large are ap for objects up to 32 x 32, up to 96 x 96, and larger;
    recall is the mean best recall over the same IoUs (COCO's AR with 100 detections); `classes`
    holds for each name (ap, ap50, number of objects).
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    classes: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    recall: float = float("nan")
    by_iou: tuple[float, ...] = ()

    def named(self, kind: Kind) -> dict[str, float]:
        """box_ap, box_ap50 ... box_ar_100, or the same of masks."""
        values = {
            "ap": self.ap,
            "ap50": self.ap50,
            "ap75": self.ap75,
            "ap_small": self.small,
            "ap_medium": self.medium,
            "ap_large": self.large,
            "ar_100": self.recall,
        }
        return {f"{kind}_{name}": value for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Judged:
    """The detections of one class in one image: scores [D], verdicts [areas, IoUs, D]."""

    image: int
    scores: np.ndarray
    verdicts: np.ndarray


@dataclass(frozen=True, eq=False)
class Ranking:
    """All detections that count for one class, area and IoU, best first.

    images  [n]  where they were made
    hits    [h]  positions of the right ones
    """

    images: np.ndarray
    hits: np.ndarray

    def curve(self, weights: np.ndarray, sought: float) -> tuple[np.ndarray, float]:
        """Precision at the 101 recalls, and the highest recall; images count by their weights."""
        weights = weights[self.images]
        right = weights[self.hits].cumsum()
        made = weights.cumsum()[self.hits]
        precision = right / np.maximum(made, 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        recall = right / sought
        return envelope[np.searchsorted(recall, RECALLS)], recall[-1] if len(recall) else 0.0


class AveragePrecision:
    """Collects the objects of many images, then scores all or some of them together.

    names: the things, in the order of their labels. Detections below score 0.05 should be
    absent, all others present: cutting higher lowers the result.
    """

    def __init__(self, names: Sequence[str], limit: int = 100) -> None:
        self.names = tuple(names)
        self.has_masks = False
        self._limit = limit
        self._judged: dict[Kind, list[list[Judged]]] = {
            "box": [[] for _ in self.names],
            "mask": [[] for _ in self.names],
        }
        self._sought: list[np.ndarray] = []  # per image [classes, areas]
        self._rankings: dict[Kind, list[list[list[Ranking]]]] = {}

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._sought)

    def add(self, predictions: Predictions, target: Target, areas: Tensor | None = None) -> None:
        """One more image; crowds of the target are ignored rather than sought.

        areas [N]: pixels of the objects as annotated; without them, those of their masks.
        ValueError when sizes differ or a score is not a number.
        """
        size = tuple(predictions.image_size)
        if len(target.labels) and tuple(target.masks.shape[1:]) != size:
            raise ValueError(f"target is {tuple(target.masks.shape[1:])}, predictions {size}")
        if not bool(torch.isfinite(predictions.scores).all()):
            raise ValueError("a score is not a finite number")
        truth = _Truth.of(target, areas)
        order = (-predictions.scores).argsort(stable=True)
        predictions = predictions[order]
        self._judge("box", predictions, truth, *_boxes(predictions, truth))
        if predictions.masks is not None:
            self.has_masks = True
            self._judge("mask", predictions, truth, *_masks(predictions.masks, truth))
        self._sought.append(truth.sought(len(self.names)))
        self._rankings.clear()

    def boxes(self, images: Sequence[int] | None = None) -> Precision:
        """Precision by the overlap of boxes, of the images with these numbers or of all."""
        return self._score("box", images)

    def masks(self, images: Sequence[int] | None = None) -> Precision:
        """Precision by the overlap of masks; images whose results have none count as missed."""
        return self._score("mask", images)

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """All numbers by name, of the images with these numbers, repeats allowed, or of all.

        Those of masks only where some result had one.
        """
        masks = self.masks(images).named("mask") if self.has_masks else {}
        return {**self.boxes(images).named("box"), **masks}

    def curve(self, kind: Kind, label: int, iou: float = 0.5) -> np.ndarray:
        """Precision [101] of one class over recall 0, 0.01 ... 1; NaN where it does not occur."""
        sought = np.sum([s[label, 0] for s in self._sought], initial=0)
        if not sought:
            return np.full(len(RECALLS), np.nan)
        ranking = self._ranked(kind)[label][0][int(np.abs(IOUS - iou).argmin())]
        return ranking.curve(np.ones(len(self)), sought)[0]

    def _judge(
        self,
        kind: Kind,
        predictions: Predictions,
        truth: _Truth,
        overlaps: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        """Say for each detection whether it is right, class by class."""
        labels, scores = as_array(predictions.labels), as_array(predictions.scores)
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)[: self._limit]
            theirs = truth.labels == label
            ignored = truth.ignored[:, theirs]
            table = overlaps[np.ix_(mine, theirs)]
            matched = match(table, np.minimum(IOUS, 1 - 1e-10), ignored, truth.crowd[theirs])
            verdicts = np.where(beyond(sizes[mine])[:, None], IGNORED, WRONG)
            verdicts = np.broadcast_to(verdicts, matched.shape).astype(np.int8)
            area, level, d = (matched >= 0).nonzero()
            verdicts[area, level, d] = np.where(
                ignored[area, matched[area, level, d]], IGNORED, HIT
            )
            judged = Judged(len(self._sought), scores[mine], verdicts)
            self._judged[kind][label].append(judged)

    def _ranked(self, kind: Kind) -> list[list[list[Ranking]]]:
        """Rankings by class, area and IoU, made once for all that was added."""
        if kind not in self._rankings:
            self._rankings[kind] = [_rank(judged) for judged in self._judged[kind]]
        return self._rankings[kind]

    def _score(self, kind: Kind, images: Sequence[int] | None) -> Precision:
        weights = image_weights(images, len(self))
        shape = (len(self.names), len(AREAS), len(IOUS))
        ap, recall = np.full(shape, np.nan), np.full(shape, np.nan)
        sought = np.zeros(shape[:2])
        if len(self):
            sought = np.tensordot(weights, np.stack(self._sought), 1)
        for label, area in zip(*sought.nonzero(), strict=True):
            for level, ranking in enumerate(self._ranked(kind)[label][area]):
                curve, recall[label, area, level] = ranking.curve(weights, sought[label, area])
                ap[label, area, level] = curve.mean()
        return self._summary(ap, recall, sought[:, 0])

    def _summary(self, ap: np.ndarray, recall: np.ndarray, counts: np.ndarray) -> Precision:
        """From numbers [classes, areas, IoUs], NaN for no such objects."""
        classes = {
            name: (_mean(ap[k, 0]), float(ap[k, 0, 0]), int(counts[k]))
            for k, name in enumerate(self.names)
        }
        return Precision(
            *(_mean(numbers) for numbers in (ap[:, 0], ap[:, 0, 0], ap[:, 0, 5])),
            *(_mean(ap[:, area]) for area in (1, 2, 3)),
            classes=classes,
            recall=_mean(recall[:, 0]),
            by_iou=tuple(_mean(ap[:, 0, level]) for level in range(len(IOUS))),
        )


@dataclass(frozen=True, eq=False)
class _Truth:
    """The annotation of an image as arrays: `ignored` [areas, G], the others [G]."""

    target: Target
    labels: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray

    @classmethod
    def of(cls, target: Target, areas: Tensor | None) -> _Truth:
        crowd = as_array(target.crowd)
        ignored = crowd | beyond(object_areas(target, areas))
        return cls(target, as_array(target.labels), crowd, ignored)

    def sought(self, classes: int) -> np.ndarray:
        """Number of objects that count [classes, areas]."""
        rows = [np.bincount(self.labels[~one], minlength=classes) for one in self.ignored]
        return np.stack(rows, 1)


def _boxes(predictions: Predictions, truth: _Truth) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps [D, G] of boxes, and the areas [D] of those that were found."""
    found = as_array(predictions.boxes)
    return box_overlap(found, as_array(truth.target.boxes), truth.crowd), box_areas(found)


def _masks(found: Masks, truth: _Truth) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps [D, G] of masks, and the areas [D] of those that were found."""
    masks, areas = Masks.from_bitmaps(truth.target.masks), mask_areas(found)
    common = mask_intersections(found, masks)
    return overlap(common, areas, mask_areas(masks), truth.crowd), areas


def beyond(areas: np.ndarray) -> np.ndarray:
    """Whether sizes [N] lie outside of each of AREAS [areas, N]."""
    return np.stack([(areas < low) | (areas > high) for low, high in AREAS.values()])


def _rank(judged: list[Judged]) -> list[list[Ranking]]:
    """Rankings by area and IoU of one class."""
    if not judged:
        none = np.zeros(0, np.int64)
        return [[Ranking(none, none)] * len(IOUS)] * len(AREAS)
    order = np.argsort(-np.concatenate([j.scores for j in judged]), kind="stable")
    images = np.repeat([j.image for j in judged], [len(j.scores) for j in judged])[order]
    verdicts = np.concatenate([j.verdicts for j in judged], 2)[:, :, order]
    return [[_ranking(images, one) for one in area] for area in verdicts]


def _ranking(images: np.ndarray, verdicts: np.ndarray) -> Ranking:
    counted = verdicts != IGNORED
    return Ranking(images[counted], np.flatnonzero(verdicts[counted] == HIT))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
