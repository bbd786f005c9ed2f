"""Results and annotations as ROS messages and back, for messages read and written without ROS."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointseg_core.classes import Classes
from jointseg_core.errors import BadInput
from jointseg_core.images import MAX_PIXELS
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.targets import Target
from jointseg_eval.recordings.bags import new

DETECTIONS, MASKS = "vision_msgs/msg/Detection2DArray", "jointseg_ros/msg/InstanceMaskArray"
RUNS = 0
"""InstanceMask.ENCODING_RLE; the other encoding is one bit a pixel."""


def detections_message(
    header: Any,
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    ids: Sequence[str],
    positions: Sequence[Sequence[float]] | None = None,
) -> Any:
    """A vision_msgs Detection2DArray of annotated boxes (xyxy, pixels), all with score 1.

    positions: where the objects stand in the optical frame of the camera, x, y, z in metres; NaN
    where that is not known, and None where it is of no object.
    """
    positions = positions or [(math.nan,) * 3] * len(boxes)
    found = [_detection(header, *one) for one in zip(boxes, names, ids, positions, strict=True)]
    return new(DETECTIONS, header=header, detections=found)


def masks_message(
    header: Any, size: tuple[int, int], masks: Masks, labels: Sequence[int], ids: Sequence[str]
) -> Any:
    """An InstanceMaskArray of annotated masks in the order of the detections, all with score 1."""
    rows = zip(masks.windows.tolist(), masks.crops(), labels, ids, strict=True)
    found = [_mask(index, *row) for index, row in enumerate(rows)]
    return new(
        MASKS,
        header=header,
        height=size[0],
        width=size[1],
        masks=found,
    )


def read_boxes(
    message: Any, classes: Classes, keep: Sequence[bool] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], scores [N] and labels [N] of a Detection2DArray; classes by name or number.

    keep: which detections are wanted; all without it. ValueError for a class that is not among the
    things.
    """
    boxes, scores, labels = [], [], []
    wanted = message.detections if keep is None else compress(message.detections, keep)
    for one in wanted:
        center, half = one.bbox.center.position, (one.bbox.size_x / 2, one.bbox.size_y / 2)
        box = (center.x - half[0], center.y - half[1], center.x + half[0], center.y + half[1])
        boxes.append(box)
        scores.append(one.results[0].hypothesis.score)
        labels.append(_label(one.results[0].hypothesis.class_id, classes))
    return (
        torch.tensor(boxes, dtype=torch.float64).view(-1, 4),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels, dtype=torch.int64),
    )


def read_distances(message: Any) -> Tensor:
    """How far before the camera the objects of a Detection2DArray stand, m [N].

    That is z of the first hypothesis' pose, which is in the frame of the header, the camera's
    optical one. NaN where it is not above 0: nobody filled it in.
    """
    found = [one.results[0].pose.pose.position.z for one in message.detections]
    depth = torch.tensor(found, dtype=torch.float64)
    return torch.where(depth > 0, depth, torch.nan)


def read_masks(message: Any, keep: Sequence[bool] | None = None) -> tuple[Masks, Tensor]:
    """The masks of an InstanceMaskArray and their labels [N]; BadInput for a malformed mask.

    keep: which masks are wanted; all without it. IndexError if it is not of their number.
    """
    if keep is not None and len(keep) != len(message.masks):
        raise IndexError(f"{len(message.masks)} masks, expected {len(keep)}")
    wanted = list(message.masks if keep is None else compress(message.masks, keep))
    windows, crops = [], []
    for mask in wanted:
        roi = mask.roi
        x2, y2 = roi.x_offset + roi.width, roi.y_offset + roi.height
        if x2 > message.width or y2 > message.height:
            image = f"{message.width} x {message.height}"
            raise BadInput(f"a mask reaches {x2}, {y2} in an image of {image}")
        windows.append((roi.x_offset, roi.y_offset, x2, y2))
        crops.append(torch.from_numpy(_pixels(mask)))
    labels = torch.tensor([mask.class_id for mask in wanted], dtype=torch.int64)
    return Masks.from_crops(torch.tensor(windows, dtype=torch.int64).view(-1, 4), crops), labels


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


def read_target(
    size: tuple[int, int],
    classes: Classes,
    detections: Any,
    masks: Any,
    ignored: Any | None = None,
    semantic: Any | None = None,
) -> Target:
    """The annotation of one image: objects, and groups to ignore as crowds."""
    boxes, _, labels = read_boxes(detections, classes)
    groups, group_labels = read_masks(ignored) if ignored is not None else (Masks.empty(), None)
    bitmaps = torch.cat([read_masks(masks)[0].bitmaps(size), groups.bitmaps(size)])
    crowd = torch.arange(len(bitmaps)) >= len(boxes)
    return Target(
        torch.cat([boxes, groups.windows.double()]),
        labels if group_labels is None else torch.cat([labels, group_labels]),
        bitmaps,
        None if semantic is None else read_plane(semantic).long(),
        crowd,
    )


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Alternating run lengths (uint32) of a mask bool [h, w], row by row, background first."""
    flat = np.concatenate([[False], mask.reshape(-1), [not mask.flat[-1] if mask.size else True]])
    return np.diff(np.flatnonzero(flat[1:] != flat[:-1]), prepend=0).astype(np.uint32)


def _detection(
    header: Any, box: Sequence[float], name: str, track: str, stands: Sequence[float]
) -> Any:
    x1, y1, x2, y2 = (float(v) for v in box)
    position = new("vision_msgs/msg/Point2D", x=(x1 + x2) / 2, y=(y1 + y2) / 2)
    center = new("vision_msgs/msg/Pose2D", position=position, theta=0.0)
    hypothesis = new("vision_msgs/msg/ObjectHypothesis", class_id=name, score=1.0)
    return new(
        "vision_msgs/msg/Detection2D",
        header=header,
        results=[_with_pose(hypothesis, stands)],
        bbox=new("vision_msgs/msg/BoundingBox2D", center=center, size_x=x2 - x1, size_y=y2 - y1),
        id=track,
    )


def _with_pose(hypothesis: Any, position: Sequence[float]) -> Any:
    x, y, z = position if all(map(math.isfinite, position)) else (0.0, 0.0, 0.0)
    pose = new(
        "geometry_msgs/msg/Pose",
        position=new("geometry_msgs/msg/Point", x=x, y=y, z=z),
        orientation=new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )
    exact = new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36))
    return new("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=exact)


def _mask(index: int, window: list[int], crop: Tensor, label: int, track: str) -> Any:
    x1, y1, x2, y2 = window
    roi = new(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=x1,
        y_offset=y1,
        height=y2 - y1,
        width=x2 - x1,
        do_rectify=False,
    )
    return new(
        "jointseg_ros/msg/InstanceMask",
        detection_index=index,
        class_id=label,
        score=1.0,
        track_id=track,
        roi=roi,
        encoding=RUNS,
        rle=run_lengths(crop.numpy()),
        bitmap=np.zeros(0, np.uint8),
    )


def _pixels(mask: Any) -> np.ndarray:
    """The mask inside its window, bool [h, w]."""
    shape = (mask.roi.height, mask.roi.width)
    size, runs = shape[0] * shape[1], np.asarray(mask.rle, np.uint32)
    found = int(runs.sum(dtype=np.uint64)) if mask.encoding == RUNS else 8 * len(mask.bitmap)
    if size > MAX_PIXELS or found < size or (mask.encoding == RUNS and found != size):
        raise BadInput(f"a mask of {shape} pixels holds {found} of at most {MAX_PIXELS}")
    if mask.encoding == RUNS:
        return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
    bits = np.unpackbits(np.asarray(mask.bitmap, np.uint8), count=size)
    return bits.astype(bool).reshape(shape)


def _label(name: str, classes: Classes) -> int:
    if name in classes.things:
        return classes.things.index(name)
    if name.isdecimal() and int(name) < len(classes.things):
        return int(name)
    raise ValueError(f"detection of class {name!r}; known are {', '.join(classes.things)}")
