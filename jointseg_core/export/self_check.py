"""Whether an export agrees with the checkpoint in torch, in fp32.

Compared are the tensors of the dense graph, each by the 2-norm of the difference over that of the
tensor; and what a `Predictor` makes of them: objects, masks and the class of every pixel. In
floating point that is done on three drawn pictures. In int8 it is done on pictures of the
calibration, with wider limits: rounding to 8 bits moves every box a little, and noise is no picture
that the ranges were made for. How much accuracy int8 costs, only an evaluation on labelled pictures
can tell (`python -m jointseg_eval.evaluate FOLDER DATASET --backend openvino --precision int8`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torchvision.ops import box_iou

from jointseg_core.export.graphs import named_tensors
from jointseg_core.export.limits import LIMITS
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.predictor import Predictor

_THRESHOLDS = (0.3, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Scores from which objects are compared: the first at which there are enough of them."""
_OBJECTS = 10
_PICTURES = 20  # of a calibration that are compared at most


def drawn_pictures(input_size: tuple[int, int]) -> list[np.ndarray]:
    """A gradient, noise, and bright rectangles on noise, in three sizes, uint8 RGB [H, W, 3]."""
    height, width = input_size
    random = np.random.default_rng(0)
    rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None]
    gradient = np.stack(np.broadcast_arrays(rows, columns, 255 - rows), -1)
    noise = random.integers(0, 256, (height, width // 2, 3))
    shapes = random.integers(0, 60, (height * 3 // 2, width, 3))
    for _ in range(8):
        y, x = (int(random.integers(0, side * 2 // 3)) for side in shapes.shape[:2])
        shapes[y : y + height // 4, x : x + width // 6] = random.integers(60, 256, 3)
    return [picture.astype(np.uint8) for picture in (gradient, noise, shapes)]


def compare(torch_: Predictor, exported: Predictor, pictures: list[np.ndarray]) -> dict[str, Any]:
    """How far the two are apart on the first of the pictures: what `limits.problem` reads."""
    pictures = pictures[:_PICTURES]
    error, name = max(_errors(torch_, exported, pictures))
    overlap = LIMITS[exported.precision].overlap
    threshold, objects = _objects(torch_, exported, pictures, overlap)
    numbers = {
        "pictures": len(pictures),
        "largest_error": error,
        "largest_error_of": name,
        "score_threshold": threshold,
        "objects": len(objects),
        "same_objects": float(np.mean(objects)) if objects else 1.0,
    }
    if torch_.model_type in ("segrpn", "joint"):
        pairs = _seen(torch_, exported, pictures, threshold)
        maps = [(a.semantic, b.semantic) for a, b in pairs]
        same = [a.eq(b).float().mean() for a, b in maps if a is not None and b is not None]
        numbers["same_pixels"] = min(float(share) for share in same)
    return numbers


def _errors(
    torch_: Predictor, exported: Predictor, pictures: list[np.ndarray]
) -> Iterator[tuple[float, str]]:
    """The relative error of each tensor of each picture, with its name."""
    for picture in pictures:
        wanted, found = (named_tensors(p.raw([picture])) for p in (torch_, exported))
        for name, tensor in wanted.items():
            error = (found[name] - tensor).norm() / tensor.norm().clamp(min=1e-12)
            yield float(error) if error.isfinite() else float("inf"), name


def _objects(
    torch_: Predictor, exported: Predictor, pictures: list[np.ndarray], overlap: float
) -> tuple[float, list[bool]]:
    """The score from which objects were compared, and of each whether the other side has it."""
    found: list[bool] = []
    for threshold in _THRESHOLDS:
        strict = _seen(torch_, exported, pictures, threshold)
        if sum(len(a) for a, _ in strict) < _OBJECTS and threshold != _THRESHOLDS[-1]:
            continue
        # an object may lie on the other side of the threshold there
        relaxed = _seen(torch_, exported, pictures, threshold / 2)
        for (a, b), (more_a, more_b) in zip(strict, relaxed, strict=True):
            found += _in(a, more_b, overlap) + _in(b, more_a, overlap)
        break
    return threshold, found


def _seen(
    torch_: Predictor, exported: Predictor, pictures: list[np.ndarray], threshold: float
) -> list[tuple[Predictions, Predictions]]:
    for predictor in (torch_, exported):
        predictor.configure(score_threshold=threshold, max_detections=100)
    return list(zip(torch_(pictures), exported(pictures), strict=True))


def _in(some: Predictions, others: Predictions, overlap: float) -> list[bool]:
    """Of each of some objects: whether the others have it, class, box and mask."""
    return [any(_same(some, i, others, overlap)) for i in range(len(some))]


def _same(some: Predictions, i: int, others: Predictions, overlap: float) -> Iterator[bool]:
    boxes = box_iou(some.boxes[i : i + 1], others.boxes)[0] >= overlap
    for j in (boxes & (others.labels == some.labels[i])).nonzero().flatten().tolist():
        if some.masks is None or others.masks is None:
            yield True
        else:
            one, other = some.masks[i : i + 1], others.masks[j : j + 1]
            yield _mask_iou(one, other, some.image_size) >= overlap


def _mask_iou(one: Masks, other: Masks, size: tuple[int, int]) -> float:
    a, b = one.bitmaps(size)[0], other.bitmaps(size)[0]
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
