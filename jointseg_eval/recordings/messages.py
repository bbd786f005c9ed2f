"""What a recording says about a camera: its images, and annotations as messages and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointseg_core import messages
from jointseg_core.classes import Classes
from jointseg_core.images import message_to_rgb
from jointseg_core.messages import read_boxes, read_masks, read_plane
from jointseg_core.predictions import Masks
from jointseg_core.targets import Target
from jointseg_eval.recordings.types import new


def builder(name: str) -> Callable[..., Any]:
    """What makes messages of a type from their fields, as the builders of the core want it."""
    return partial(new, name)


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs Header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image_message(picture: np.ndarray, header: Any) -> Any:
    """A sensor_msgs Image of uint8 RGB [H, W, 3] (rgb8) or uint8 [H, W] (mono8)."""
    encoding = "rgb8" if picture.ndim == 3 else "mono8"
    return messages.image_message(builder, header, picture, encoding)


def to_rgb(message: Any) -> np.ndarray:
    """The picture of a sensor_msgs Image or CompressedImage as uint8 RGB [H, W, 3]; else BadImage.

    The message's data is neither kept nor changed.
    """
    return np.require(message_to_rgb(message), requirements=["C", "W", "O"])


def depth_message(millimetres: np.ndarray, header: Any) -> Any:
    """A sensor_msgs Image of depth uint16 [H, W] (16UC1), 0 where nothing was measured."""
    return messages.image_message(builder, header, millimetres, "16UC1")


def camera_info(
    header: Any,
    size: tuple[int, int],
    intrinsics: tuple[float, float, float, float] | None = None,
) -> Any:
    """A sensor_msgs CameraInfo of images of this size, of a camera without distortion.

    intrinsics: fx, fy, cx, cy in pixels. Without them the matrices are zeros, which is how a camera
    says that it is not calibrated.
    """
    info = new("sensor_msgs/msg/CameraInfo", header=header, height=size[0], width=size[1])
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        info.distortion_model, info.d = "plumb_bob", np.zeros(5)
        info.k, info.r = matrix.ravel(), np.eye(3).ravel()
        info.p = np.pad(matrix, ((0, 0), (0, 1))).ravel()
    return info


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
    corners = [[float(v) for v in box] for box in boxes]
    message = messages.detections_message(builder, header, corners, [1.0] * len(boxes), names)
    positions = positions or [(math.nan,) * 3] * len(boxes)
    for one, track, stands in zip(message.detections, ids, positions, strict=True):
        one.id = track
        if all(map(math.isfinite, stands)):
            place = one.results[0].pose.pose.position
            place.x, place.y, place.z = stands
    return message


def detections_3d_message(
    header: Any,
    names: Sequence[str],
    ids: Sequence[str],
    positions: Sequence[Sequence[float]],
    solids: Sequence[tuple[Sequence[float], Sequence[float], float]],
) -> Any:
    """A vision_msgs Detection3DArray of annotated objects, all with score 1, in metres.

    All is in the frame of the header, the optical one of a camera. positions: of the middle of what
    is seen of each object; solids: centre and size of the box around all of it, and by how many
    radians that is turned about y, the axis that points down.
    """
    message = new("vision_msgs/msg/Detection3DArray", header=header)
    for name, track, stands, solid in zip(names, ids, positions, solids, strict=True):
        result = new("vision_msgs/msg/ObjectHypothesisWithPose")
        result.hypothesis.class_id, result.hypothesis.score = name, 1.0
        place, (centre, size, turn) = result.pose.pose.position, solid
        place.x, place.y, place.z = stands
        one = new("vision_msgs/msg/Detection3D", header=header, results=[result], id=track)
        middle, way = one.bbox.center.position, one.bbox.center.orientation
        middle.x, middle.y, middle.z = centre
        way.y, way.w = math.sin(turn / 2), math.cos(turn / 2)
        one.bbox.size.x, one.bbox.size.y, one.bbox.size.z = size
        message.detections.append(one)
    return message


def masks_message(
    header: Any, size: tuple[int, int], masks: Masks, labels: Sequence[int], ids: Sequence[str]
) -> Any:
    """An InstanceMaskArray of annotated masks in the order of the detections, all with score 1."""
    scores = [1.0] * len(masks)
    message = messages.masks_message(builder, header, size, masks, labels, scores, runs_only=True)
    for one, track in zip(message.masks, ids, strict=True):
        one.track_id = track
    return message


def read_distances(message: Any) -> Tensor:
    """How far before the camera the objects of a Detection2DArray stand, m [N].

    That is z of the first hypothesis' pose, which is in the frame of the header, the camera's
    optical one. NaN where it is not above 0: nobody filled it in.
    """
    found = [one.results[0].pose.pose.position.z for one in message.detections]
    depth = torch.tensor(found, dtype=torch.float64)
    return torch.where(depth > 0, depth, torch.nan)


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
