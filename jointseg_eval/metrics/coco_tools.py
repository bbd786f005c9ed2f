"""Proposals matched by the COCO tools, and the numbers that the tools' definitions rest on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params
from torch import Tensor

from jointseg_eval.metrics.overlaps import as_array

IOUS, RECALLS, AREAS = Params().iouThrs, Params().recThrs, Params().areaRngLbl
"""0.50, 0.55 ... 0.95; 0, 0.01 ... 1; all, small, medium, large."""
AREA_RANGES = np.array(Params().areaRng)
"""From and to so many pixels [4, 2]."""


def evaluate_image(truth: Sequence[dict], found: Sequence[dict], limits: Sequence[int]) -> COCOeval:
    """The evaluation of one image after `accumulate`; everything is of one class.

    truth, found: `annotations` of the objects and of the detections. limits: of detections.
    """
    evaluation = COCOeval(iouType="bbox")
    vars(evaluation.params).update({"imgIds": [0], "catIds": [0], "maxDets": limits})
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.cocoGt, evaluation.cocoDt = _indexed(truth), _indexed(found)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def annotations(boxes: Tensor, **columns: Sequence) -> list[dict]:
    """Objects or detections of an image as COCO has them: boxes [N, 4], and what else is known [N].

    All are of class 0 and have the area of their box, unless `area` is known.
    """
    x1, y1, x2, y2 = as_array(boxes).T
    sides = x2 - x1, y2 - y1
    known = {"category_id": [0] * len(boxes), "area": np.multiply(*sides).tolist()}
    known |= {"bbox": np.stack([x1, y1, *sides], 1).tolist(), **columns}
    rows = zip(*known.values(), strict=True)
    return [{"image_id": 0, **dict(zip(known, row, strict=True))} for row in rows]


def count_sought(result: dict | None) -> int:
    """The objects that count in one of an evaluation's `evalImgs`; None where nothing was."""
    return 0 if result is None else np.count_nonzero(result["gtIgnore"] == 0)


def _indexed(rows: Sequence[dict]) -> COCO:
    data = COCO()  # not its loadRes, which knows no results without a detection
    data.dataset = {
        "images": [{"id": 0, "height": None, "width": None}],
        "annotations": [{**row, "id": k} for k, row in enumerate(rows, start=1)],
    }
    data.createIndex()
    return data
