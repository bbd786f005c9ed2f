"""Cameras that publish at a rate, and note when they handed each frame over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from jointseg_ros.conversions import image_message

PICTURES = 4
"""Different pictures, sent in turn."""


class Cameras(Node):
    """All cameras of a vehicle, triggered at the same moment.

    published: (camera, stamp in ns) -> steady time (ns) right before `publish`
    """

    def __init__(
        self, context: Context, names: tuple[str, ...], transport: str, size: tuple[int, int]
    ) -> None:
        super().__init__("cameras", context=context)
        kind, suffix = (Image, "") if transport == "raw" else (CompressedImage, "/compressed")
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)  # as drivers do
        self._publishers_by_name = {
            name: self.create_publisher(kind, f"/{name}/image_raw{suffix}", qos) for name in names
        }
        self._messages = [_message(picture, transport) for picture in pictures(size)]
        self.published: dict[tuple[str, int], int] = {}

    def heard(self) -> bool:
        """Whether somebody listens to every camera."""
        return all(p.get_subscription_count() for p in self._publishers_by_name.values())

    def run(self, rate_hz: float, seconds: float) -> float:
        """Publish on the calling thread for so long; the seconds that it took.

        A frame that is a whole period late is left out, not sent in a burst with the next.
        """
        start = time.monotonic()
        for tick in range(max(1, round(rate_hz * seconds))):
            left = start + tick / rate_hz - time.monotonic()
            if left > -1 / rate_hz:
                time.sleep(max(0.0, left))
                self._trigger(self._messages[tick % PICTURES])
        time.sleep(max(0.0, start + seconds - time.monotonic()))
        return time.monotonic() - start

    def _trigger(self, message: Image | CompressedImage) -> None:
        stamp = self.get_clock().now().nanoseconds
        set_stamp(message, stamp)
        for name, publisher in self._publishers_by_name.items():
            message.header.frame_id = name
            self.published[name, stamp] = time.monotonic_ns()
            publisher.publish(message)


def set_stamp(message: Any, nanoseconds: int) -> None:
    """The stamp of a message's header."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def pictures(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Simple streets uint8 [H, W, 3] BGR with noise, as of a sensor: sky, road and vehicles."""
    height, width = size
    for number in range(PICTURES):
        random = np.random.default_rng(number)
        picture = np.full((height, width, 3), (200, 170, 140), np.uint8)
        picture[height // 2 :] = (90, 90, 90)
        for left in random.uniform(0, 0.85, 8):
            _draw_vehicle(picture, left, random)
        noise = random.integers(0, 12, (height, width, 1), dtype=np.uint8)
        yield picture + noise


def _draw_vehicle(picture: np.ndarray, left: float, random: np.random.Generator) -> None:
    """A body with windows and wheels on the road, in place."""
    height, width = picture.shape[:2]
    h, x = int(height * random.uniform(0.05, 0.2)), int(left * width)
    y, w = int(height * random.uniform(0.5, 0.7)), 2 * h
    color = tuple(int(c) for c in random.integers(20, 235, 3))
    cv2.rectangle(picture, (x, y), (x + w, y + h), color, -1)
    cv2.rectangle(picture, (x + w // 5, y - h // 2), (x + 4 * w // 5, y), color, -1)
    cv2.rectangle(picture, (x + w // 4, y - h // 3), (x + 3 * w // 4, y), (60, 40, 30), -1)
    for wheel in (x + w // 5, x + 4 * w // 5):
        cv2.circle(picture, (wheel, y + h), max(1, h // 4), (20, 20, 20), -1)


def _message(picture: np.ndarray, transport: str) -> Image | CompressedImage:
    if transport == "raw":
        return image_message(Header(), picture, "bgr8")
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return CompressedImage(format="bgr8; jpeg compressed bgr8", data=data.tobytes())
