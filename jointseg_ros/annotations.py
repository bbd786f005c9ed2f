"""Results as foxglove_msgs/ImageAnnotations: lines and texts that Foxglove lays over an image.

They cost a fraction of an overlay's bytes, and stay sharp when one zooms in. The package
foxglove_msgs is optional, so its messages are handed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from std_msgs.msg import Header

from jointseg_core.visualize import instance_colors, line_color, line_width, text_height
from jointseg_ros.conversions import Result

TOLERANCE = 1.0
"""Pixels that an outline may leave the edge of its mask by, which saves most points."""


def foxglove_messages() -> ModuleType | None:
    """The messages of foxglove_msgs, None where the package is not installed."""
    try:
        return import_module("foxglove_msgs.msg")
    except ImportError:
        return None


def annotations_message(messages: ModuleType, result: Result) -> Any:
    """ImageAnnotations with a box, a caption and, with masks, outlines for each object.

    Objects with scores below `overlay.min_score` are left out. Coordinates are pixels of the image,
    (0, 0) being the corner of its first pixel. All carry the stamp of the header, by which Foxglove
    joins them to the image.
    """
    predictions = result.predictions
    chosen = predictions.scores >= result.settings.overlay_min_score
    shown, kept = predictions[chosen], chosen.numpy()
    tracks = None if result.tracks is None else result.tracks[kept]
    pen = _Pen(messages, result.header, shown.image_size)
    message = messages.ImageAnnotations()
    boxes = shown.boxes.float().numpy()
    colors = instance_colors(shown.labels.numpy(), boxes, result.classes, tracks).tolist()
    names = [result.classes.things[label] for label in shown.labels.tolist()]
    if tracks is not None:
        names = [f"{n} {t}" if t else n for n, t in zip(names, tracks.tolist(), strict=True)]
    crops = shown.masks.crops() if shown.masks is not None else None
    for k in reversed(range(len(shown))):  # the most certain one comes last and lies on top
        color = line_color(tuple(colors[k]))
        if crops is not None:
            window = shown.masks.windows[k].tolist()
            message.points += [pen.loop(o, color) for o in outlines(crops[k].numpy(), window)]
        x1, y1, x2, y2 = boxes[k].tolist()
        message.points.append(pen.loop([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], color))
        message.texts.append(pen.text(f"{names[k]} {float(shown.scores[k]):.2f}", x1, y1, color))
    return message


def outlines(crop: np.ndarray, window: list[int]) -> list[np.ndarray]:
    """The edges of a mask bool [h, w] in its window: points float [n, 2] in image pixels.

    They go through the centres of the outermost pixels; holes have edges of their own.
    """
    if not crop.size:
        return []
    mask = np.ascontiguousarray(crop).view(np.uint8)
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=window[:2])
    simple = (cv2.approxPolyDP(contour, TOLERANCE, True) for contour in found)
    return [points.reshape(-1, 2) + 0.5 for points in simple]


class _Pen:
    """Makes annotations with the stamp of a header and sizes that fit the image."""

    def __init__(self, messages: ModuleType, header: Header, size: tuple[int, int]) -> None:
        self._messages, self._stamp = messages, header.stamp
        self._width, self._height = float(line_width(size)), float(text_height(size))

    def loop(self, points: Iterable[Iterable[float]], color: tuple[int, ...]) -> Any:
        kind = self._messages.PointsAnnotation
        corners = [self._messages.Point2(x=float(x), y=float(y)) for x, y in points]
        return kind(
            timestamp=self._stamp,
            type=kind.LINE_LOOP,
            points=corners,
            outline_color=self._color(color),
            thickness=self._width,
        )

    def text(self, text: str, x: float, y: float, color: tuple[int, ...]) -> Any:
        """A caption above (x, y), or below where the image ends."""
        x, y = max(x, 0.0), y if y > self._height else max(y, 0.0) + self._height
        return self._messages.TextAnnotation(
            timestamp=self._stamp,
            position=self._messages.Point2(x=x, y=y),
            text=text,
            font_size=self._height,
            text_color=self._color((255, 255, 255)),
            background_color=self._color(color),
        )

    def _color(self, rgb: tuple[int, ...]) -> Any:
        r, g, b = (c / 255 for c in rgb)
        return self._messages.Color(r=r, g=g, b=b, a=1.0)
