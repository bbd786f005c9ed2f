"""Depth and calibration of the cameras: what came lately, and what of it belongs to a picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from jointseg_core.errors import BadImage, BadInput
from jointseg_core.messages import stamp_ns
from jointseg_objects.depth import Intrinsics
from jointseg_objects.depth_images import message_to_depth
from jointseg_ros.monitor import DepthFacts
from jointseg_ros.parameters import Camera

KEPT = 8
"""Depth images and calibrations of a camera that wait for the picture of their stamp."""


_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,  # a calibration that was published once, before the node came
)


class Registered(NamedTuple):
    """What is known of a picture in space; depth [H, W] is None where only the ground is."""

    intrinsics: Intrinsics
    depth: np.ndarray | None


class _Kept:
    """The last messages of a topic."""

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self.topic = "its topic"
        self.wanted: int | None = None  # the stamp of a picture that is at work

    def put(self, message: Any) -> bool:
        """Keep it, in place of the oldest that is not wanted; False where the clock jumped back.

        Then all older ones are forgotten: they may be of another recording.
        """
        kept = self._messages
        jumped = bool(kept) and stamp_ns(message.header) < stamp_ns(kept[-1].header)
        self._messages = kept = [message] if jumped else [*kept, message]
        if len(kept) > KEPT:
            spared = self.wanted is not None and self.nearest(self.wanted) is kept[0]
            del kept[1 if spared else 0]
        return not jumped

    def nearest(self, stamp: int) -> Any | None:
        """The one whose stamp differs least, of equal ones the newest."""
        key = lambda message: abs(stamp_ns(message.header) - stamp)  # noqa: E731
        return min(reversed(self._messages), key=key, default=None)

    def has(self, stamp: int, tolerance_ns: float) -> bool:
        """Whether the one for a picture of this stamp is here, or cannot come any more."""
        kept = self._messages
        return bool(kept) and stamp_ns(kept[-1].header) >= stamp - tolerance_ns


class _Waiting:
    """What a camera sent lately: depth, and calibrations, which a zoom or a recording changes."""

    def __init__(self) -> None:
        self.images, self.infos = _Kept(), _Kept()


class DepthInputs:
    """Subscriptions to depth and calibration of the cameras that have them; safe on any thread."""

    def __init__(self, node: Node, cameras: Callable[[], tuple[Camera, ...]]) -> None:
        self._node, self._cameras = node, cameras
        self._subscriptions: list[Subscription] = []
        self._changed = threading.Condition()
        self._waiting: dict[str, _Waiting] = {}
        self.facts: dict[str, DepthFacts] = {}

    def subscribe(self) -> None:
        """Receive from now on; nothing where no camera has depth or a known height."""
        for camera in self._cameras():
            if camera.in_space:
                self._waiting[camera.name] = _Waiting()
                self._subscriptions += self._subscribed(camera)

    def unsubscribe(self) -> None:
        """Receive nothing more, and forget what came."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions, self._waiting = [], {}

    def _subscribed(self, camera: Camera) -> Iterator[Subscription]:
        waiting, (keep_info, keep) = self._waiting[camera.name], self._keepers(camera)
        infos = self._subscription(CameraInfo, camera.info_topic(self._node), keep_info, 1)
        waiting.infos.topic = infos.topic_name
        yield infos
        if camera.depth_topic:
            images = self._subscription(Image, camera.depth_topic, keep, KEPT)
            waiting.images.topic = images.topic_name
            yield images

    def _keepers(
        self, camera: Camera
    ) -> tuple[Callable[[CameraInfo], None], Callable[[Image], None]]:
        waiting = self._waiting[camera.name]
        facts = self.facts.setdefault(camera.name, DepthFacts())

        def keep_info(message: CameraInfo) -> None:
            with self._changed:
                waiting.infos.put(message)

        def keep(message: Image) -> None:
            with self._changed:
                facts.backwards += not waiting.images.put(message)
                self._changed.notify_all()

        return keep_info, keep

    def _subscription(self, kind: type, topic: str, keep: Callable, depth: int) -> Subscription:
        qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)
        overriding = QoSOverridingOptions(_OVERRIDABLE)
        return self._node.create_subscription(
            kind, topic, keep, qos, qos_overriding_options=overriding
        )

    def expect(self, camera: str, stamp: int) -> None:
        """A picture of this stamp, in ns, is at work: what goes with it must not go meanwhile."""
        if (waiting := self._waiting.get(camera)) is not None:
            with self._changed:
                waiting.images.wanted = waiting.infos.wanted = stamp

    def of(
        self,
        camera: Camera,
        header: Header,
        size: tuple[int, int],
        tolerance_ms: float,
        wait_ms: float = 0.0,
    ) -> Registered | None:
        """What belongs to a picture of (H, W) pixels; None without a calibration of its size.

        Depth that is not here yet has `wait_ms` to come. What is missing or does not fit is
        counted.
        """
        facts = self.facts.setdefault(camera.name, DepthFacts())
        waiting, stamp = self._waiting.get(camera.name) or _Waiting(), stamp_ns(header)
        with self._changed:
            if camera.depth_topic and wait_ms:
                here = lambda: waiting.images.has(stamp, 1e6 * tolerance_ms)  # noqa: E731
                self._changed.wait_for(here, wait_ms / 1e3)
            info, image = waiting.infos.nearest(stamp), waiting.images.nearest(stamp)
        try:
            if info is None:
                raise BadInput(f"no camera_info has come on {waiting.infos.topic}")
            intrinsics = _intrinsics(info, size)
        except BadInput as error:
            facts.note("calibration", str(error))
            return None
        if not camera.depth_topic:
            return Registered(intrinsics, None)
        try:
            if image is None:
                raise BadImage("not_in_time", f"no depth has come on {waiting.images.topic}")
            depth = _depth(image, header, size, tolerance_ms)
        except BadImage as error:
            facts.note(error.reason, str(error))
            return Registered(intrinsics, None)
        facts.used += 1
        return Registered(intrinsics, depth)


def _intrinsics(info: CameraInfo, size: tuple[int, int]) -> Intrinsics:
    """Of the rectified picture (P) where that is said, else of the camera (K). BadInput."""
    if (info.height, info.width) not in (size, (0, 0)):
        height, width = size
        is_of = f"{info.width} x {info.height}"
        raise BadInput(f"camera_info is of {is_of} pixels, the picture has {width} x {height}")
    if info.p[0] > 0:
        return Intrinsics.from_matrix(np.reshape(info.p, (3, 4))[:, :3])
    return Intrinsics.from_matrix(info.k)


def _depth(image: Image, header: Header, size: tuple[int, int], tolerance_ms: float) -> np.ndarray:
    """The depth that belongs to a picture. Raises BadImage with the reason."""
    apart_ms = abs(stamp_ns(image.header) - stamp_ns(header)) / 1e6
    if apart_ms > tolerance_ms:
        text = f"the nearest depth is {apart_ms:.0f} ms away, depth.tolerance_ms {tolerance_ms:g}"
        raise BadImage("not_in_time", text)
    if image.header.frame_id != header.frame_id:
        other, own = (f"{one.frame_id[:40]!a}" for one in (image.header, header))
        raise BadImage("frame_id", f"depth is in the frame {other}, the picture in {own}")
    if (image.height, image.width) != size:
        text = f"depth is {image.width} x {image.height}, the picture {size[1]} x {size[0]} pixels"
        raise BadImage("size", text)
    return message_to_depth(image)
