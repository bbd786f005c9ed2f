"""Where objects stand, without depth: on flat ground, seen from a known height.

It is an estimate, and a poor one far away: an error of 0.01 rad in the pitch, as when a car brakes,
moves what stands 40 m away, seen from 1.5 m above the ground, by 11 m.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jointseg_core.predictions import Predictions
from jointseg_objects.depth import Intrinsics, Limits, Objects3D

_Array = np.ndarray[Any, Any]

_PITCH_ERROR = 0.01  # rad; all errors are standard deviations
_HEIGHT_ERROR = 0.05  # of the camera's height
_EDGE_ERROR = 1.0, 0.02  # pixels, and of the box's height
_CUT_OFF = 0.01  # of the picture's height: what ends nearer to where it was looked at is cut off
_WORST = 0.5  # of the distance: what is less certain is no estimate


def from_ground(
    predictions: Predictions,
    intrinsics: Intrinsics,
    height: float,
    pitch: float = 0.0,
    limits: Limits | None = None,
    lowest: float | None = None,
) -> Objects3D:
    """Objects by the lower edges of their boxes, where these meet flat ground.

    height: metres of the camera above the ground; pitch: radians that it looks down by (REP-103).
    The camera does not roll. `position` is the middle of the box in the picture at the distance
    of its lower edge, `pixels` are 0. lowest: the row where what was looked at ends, else that of
    the picture. Left out is what may be cut off there, and what ends so near the horizon that half
    of its distance is uncertain. Raises ValueError for no height.
    """
    if not height > 0:
        raise ValueError(f"the camera is {height} m above the ground; it has to be above it")
    limits = limits or Limits()
    boxes = predictions.boxes.cpu().double().numpy()
    left, top, right, bottom = (boxes - 0.5).T  # edges, counted from the centre of the first pixel
    slope = (bottom - intrinsics.cy) / intrinsics.fy
    fall = slope * math.cos(pitch) + math.sin(pitch)  # of a ray to the ground, for a metre of z
    lowest = predictions.image_size[0] if lowest is None else lowest
    seen = (fall > 0) & (boxes[:, 3] < lowest - _CUT_OFF * predictions.image_size[0])
    depth = height / np.where(seen, fall, np.inf)
    edge = _EDGE_ERROR[0] + _EDGE_ERROR[1] * (bottom - top)  # pixels
    by_edge = edge / intrinsics.fy * math.cos(pitch)
    by_pitch = _PITCH_ERROR * (math.cos(pitch) - slope * math.sin(pitch))
    deviation = np.hypot(depth**2 / height * np.hypot(by_edge, by_pitch), depth * _HEIGHT_ERROR)
    index = np.flatnonzero(seen & (deviation <= _WORST * depth) & (depth <= limits.farthest))
    rays = np.stack(
        [
            ((left + right) / 2 - intrinsics.cx) / intrinsics.fx,
            ((top + bottom) / 2 - intrinsics.cy) / intrinsics.fy,
            np.ones_like(depth),
        ],
        1,
    )[index]
    depth, deviation, edge = (v[index] for v in (depth, deviation, edge))
    known = limits.extent(predictions.labels.cpu().numpy()[index])
    across = (right - left)[index] * depth / intrinsics.fx
    high = (bottom - top)[index] * depth / intrinsics.fy
    beside = np.array([1 / intrinsics.fx, 1 / intrinsics.fy, 0]) * (edge * depth)[:, None]
    along = rays * deviation[:, None]
    position = rays * depth[:, None]
    return Objects3D(
        index,
        position,
        along[:, :, None] * along[:, None] + (beside**2)[:, None] * np.eye(3),
        position + known[:, None] * (0, 0, 0.5),
        np.stack([across, high, known], 1),
        np.zeros(len(index), np.int64),
        len(boxes) - len(index),
    )
