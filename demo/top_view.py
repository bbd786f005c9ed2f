"""A street from above: where objects were found, and where they are."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.visualize import line_color
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE

REACH = 60.0
"""Metres before the camera that are shown."""
GRID = 10  # metres
BACKGROUND, LINES, WORDS, TRUE = (24, 26, 30), (58, 62, 70), (150, 155, 165), (255, 255, 255)
_BITS = 4  # behind the point in the coordinates that OpenCV gets


class TopView:
    """A plan of `size` (height, width), uint8 RGB: the camera at its left edge looks to the right.

    What stands right of the camera is below the middle; a metre is as long in both directions.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.picture = np.full((*size, 3), BACKGROUND, np.uint8)
        self._scale = size[1] / REACH
        for metres in range(GRID, round(REACH), GRID):
            (column, _), (_, row) = self._place(0, metres), (0, size[0])
            cv2.line(self.picture, (round(column), 0), (round(column), row), LINES)
            self._write(f"{metres} m", column + 3, row - 5)
        cv2.line(self.picture, (0, size[0] // 2), (size[1], size[0] // 2), LINES)

    def add_truth(self, message: Any) -> None:
        """The outlines of true boxes, of a Detection3DArray."""
        for one in message.detections:
            self._outline(one.bbox, TRUE)

    def add_found(self, message: Any, classes: Classes) -> None:
        """What was found, in the colours of the classes: its box, and a dot in the middle of what
        is seen; beside it the number of its track, if it has one.
        """
        for one in message.detections:
            result = one.results[0]
            if result.hypothesis.score < MIN_SCORE:
                continue
            label = classes.things.index(result.hypothesis.class_id)
            color = line_color(tuple(int(c) for c in classes.thing_colors[label]))
            self._outline(one.bbox, color)
            at = result.pose.pose.position
            column, row = self._place(at.x, at.z)
            dot = tuple(round(v * (1 << _BITS)) for v in (column, row))
            cv2.circle(self.picture, dot, 3 << _BITS, color, cv2.FILLED, cv2.LINE_AA, _BITS)
            if one.id:
                self._write(one.id, column + 5, row - 4, color)

    def _place(self, x: float, z: float) -> tuple[float, float]:
        return z * self._scale, len(self.picture) / 2 + x * self._scale

    def _outline(self, box: Any, color: tuple[int, int, int]) -> None:
        way, at = box.center.orientation, box.center.position
        turn = 2 * math.atan2(way.y, way.w)
        sin, cos = math.sin(turn), math.cos(turn)
        corners = [
            self._place(at.x + x * cos + z * sin, at.z + z * cos - x * sin)
            for x, z in _corners(box.size.x / 2, box.size.z / 2)
        ]
        fixed = np.round(np.array(corners) * (1 << _BITS)).astype(np.int32)
        cv2.polylines(self.picture, [fixed], True, color, 1, cv2.LINE_AA, _BITS)

    def _write(self, text: str, x: float, y: float, color: tuple[int, int, int] = WORDS) -> None:
        font, place = cv2.FONT_HERSHEY_SIMPLEX, (round(x), round(y))
        cv2.putText(self.picture, text, place, font, 0.35, color, 1, cv2.LINE_AA)


def _corners(x: float, z: float) -> list[tuple[float, float]]:
    return [(-x, -z), (x, -z), (x, z), (-x, z)]
