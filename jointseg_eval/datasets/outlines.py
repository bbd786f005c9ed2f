"""Outlines of objects: polygons and run lengths, checked as far as is possible without painting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from jointseg_eval.datasets.pictures import Size


class Segment(int):
    """The id of an object's pixels in the panoptic map of its picture."""


Outline = list[bytes] | bytes | Segment | None
"""Polygons of float64 x, y, ..., or one compressed RLE, or a segment; None: it is not known."""


class Unusable(ValueError):
    """Why a part of an annotation cannot be used, and what kind of annotations that is."""

    def __init__(self, problem: str, kind: str = "annotations are left out") -> None:
        super().__init__(problem)
        self.kind = kind


def read_outline(value: Any, size: Size, stray: Callable[[str], None]) -> Outline:
    """What a `segmentation` says, without the polygons that are none, which `stray` is told.

    Raises Unusable where nothing remains.
    """
    if isinstance(value, Segment):
        return value
    if isinstance(value, dict):
        return _run_lengths(value, size)
    polygons = []
    for polygon in value if isinstance(value, list) else []:
        try:
            polygons.append(_polygon(polygon, size))
        except Unusable as problem:
            stray(str(problem))
    if not polygons:
        raise Unusable("it has no outline (segmentation)")
    return polygons


def rectangle(box: tuple[float, float, float, float]) -> Outline:
    """The outline of a box x1, y1, x2, y2."""
    x1, y1, x2, y2 = box
    return [np.array([x1, y1, x2, y1, x2, y2, x1, y2], np.float64).tobytes()]


def extent(outline: Outline, size: Size) -> tuple[float, float, float, float]:
    """x, y, width and height of what polygons or run lengths enclose."""
    if isinstance(outline, bytes):
        x, y, width, height = coco_masks.toBbox({"size": list(size), "counts": outline}).tolist()
        return x, y, width, height
    points = np.concatenate([np.frombuffer(polygon) for polygon in outline]).reshape(-1, 2)
    (x, y), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return x, y, right - x, bottom - y


def _polygon(value: Any, size: Size) -> bytes:
    try:
        points = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise Unusable(f"a polygon is {short(value)}, expected x, y of three points or more")
    if not np.ptp(points[::2]) or not np.ptp(points[1::2]):
        raise Unusable(f"a polygon encloses nothing, {short(value)}")
    limit = 10 * max(size)  # painting what reaches further would take gigabytes
    if not (points.min() >= -limit and points.max() <= limit):  # nor is that of nan
        raise Unusable(f"a polygon reaches beyond {limit} in a picture of {of_size(size)}")
    return points.tobytes()


def _run_lengths(value: dict[str, Any], size: Size) -> bytes:
    """Compressed run lengths (COCO's string) of either kind of RLE."""
    counts, stated = value.get("counts"), value.get("size")
    if stated != list(size):
        raise Unusable(f"its RLE is of {short(stated)}, the picture of {list(size)}")
    if isinstance(counts, str) and _decodable(counts, size):
        return counts.encode()
    plain = isinstance(counts, list) and all(is_whole(c) and c >= 0 for c in counts)
    if plain and sum(counts) == size[0] * size[1]:
        return coco_masks.frPyObjects(value, *size)["counts"]
    raise Unusable(f"the runs of its RLE do not add up to {of_size(size)} pixels")


def _decodable(counts: str, size: Size) -> bool:
    """Whether a string is run lengths that fill a picture; on others pycocotools may crash."""
    runs = string_runs(counts)
    return runs is not None and bool((runs >= 0).all()) and int(runs.sum()) == size[0] * size[1]


def string_runs(counts: str) -> np.ndarray | None:
    """The run lengths [R] in COCO's string; None where it is none.

    A letter holds five bits, lowest first, and whether more follow; the last one's upper bit is a
    sign. From the fourth on, a run is told as its difference from the last but one.
    """
    letters = np.frombuffer(counts.encode(errors="replace"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(~letters & 32)
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 6:  # 30 bits
        return None
    shifts = 5 * (np.arange(len(letters)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((letters & 31) << shifts, starts)
    runs -= np.where(letters[ends] & 16, 1 << 5 * lengths, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def is_whole(value: Any) -> bool:
    """A number that fits 64 bits, as every reader can hold it."""
    fits = isinstance(value, int) and -(1 << 63) <= value < 1 << 63
    return fits and not isinstance(value, bool)


def of_size(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def short(value: Any) -> str:
    """A value from a file, as long as a message can bear."""
    told = json.dumps(value)
    return told if len(told) <= 100 else f"{told[:97]}..."
