"""The result messages of a node, built and read the same with ROS and, for recordings, without.

`types` gives what makes messages of a type: types("std_msgs/msg/Header")(frame_id="camera"), the
fields that are not named having their defaults. Large fields get bytes or array.array: a NumPy
array given to rclpy is copied number by number, a thousand times slower. What reads takes messages
of either library.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointseg_core.classes import Classes
from jointseg_core.errors import BadInput
from jointseg_core.images import MAX_PIXELS
from jointseg_core.predictions import Masks, Predictions

_Types = Callable[[str], Callable[..., Any]]

DETECTIONS, MASKS = "vision_msgs/msg/Detection2DArray", "jointseg_msgs/msg/InstanceMaskArray"
_RUNS, _BITS = 0, 1
"""InstanceMask.ENCODING_RLE and ENCODING_BITMAP."""


def stamp_ns(header: Any) -> int:
    """The time of a std_msgs/Header in nanoseconds."""
    return int(header.stamp.sec * 1_000_000_000 + header.stamp.nanosec)


def image_message(types: _Types, header: Any, pixels: np.ndarray, encoding: str) -> Any:
    """A sensor_msgs/Image of [H, W] or [H, W, 3] samples that fit the encoding, little-endian."""
    height, width = pixels.shape[:2]
    return types("sensor_msgs/msg/Image")(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        step=pixels.nbytes // height,
        data=pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes(),
    )


def detections_message(
    types: _Types,
    header: Any,
    boxes: Iterable[Sequence[float]],
    scores: Iterable[float],
    names: Iterable[str],
) -> Any:
    """A vision_msgs/Detection2DArray of boxes (x1, y1, x2, y2 in pixels) in this order."""
    message = types(DETECTIONS)(header=header)
    new_detection = types("vision_msgs/msg/Detection2D")
    new_result = types("vision_msgs/msg/ObjectHypothesisWithPose")
    for (x1, y1, x2, y2), score, name in zip(boxes, scores, names, strict=True):
        detection, result = new_detection(header=header), new_result()
        box = detection.bbox
        center, hypothesis = box.center.position, result.hypothesis
        center.x, center.y = (x1 + x2) / 2, (y1 + y2) / 2
        box.size_x, box.size_y = x2 - x1, y2 - y1
        hypothesis.class_id, hypothesis.score = name, score
        detection.results.append(result)
        message.detections.append(detection)
    return message


def masks_message(
    types: _Types,
    header: Any,
    size: tuple[int, int],
    masks: Masks,
    labels: Iterable[int],
    scores: Iterable[float],
    runs_only: bool = False,
) -> Any:
    """An InstanceMaskArray about an image of `size` (height, width), masks in this order.

    Each is stored as the smaller of the runs and the bits of its window, or always as runs.
    """
    message = types(MASKS)(header=header, height=size[0], width=size[1])
    rows = zip(labels, scores, masks.windows.tolist(), masks.crops(), strict=True)
    for index, (label, score, window, crop) in enumerate(rows):
        mask = _mask(types, window, crop.numpy(), runs_only)
        mask.detection_index, mask.class_id, mask.score = index, label, score
        message.masks.append(mask)
    return message


def _mask(types: _Types, window: list[int], crop: np.ndarray, runs_only: bool) -> Any:
    x1, y1, x2, y2 = window
    roi = types("sensor_msgs/msg/RegionOfInterest")(
        x_offset=x1, y_offset=y1, width=x2 - x1, height=y2 - y1
    )
    new, runs = types("jointseg_msgs/msg/InstanceMask"), _run_lengths(crop)
    if runs_only or 4 * len(runs) <= (crop.size + 7) // 8:
        rle = array.array("I", runs.astype(np.uint32).tobytes())
        return new(roi=roi, encoding=_RUNS, rle=rle)
    return new(roi=roi, encoding=_BITS, bitmap=np.packbits(crop.reshape(-1)).tobytes())


def _run_lengths(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of a mask bool [h, w] row by row, background first (0 for none)."""
    flat = mask.reshape(-1)
    if not flat.size:
        return np.zeros(0, np.int64)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate([starts, changes, [flat.size]]))


def read_boxes(
    message: Any, classes: Classes, keep: Sequence[bool] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], scores [N] and labels [N] of a Detection2DArray; classes by name or number.

    keep: which detections are wanted; all without it. ValueError for a class that is not among the
    things.
    """
    wanted = list(message.detections if keep is None else compress(message.detections, keep))
    found = [one.results[0].hypothesis for one in wanted]
    labels = [_label(hypothesis.class_id, classes) for hypothesis in found]
    return (
        torch.tensor([_corners(one.bbox) for one in wanted], dtype=torch.float64).view(-1, 4),
        torch.tensor([hypothesis.score for hypothesis in found], dtype=torch.float64),
        torch.tensor(labels, dtype=torch.int64),
    )


def _corners(box: Any) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of a BoundingBox2D."""
    x, y, w, h = box.center.position.x, box.center.position.y, box.size_x / 2, box.size_y / 2
    return x - w, y - h, x + w, y + h


def _label(name: str, classes: Classes) -> int:
    if name in classes.things:
        return classes.things.index(name)
    if name.isdecimal() and int(name) < len(classes.things):
        return int(name)
    raise ValueError(f"detection of class {name!r}; known are {', '.join(classes.things)}")


def read_masks(message: Any, keep: Sequence[bool] | None = None) -> tuple[Masks, Tensor]:
    """The masks of an InstanceMaskArray in its order, and their labels [N].

    keep: which masks are wanted; all without it. IndexError if it is not of their number, BadInput
    where runs or bits do not fill their window, or a window leaves the image.
    """
    if keep is not None and len(keep) != len(message.masks):
        raise IndexError(f"{len(message.masks)} masks, expected {len(keep)}")
    wanted = list(message.masks if keep is None else compress(message.masks, keep))
    size = message.width, message.height
    windows = torch.tensor([_window(mask.roi, size) for mask in wanted], dtype=torch.int64)
    crops = [torch.from_numpy(_crop(mask)) for mask in wanted]
    labels = torch.tensor([mask.class_id for mask in wanted], dtype=torch.int64)
    return Masks.from_crops(windows.view(-1, 4), crops), labels


def _window(roi: Any, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x2, y2 = roi.x_offset + roi.width, roi.y_offset + roi.height
    if x2 > size[0] or y2 > size[1]:
        raise BadInput(f"a mask ends at {x2, y2}, the image at {size}")
    return roi.x_offset, roi.y_offset, x2, y2


def _crop(mask: Any) -> np.ndarray:
    """The contents of a mask's window, bool [h, w]."""
    height, width = mask.roi.height, mask.roi.width
    size = height * width
    if size > MAX_PIXELS:
        raise BadInput(f"a mask's window is {height} x {width}, more than {MAX_PIXELS} pixels")
    if mask.encoding == _RUNS:
        runs = np.asarray(mask.rle, np.uint32)
        total = int(runs.sum(dtype=np.uint64))
    else:
        bits = np.asarray(mask.bitmap, np.uint8)
        total = size if len(bits) == (size + 7) // 8 else 8 * len(bits)
    if total != size:
        raise BadInput(f"a mask of {total} pixels does not fill its window of {height} x {width}")
    if mask.encoding == _RUNS:
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return np.unpackbits(bits, count=size).astype(bool).reshape(height, width)


def read_plane(message: Any) -> Tensor:
    """The values of a mono8 image as uint8 [H, W]."""
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    return torch.from_numpy(rows[:, : message.width].copy())


def read_predictions(
    size: tuple[int, int],
    classes: Classes,
    detections: Any,
    masks: Any | None = None,
    semantic: Any | None = None,
    foreground: Any | None = None,
) -> Predictions:
    """What a node published about one image of this size (height, width)."""
    boxes, scores, labels = read_boxes(detections, classes)
    return Predictions(
        size,
        boxes,
        scores,
        labels,
        masks=None if masks is None else read_masks(masks)[0],
        semantic=None if semantic is None else read_plane(semantic),
        foreground=None if foreground is None else read_plane(foreground) > 0,
    )
