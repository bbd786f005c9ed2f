"""The subscriptions to the cameras, and who publishes to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import QoSRequestedIncompatibleQoSInfo, SubscriptionEventCallbacks

from jointseg_core.video import CameraDecoder
from jointseg_ros.depth_inputs import DepthInputs
from jointseg_ros.info_relay import InfoRelay
from jointseg_ros.mailbox import Frame
from jointseg_ros.parameters import Camera
from jointseg_ros.region import Region
from jointseg_ros.serialized import message_class
from jointseg_ros.transports import by_cv_bridge, transport_of

WAITING = 30
"""Compressed images that wait for the node at most: of a video none may be missed."""


@dataclass(frozen=True)
class Matched:
    """The publishers on a camera's topic, by whether their messages can arrive."""

    topic: str
    count: int = 0
    problems: tuple[str, ...] = ()  # one sentence each


def matched_publishers(node: Node, topic: str, kind: str, qos: QoSProfile) -> Matched:
    """Who publishes on the resolved topic, and whom a subscription with this QoS cannot hear."""
    endpoints = node.get_publishers_info_by_topic(topic)
    problems = []
    for endpoint in endpoints:
        who = f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"
        compatible, reason = qos_check_compatible(endpoint.qos_profile, qos)
        if endpoint.topic_type != kind:
            problems.append(f"{who} publishes {endpoint.topic_type}, expected {kind}")
        elif compatible == QoSCompatibility.ERROR:
            problems.append(f"incompatible QoS of {who}: {reason.strip().rstrip(';')}")
    return Matched(topic, len(endpoints), tuple(problems))


class CameraInputs:
    """Subscriptions to camera topics: best effort, QoS overridable; of raw images the newest only.

    cameras: is asked what to subscribe to whenever that begins; parameters may have changed it.
    receive: is called with each frame, on the thread that spins the node.
    """

    def __init__(
        self,
        node: Node,
        cameras: Callable[[], tuple[Camera, ...]],
        receive: Callable[[Frame], None],
    ) -> None:
        self._node, self._cameras, self._receive = node, cameras, receive
        self.depth, self._infos = DepthInputs(node, cameras), InfoRelay(node, cameras)
        self._subscriptions: dict[str, Subscription] = {}

    @property
    def subscribed(self) -> bool:
        """Whether frames can come."""
        return bool(self._subscriptions)

    def subscribe(self) -> None:
        """Receive from every camera from now on."""
        for camera in self._cameras():
            self._subscriptions[camera.name] = self._subscription(camera)
        self.depth.subscribe()
        self._infos.start()

    def unsubscribe(self) -> None:
        """Receive nothing more."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}
        self.depth.unsubscribe()
        self._infos.stop()

    def matched(self, camera: str) -> Matched:
        """The publishers on a camera's topic; none while it is not subscribed."""
        settings = next(one for one in self._cameras() if one.name == camera)
        topic = self._node.resolve_topic_name(settings.topic(self._node))
        if (subscription := self._subscriptions.get(camera)) is None:
            return Matched(topic)
        kind = transport_of(settings.transport).type
        return matched_publishers(self._node, topic, kind, subscription.qos_profile)

    def _subscription(self, camera: Camera) -> Subscription:
        decoder, region = CameraDecoder(camera.bits, by_cv_bridge), Region.of(camera.roi)

        def receive(message: Any) -> None:
            decoder.hold(message)
            self._receive(Frame(camera.name, message, time.monotonic(), decoder, region))

        depth = 1 if camera.transport == "raw" else WAITING
        return self._node.create_subscription(
            message_class(transport_of(camera.transport).type),
            camera.topic(self._node),
            receive,
            QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(camera.name, event)
            ),
        )

    def _incompatible(self, camera: str, event: QoSRequestedIncompatibleQoSInfo) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        topic = self.matched(camera).topic
        self._node.get_logger().error(
            f"a publisher on {topic} offers an incompatible {policy}: nothing arrives from it; "
            f"change it or qos_overrides.{topic}.subscription"
        )
