"""Detections judged by the COCO tools: which object each of them found, and whether it counts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params
from torch import Tensor

from jointseg_core.predictions import Masks
from training.metrics.overlaps import as_array

IOUS, RECALLS, AREAS = Params().iouThrs, Params().recThrs, Params().areaRngLbl
"""0.50, 0.55 ... 0.95; 0, 0.01 ... 1; all, small, medium, large."""
EVERY_AREA = Params().areaRng[0]
"""For those who need no judgement by size, which takes three times longer."""


def judge(
    truth: Sequence[dict],
    found: Sequence[dict],
    images: int = 1,
    kind: str = "bbox",
    accumulate: bool = False,
    **params: object,
) -> COCOeval:
    """The evaluation of so many images, after `evaluate` and, if wanted, `accumulate`.

    truth, found: `annotations` of the objects and of the detections; their ids are 1 + their place.
    kind: bbox or segm, what is to overlap.
    params: of COCOeval, where they are not to be its own; without `catIds` class 0 alone counts.
    """
    evaluation = COCOeval(iouType=kind)
    vars(evaluation.params).update({"imgIds": range(images), "catIds": [0], **params})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.cocoGt, evaluation.cocoDt = _indexed(truth, images), _indexed(found, images)
        evaluation.evaluate()
        if accumulate:
            evaluation.accumulate()
    return evaluation


def annotations(image: int, boxes: Tensor, **columns: Sequence) -> list[dict]:
    """Objects or detections of an image as COCO has them: boxes [N, 4], and what else is known [N].

    All are of class 0 and have the area of their box, unless `category_id` and `area` are known.
    """
    x1, y1, x2, y2 = as_array(boxes).T
    sides = x2 - x1, y2 - y1
    known = {"category_id": [0] * len(boxes), "area": np.multiply(*sides).tolist()}
    known |= {"bbox": np.stack([x1, y1, *sides], 1).tolist(), **columns}
    rows = zip(*known.values(), strict=True)
    return [{"image_id": image, **dict(zip(known, row, strict=True))} for row in rows]


def encoded(masks: Masks, size: tuple[int, int]) -> list[dict]:
    """The run lengths of masks in an image (H, W)."""
    bitmap, found = np.zeros(size, np.uint8, order="F"), []
    for (x1, y1, x2, y2), crop in zip(masks.windows.tolist(), masks.crops(), strict=True):
        bitmap[y1:y2, x1:x2] = as_array(crop)
        found.append(run_lengths.encode(bitmap))
        bitmap[y1:y2, x1:x2] = 0
    return found


def count_sought(verdict: dict | None) -> int:
    """The objects that count in one of an evaluation's `evalImgs`; None where nothing was."""
    return 0 if verdict is None else np.count_nonzero(verdict["gtIgnore"] == 0)


def _indexed(rows: Sequence[dict], images: int) -> COCO:
    data = COCO()  # not its loadRes, which knows no results without a detection
    data.dataset = {
        "images": [{"id": k, "height": None, "width": None} for k in range(images)],
        "annotations": [{**row, "id": k} for k, row in enumerate(rows, start=1)],
    }
    data.createIndex()
    return data
