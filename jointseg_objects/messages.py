"""Objects in space as vision_msgs, with ROS and, for recordings, without; see core's `messages`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jointseg_objects.depth import Objects3D

DETECTIONS_3D = "vision_msgs/msg/Detection3DArray"

_ANY_ANGLE = math.pi**2 / 3
"""Variance of an angle of which nothing is known."""


def detections_3d_message(
    types: Callable[[str], Callable[..., Any]],
    header: Any,
    objects: Objects3D,
    scores: Sequence[float],
    names: Sequence[str],
    tracks: Sequence[str],
) -> Any:
    """A vision_msgs/Detection3DArray; scores, names and tracks are of all objects of the picture.

    The pose of a hypothesis is `Objects3D.position` with its covariance, the box has the sides
    of the optical frame. Directions are not estimated.
    """
    message = types(DETECTIONS_3D)(header=header)
    new, new_result, new_pose = (
        types(f"{package}/msg/{name}")
        for package, name in (
            ("vision_msgs", "Detection3D"),
            ("vision_msgs", "ObjectHypothesisWithPose"),
            ("geometry_msgs", "PoseWithCovariance"),
        )
    )
    covariances = np.zeros((len(objects), 6, 6))
    covariances[:, :3, :3] = objects.covariance
    covariances[:, (3, 4, 5), (3, 4, 5)] = _ANY_ANGLE
    places = (objects.index, objects.position, objects.center, objects.size)
    rows = zip(*(values.tolist() for values in places), covariances.reshape(-1, 36), strict=True)
    for index, position, center, size, covariance in rows:
        pose = new_pose(covariance=covariance)
        _put(pose.pose.position, position)
        result = new_result(pose=pose)
        result.hypothesis.class_id, result.hypothesis.score = names[index], scores[index]
        detection = new(header=header, results=[result], id=tracks[index])
        _put(detection.bbox.center.position, center)
        _put(detection.bbox.size, size)
        detection.bbox.center.orientation.w = pose.pose.orientation.w = 1.0
        message.detections.append(detection)
    return message


def _put(point: Any, values: Sequence[float]) -> None:
    point.x, point.y, point.z = values
