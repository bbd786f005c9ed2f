"""Objects in space as a recording has them: what a node published, against what is true."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.messages import read_boxes, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.metrics.overlaps import as_array
from jointseg_eval.metrics.positions import PlacedObjects, PositionErrors
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.topics import (
    CAMERA,
    TRUE_DETECTIONS,
    TRUE_DETECTIONS_3D,
    base_topic,
)
from jointseg_objects.depth import Objects3D

RESULTS = "detections", "detections_3d"
"""How the topics of a node end that say what it saw, and where that is."""


def lifted(objects: Objects3D, found: Predictions) -> PlacedObjects:
    """What `lift` made of a result."""
    seen = (as_array(v)[objects.index] for v in (found.labels, found.scores, found.boxes))
    return PlacedObjects(*seen, objects.position, objects.center, objects.size)


def hull(size: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """How far boxes [N, 3], turned about y by radians [N], reach along x, y and z."""
    sin, cos = np.abs(np.sin(turn)), np.abs(np.cos(turn))
    width, height, length = size.T
    return np.stack([width * cos + length * sin, height, width * sin + length * cos], axis=1)


def placed_in_recordings(
    recording: BagReader, outputs: BagReader, prefix: str, images: str, classes: Classes
) -> PositionErrors:
    """How well the node whose topics begin with `prefix` placed the objects of a recording.

    images: the topic of the camera. Scored are the frames of which there are detections in the
    picture and in space; none where truth or such results are missing.
    """
    errors = PositionErrors()
    camera = base_topic(images).rpartition("/")[0]
    true = [t.replace(CAMERA, camera, 1) for t in (TRUE_DETECTIONS, TRUE_DETECTIONS_3D)]
    results = {
        stamp: (int((read_boxes(pair[0], classes)[1] >= MIN_SCORE).sum()), _read(*pair, classes))
        for stamp, pair in _together(outputs, [f"{prefix}/{n}" for n in RESULTS])
    }
    for stamp, pair in _together(recording, true) if results else ():
        if stamp in results:
            shown, found = results[stamp]
            errors.add(found, shown, _read(*pair, classes))
    return errors


def _together(bag: BagReader, topics: list[str]) -> Iterator[tuple[int, list[Any]]]:
    """The messages of topics that have one stamp, with it; none where a topic is not there."""
    if not set(topics) <= set(bag.topics):
        return
    waiting: dict[int, dict[str, Any]] = {}
    for message in bag.messages(topics):
        stamp = stamp_ns(message.content.header)
        parts = waiting.setdefault(stamp, {})
        parts[message.topic] = message.content
        if len(parts) == len(topics):
            yield stamp, [parts[topic] for topic in topics]
            waiting = {other: found for other, found in waiting.items() if other > stamp}


def _read(seen: Any, placed: Any, classes: Classes) -> PlacedObjects:
    """The objects of a Detection3DArray, which are some of a Detection2DArray, in its order."""
    every = placed.detections
    first = [one.results[0] for one in every]
    boxes, scores, labels = read_boxes(seen, classes, _are_among(seen.detections, every))
    ways = [one.bbox.center.orientation for one in every]
    turns = np.array([2 * math.atan2(way.y, way.w) for way in ways])
    return PlacedObjects(
        *map(as_array, (labels, scores, boxes)),
        _points([one.pose.pose.position for one in first]),
        _points([one.bbox.center.position for one in every]),
        hull(_points([one.bbox.size for one in every]), turns),
    )


def _are_among(seen: Sequence[Any], placed: Sequence[Any]) -> list[bool]:
    """Which of the objects in the picture are those in space: of their class, score and track.

    ValueError where the others are not some of them.
    """
    among: list[bool] = []
    for one in seen:
        following = placed[sum(among) :]
        among.append(bool(following) and _told(one) == _told(following[0]))
    if lost := len(placed) - sum(among):
        raise ValueError(f"{lost} objects in space are none of those in the picture")
    return among


def _told(detection: Any) -> tuple[str, float, str]:
    hypothesis = detection.results[0].hypothesis
    return hypothesis.class_id, hypothesis.score, detection.id


def _points(of: list[Any]) -> np.ndarray:
    """Points or vectors of messages, [N, 3]."""
    return np.array([(one.x, one.y, one.z) for one in of], float).reshape(-1, 3)
