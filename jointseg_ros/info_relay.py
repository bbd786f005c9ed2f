"""Calibrations beside the results: viewers look for `camera_info` next to the picture they show."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from jointseg_ros.parameters import Camera

_DEPTH = 5


class InfoRelay:
    """Publishes `camera_info` of the cameras that ask for it again, unchanged."""

    def __init__(self, node: Node, cameras: Callable[[], tuple[Camera, ...]]) -> None:
        self._node, self._cameras = node, cameras
        self._relays: list[tuple[Subscription, Publisher]] = []

    def start(self) -> None:
        """Pass on from now on."""
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        for camera in self._cameras():
            if camera.republish_info:
                topic, result = camera.info_topic(self._node), f"~/{camera.name}/camera_info"
                publisher = self._node.create_publisher(CameraInfo, result, _DEPTH)
                subscription = self._node.create_subscription(
                    CameraInfo, topic, publisher.publish, qos
                )
                self._relays.append((subscription, publisher))

    def stop(self) -> None:
        """Pass nothing more on."""
        for subscription, publisher in self._relays:
            self._node.destroy_subscription(subscription)
            self._node.destroy_publisher(publisher)
        self._relays = []
