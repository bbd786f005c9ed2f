"""COCO's average precision of boxes and of masks, over all images or any list of them.

Lin et al., Microsoft COCO, as its tools compute it: 101 recall points, IoU 0.50 to 0.95, at most
100 detections of a class in an image, crowds ignored. The tools judge every image once; scoring
other lists of images then only accumulates, so that a thousand resamples take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from training.metrics.judging import IOUS, RECALLS, annotations, count_sought, encoded, judge
from training.metrics.overlaps import mask_areas, object_areas
from training.metrics.resampling import image_weights

Kind = Literal["box", "mask"]


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
        precision = right / (made + np.spacing(1))
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        recall = right / sought
        return envelope[np.searchsorted(recall, RECALLS)], recall[-1] if len(recall) else 0.0


class Verdicts:
    """What the COCO tools say of K classes, A areas and T IoUs; NaN for no such objects.

    curves  [K, A, T, 101]  precision over recall, of all images
    recall  [K, A, T]       highest recall, of all images
    sought  [K, A, images]  number of objects that count
    """

    def __init__(self, evaluation: COCOeval) -> None:
        numbers, params = evaluation.eval, evaluation.params
        self.curves = _known(numbers["precision"][..., -1]).transpose(2, 3, 0, 1)
        self.recall = _known(numbers["recall"][..., -1]).transpose(1, 2, 0)
        shape = len(params.catIds), len(params.areaRng), len(params.imgIds)
        verdicts = np.array(evaluation.evalImgs, object).reshape(shape)
        self.sought = np.vectorize(count_sought, otypes=[int])(verdicts)
        self._rankings = {one: _rank(verdicts[one]) for one in np.ndindex(shape[:2])}

    def of(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average precision and recall [K, A, T] of images that count by their weights.

        The tools know no image twice, and would judge all of them again.
        """
        ap, recall = np.full((2, *self.recall.shape), np.nan)
        sought = self.sought @ weights
        for one in zip(*sought.nonzero(), strict=True):
            for level, ranking in enumerate(self._rankings[one]):
                curve, recall[(*one, level)] = ranking.curve(weights, sought[one])
                ap[(*one, level)] = curve.mean()
        return ap, recall


class AveragePrecision:
    """Collects the objects of many images, then scores all or some of them together.

    names: the things, in the order of their labels. Detections below score 0.05 should be
    absent, all others present: cutting higher lowers the result.
    """

    def __init__(self, names: Sequence[str], limit: int = 100) -> None:
        self.names = tuple(names)
        self.has_masks = False
        self._limit = limit
        self._images = 0
        self._truth: list[dict] = []
        self._found: dict[Kind, list[dict]] = {"box": [], "mask": []}
        self._judged: dict[Kind, Verdicts] = {}

    def __len__(self) -> int:
        """How many images there are."""
        return self._images

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
        self._truth += annotations(
            len(self),
            target.boxes,
            category_id=target.labels.tolist(),
            area=object_areas(target, areas).tolist(),
            iscrowd=target.crowd.tolist(),
            segmentation=encoded(Masks.from_bitmaps(target.masks), size),
        )
        self._add_found("box", predictions)
        if predictions.masks is not None:
            self.has_masks = True
            masks = encoded(predictions.masks, size)
            sizes = mask_areas(predictions.masks).tolist()
            self._add_found("mask", predictions, area=sizes, segmentation=masks)
        self._images += 1
        self._judged.clear()

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
        return self._verdicts(kind).curves[label, 0, int(np.abs(IOUS - iou).argmin())]

    def _add_found(self, kind: Kind, found: Predictions, **columns: Sequence) -> None:
        columns |= {"category_id": found.labels.tolist(), "score": found.scores.tolist()}
        self._found[kind] += annotations(len(self), found.boxes, **columns)

    def _verdicts(self, kind: Kind) -> Verdicts:
        """What the tools say of all that was added."""
        if kind not in self._judged:
            rows = self._truth, self._found[kind], len(self), {"box": "bbox", "mask": "segm"}[kind]
            params = {"catIds": range(len(self.names)), "maxDets": [self._limit]}
            self._judged[kind] = Verdicts(judge(*rows, **params))
        return self._judged[kind]

    def _score(self, kind: Kind, images: Sequence[int] | None) -> Precision:
        verdicts, weights = self._verdicts(kind), image_weights(images, len(self))
        everything = verdicts.curves.mean(-1), verdicts.recall
        numbers = everything if images is None else verdicts.of(weights)
        return self._summary(*numbers, verdicts.sought[:, 0] @ weights)

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


def _known(numbers: np.ndarray) -> np.ndarray:
    """NaN in place of -1, which the tools write for classes without objects."""
    return np.where(numbers < 0, np.nan, numbers)


def _rank(verdicts: Sequence[dict | None]) -> list[Ranking]:
    """Rankings by IoU of one class and area, from what the tools say of each image."""
    known = [(k, one) for k, one in enumerate(verdicts) if one is not None]
    if not known:
        return []
    scores = [one["dtScores"] for _, one in known]
    order = np.argsort(-np.concatenate(scores), kind="stable")
    images = np.repeat([k for k, _ in known], [len(s) for s in scores])[order]
    hits = np.concatenate([one["dtMatches"] for _, one in known], 1)[:, order] > 0
    counted = ~np.concatenate([one["dtIgnore"] for _, one in known], 1)[:, order]
    return [
        Ranking(images[c], np.flatnonzero(hit[c])) for hit, c in zip(hits, counted, strict=True)
    ]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
