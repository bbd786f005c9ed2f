"""Drawing for people in a thread of its own, so that it never delays results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from jointseg_core.visualize import draw
from jointseg_ros.conversions import Result
from jointseg_ros.levels import described
from jointseg_ros.outputs import CameraOutputs


class OverlayThread:
    """Draws the newest result of each camera, at most `overlay.max_rate_hz` times a second."""

    def __init__(self, outputs: dict[str, CameraOutputs], complain: Callable[[str, str], None]):
        self._outputs, self._complain = outputs, complain
        self._waiting: dict[str, Result] = {}
        self._due = dict.fromkeys(outputs, 0.0)
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="overlay", daemon=True)
        self._thread.start()

    def offer(self, camera: str, result: Result) -> None:
        """Take a result to draw, if somebody looks and the rate allows it."""
        now = time.monotonic()
        period = 1 / result.settings.overlay_max_rate_hz
        if now < self._due[camera] - period / 10 or not self._outputs[camera].wants_overlay():
            return
        self._due[camera] = max(self._due[camera], now - period / 10) + period
        with self._changed:
            self._waiting[camera] = result
            self._changed.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Stop after the picture at hand."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._open:
                    return
                camera, result = self._waiting.popitem()
            try:
                self._draw(camera, result)
            except Exception as error:  # a picture for people must not end the thread
                self._complain("overlay", f"the overlay failed: {described(error)}")

    def _draw(self, camera: str, result: Result) -> None:
        settings = result.settings
        picture = draw(
            result.image,
            result.predictions,
            result.classes,
            alpha=settings.overlay_alpha,
            min_score=settings.overlay_min_score,
            tracks=result.tracks,
        )
        if settings.overlay_scale != 1:
            picture = _resized(picture, settings.overlay_scale)
        self._outputs[camera].publish_overlay(result.header, picture)


def _resized(picture: np.ndarray, scale: float) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
