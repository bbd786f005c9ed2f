"""How good results are: COCO average precision of boxes and masks, and IoU of class maps.

Average precision follows the COCO protocol (101 recall points, IoU 0.50 to 0.95, at most 100
detections an image, crowds ignored), computed by faster-coco-eval. Mean IoU is taken from one
confusion matrix over all images.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as run_lengths
from torch import Tensor

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target

MIN_SHARE = 0.001
"""Classes with fewer than this share of the annotated pixels are left out of the mean IoU."""


@dataclass(frozen=True)
class Precision:
    """Average precision over all classes that occur; NaN where nothing of the kind occurs.

    ap is the mean over IoU 0.50, 0.55 ... 0.95; ap50 and ap75 are at one IoU; small, medium and
    large are ap for objects below 32 x 32, below 96 x 96, and larger; `classes` holds for each
    name (ap, ap50, number of objects).
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    classes: dict[str, tuple[float, float, int]] = field(default_factory=dict)


class AveragePrecision:
    """Collects the objects of many images, then scores them all together.

    names: the things, in the order of their labels. Detections below score 0.05 should be
    absent, all others present: cutting higher lowers the result.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._images: list[dict] = []
        self._objects: list[dict] = []
        self._found: list[dict] = []

    def add(self, predictions: Predictions, target: Target) -> None:
        """One more image; crowds of the target are ignored rather than sought.

        ValueError when sizes differ or a score is not a number.
        """
        size = tuple(predictions.image_size)
        if len(target.labels) and tuple(target.masks.shape[1:]) != size:
            raise ValueError(f"target is {tuple(target.masks.shape[1:])}, predictions {size}")
        if not bool(torch.isfinite(predictions.scores).all()):
            raise ValueError("a score is not a finite number")
        image = len(self._images) + 1
        self._images.append({"id": image, "height": size[0], "width": size[1]})
        self._objects += [
            {"id": len(self._objects) + k, "image_id": image, **annotation}
            for k, annotation in enumerate(_annotations(target), start=1)
        ]
        self._found += [{"image_id": image, **found} for found in _detections(predictions, size)]

    def boxes(self) -> Precision:
        """Precision by the overlap of boxes."""
        return self._score("bbox")

    def masks(self) -> Precision:
        """Precision by the overlap of masks; detections without a mask count as wrong."""
        return self._score("segm")

    def _score(self, kind: str) -> Precision:
        found = [d for d in self._found if kind == "bbox" or "segmentation" in d]
        if not self._objects:
            return Precision(*[float("nan")] * 6)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(self._dataset())
            evaluator = COCOeval_faster(truth, truth.loadRes(_copies(found, kind)), kind)
            evaluator.evaluate()
            evaluator.accumulate()
        return self._summary(np.asarray(evaluator.eval["precision"]))

    def _dataset(self) -> dict:
        categories = [{"id": k, "name": name} for k, name in enumerate(self.names, start=1)]
        objects = [dict(annotation) for annotation in self._objects]
        return {"images": self._images, "annotations": objects, "categories": categories}

    def _summary(self, precision: np.ndarray) -> Precision:
        """precision: [10 IoUs, 101 recalls, K classes, 4 areas, 3 limits], -1 = no such objects."""
        best = precision[..., -1]
        classes = {}
        for k, name in enumerate(self.names):
            count = sum(a["category_id"] == k + 1 and not a["iscrowd"] for a in self._objects)
            one = best[:, :, k, 0]
            classes[name] = (_mean(one), _mean(one[0]), count)
        return Precision(
            ap=_mean(best[..., 0]),
            ap50=_mean(best[0, ..., 0]),
            ap75=_mean(best[5, ..., 0]),
            small=_mean(best[..., 1]),
            medium=_mean(best[..., 2]),
            large=_mean(best[..., 3]),
            classes=classes,
        )


class Confusion:
    """Counts which class was predicted for the pixels of each class, over many images.

    Pixels whose annotation is 255 are left out; a pixel predicted as none of the classes (255
    included) is wrong.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = torch.zeros(classes, classes + 1, dtype=torch.int64)  # [truth, predicted]

    def add(self, predicted: Tensor, truth: Tensor) -> None:
        """One more image: class maps [H, W] of any integer type; ValueError when sizes differ."""
        if predicted.shape != truth.shape:
            raise ValueError(f"class map is {list(predicted.shape)}, truth {list(truth.shape)}")
        predicted, truth = predicted.flatten().long(), truth.flatten().long()
        known = truth != UNLABELLED
        if (highest := _highest(truth[known])) >= self.classes:
            raise ValueError(
                f"truth holds class {highest}, expected 0 to {self.classes - 1} or 255"
            )
        column = predicted[known].clamp(max=self.classes)
        pairs = truth[known] * (self.classes + 1) + column
        self.counts += pairs.bincount(minlength=self.counts.numel()).view_as(self.counts)

    def iou(self) -> Tensor:
        """IoU of each class [C], 0 to 1; NaN for a class neither annotated nor predicted."""
        hits = self.counts[:, : self.classes].diagonal().double()
        union = self.counts.sum(1) + self.counts[:, : self.classes].sum(0) - hits
        return hits / union

    def share(self) -> Tensor:
        """Share of each class [C] in the annotated pixels."""
        return self.counts.sum(1).double() / max(1, int(self.counts.sum()))

    def mean_iou(self, min_share: float = 0.0) -> float:
        """Mean IoU of the classes that have at least `min_share` of the annotated pixels.

        With 0, of all that are annotated or predicted anywhere. NaN when there are none.
        """
        return float(self.iou()[self.share() >= min_share].nanmean())


def foreground_truth(semantic: Tensor, classes: Classes) -> Tensor:
    """1 where a class map [H, W] shows a thing, 0 elsewhere, 255 where nothing is annotated."""
    table = torch.zeros(256, dtype=torch.uint8)
    table[[k for k in classes.thing_to_semantic if k >= 0]] = 1
    table[UNLABELLED] = UNLABELLED
    return table[semantic.long()]


def _annotations(target: Target) -> list[dict]:
    """COCO annotations of one image, without ids; the area is that of the mask."""
    encoded = _encode(target.masks)
    boxes, labels, crowd = target.boxes.tolist(), target.labels.tolist(), target.crowd.tolist()
    areas = target.masks.flatten(1).sum(1).tolist()
    return [
        {
            "category_id": labels[k] + 1,
            "bbox": _corner_and_size(boxes[k]),
            "area": float(areas[k]),
            "iscrowd": int(crowd[k]),
            "segmentation": encoded[k],
        }
        for k in range(len(labels))
    ]


def _detections(predictions: Predictions, size: tuple[int, int]) -> list[dict]:
    """COCO results of one image, without ids."""
    boxes, scores = predictions.boxes.tolist(), predictions.scores.tolist()
    found = [
        {"category_id": label + 1, "bbox": _corner_and_size(boxes[k]), "score": scores[k]}
        for k, label in enumerate(predictions.labels.tolist())
    ]
    if predictions.masks is not None:
        for one, segmentation in zip(found, _encode(predictions.masks.bitmaps(size)), strict=True):
            one["segmentation"] = segmentation
    return found


def _copies(found: list[dict], kind: str) -> list[dict]:
    """The evaluator writes into what it is given; for boxes it must not see the masks."""
    dropped = {"segmentation"} if kind == "bbox" else {"bbox"}
    return [{k: v for k, v in one.items() if k not in dropped} for one in found]


def _encode(masks: Tensor) -> list[dict]:
    """Run lengths, COCO's encoding, of masks bool [N, H, W]."""
    if not len(masks):
        return []
    columns_first = np.asfortranarray(masks.permute(1, 2, 0).cpu().numpy().astype(np.uint8))
    return run_lengths.encode(columns_first)


def _corner_and_size(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _highest(values: Tensor) -> int:
    return int(values.max()) if len(values) else 0
