"""Objects in space as a recording has them: what a node published, against what is true."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.messages import read_boxes, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.metrics.overlaps import as_array
from jointseg_eval.metrics.positions import PlacedObjects, PositionErrors, seen_boxes
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.topics import (
    CAMERA,
    CAMERA_INFO,
    TRUE_DETECTIONS,
    TRUE_DETECTIONS_3D,
    base_topic,
)
from jointseg_objects.depth import Objects3D

RESULTS = "detections", "detections_3d"
"""How the topics of a node end that say what it saw, and where that is."""


def lifted(objects: Objects3D, found: Predictions, lens: tuple[float, ...]) -> PlacedObjects:
    """What `lift` made of a result; lens: fx, fy, cx, cy."""
    places = objects.position, objects.center, objects.size
    labels, scores = (as_array(v)[objects.index] for v in (found.labels, found.scores))
    return PlacedObjects(labels, scores, seen_boxes(*places, lens), *places)


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
    picture and in space; none where truth, calibration or such results are missing.
    """
    errors = PositionErrors()
    camera = base_topic(images).rpartition("/")[0]
    true = [
        t.replace(CAMERA, camera, 1) for t in (TRUE_DETECTIONS, TRUE_DETECTIONS_3D, CAMERA_INFO)
    ]
    results = {
        stamp: (int((read_boxes(shown, classes)[1] >= MIN_SCORE).sum()), _read(placed, classes))
        for stamp, (shown, placed) in _together(outputs, [f"{prefix}/{n}" for n in RESULTS])
    }
    for stamp, (seen, solid, info) in _together(recording, true) if results else ():
        if stamp in results:
            shown, found = results[stamp]
            lens = tuple(float(info.k[k]) for k in (0, 4, 2, 5))
            boxes = seen_boxes(found.positions, found.centers, found.sizes, lens)
            truth = replace(_read(solid, classes), boxes=as_array(read_boxes(seen, classes)[0]))
            errors.add(replace(found, boxes=boxes), shown, truth)
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


def _read(message: Any, classes: Classes) -> PlacedObjects:
    """The objects of a Detection3DArray; where they are seen is not known yet."""
    every = message.detections
    first = [one.results[0] for one in every]
    names = [one.hypothesis.class_id for one in first]
    ways = [one.bbox.center.orientation for one in every]
    turns = np.array([2 * math.atan2(way.y, way.w) for way in ways])
    return PlacedObjects(
        np.array([int(n) if n.isdecimal() else classes.things.index(n) for n in names], np.int64),
        np.array([one.hypothesis.score for one in first], float),
        np.zeros((len(every), 4)),
        _points([one.pose.pose.position for one in first]),
        _points([one.bbox.center.position for one in every]),
        hull(_points([one.bbox.size for one in every]), turns),
    )


def _points(of: list[Any]) -> np.ndarray:
    """Points or vectors of messages, [N, 3]."""
    return np.array([(one.x, one.y, one.z) for one in of], float).reshape(-1, 3)
