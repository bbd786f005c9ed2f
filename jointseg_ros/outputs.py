"""What one camera's results are published as: the topics, their QoS, and which are lazy.

A lazy topic is only filled while somebody listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jointseg_msgs.msg import InstanceMaskArray, PanopticSegmentArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from jointseg_core.classes import Classes
from jointseg_ros import annotations, conversions, space_messages
from jointseg_ros.conversions import Result
from jointseg_ros.levels import Rhythm
from jointseg_ros.parameters import Camera


@dataclass(frozen=True)
class Topic:
    """A topic below ~/<camera>/ and how its message comes from a result."""

    name: str
    type: type
    build: Callable[[Result], Any]
    lazy: bool = True
    depth: int = 1  # messages that are kept for slow subscribers


JOINED = 5
"""Depth of the topics that are joined by header, so that no half of a pair is lost."""

DETECTIONS = Topic(
    "detections", Detection2DArray, conversions.detections_message, lazy=False, depth=JOINED
)

RDSNET = (
    DETECTIONS,
    Topic(
        "instance_masks",
        InstanceMaskArray,
        conversions.instance_masks_message,
        lazy=False,
        depth=JOINED,
    ),
    Topic("instance_labels", Image, conversions.instance_labels_message),
    Topic("instance_labels/color", Image, conversions.instance_color_message),
)

SEGRPN = (
    DETECTIONS,
    Topic("semantic/image", Image, conversions.semantic_message, lazy=False, depth=JOINED),
    Topic("semantic/image/compressed", CompressedImage, conversions.semantic_png_message),
    Topic("semantic/color", Image, conversions.semantic_color_message),
    Topic("semantic/confidence", Image, conversions.confidence_message),
    Topic("foreground/image", Image, conversions.foreground_message),
)

PANOPTIC = (
    Topic("panoptic/image", Image, conversions.panoptic_message, depth=JOINED),
    Topic(
        "panoptic/segments",
        PanopticSegmentArray,
        conversions.panoptic_segments_message,
        depth=JOINED,
    ),
    Topic("panoptic/color", Image, conversions.panoptic_color_message),
)

TOPICS: dict[str, tuple[Topic, ...]] = {
    "rdsnet": RDSNET,
    "segrpn": SEGRPN,
    "joint": (*RDSNET, *SEGRPN[1:], *PANOPTIC),
}
"""Of each model, beside the label info and the overlay that all have."""

IN_SPACE = (
    Topic(
        "detections_3d",
        Detection3DArray,
        space_messages.detections_3d_message,
        lazy=False,
        depth=JOINED,
    ),
    Topic("markers", MarkerArray, space_messages.markers_message),
    Topic("points", PointCloud2, space_messages.points_message),
)
"""Of cameras with depth, or at a known height above the ground."""

FOXGLOVE = annotations.foxglove_messages()
ANNOTATIONS: tuple[Topic, ...] = ()
"""Of every model, where foxglove_msgs is installed."""
if FOXGLOVE is not None:
    _BUILD = partial(annotations.annotations_message, FOXGLOVE)
    ANNOTATIONS = (Topic("annotations", FOXGLOVE.ImageAnnotations, _BUILD),)


def reliable(depth: int, latched: bool = False) -> QoSProfile:
    """Reliable reaches both kinds of subscribers; a latched topic also the late ones."""
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


OVERLAYS: dict[str, tuple[type, Callable[[Header, np.ndarray], Any]]] = {
    "overlay": (Image, partial(conversions.image_message, encoding="rgb8")),
    "overlay/compressed": (CompressedImage, conversions.jpeg_message),
}
"""For people, at a rate of their own: counted, and never judged; type and message of a picture."""


class CameraOutputs:
    """The publishers of one camera.

    rhythms  of the topics by name; a lazy one is watched while somebody listens
    """

    def __init__(self, node: Node, camera: Camera, model_type: str) -> None:
        self._node = node
        self._topics = (*TOPICS[model_type], *ANNOTATIONS, *(IN_SPACE if camera.in_space else ()))
        kinds = {topic.name: (topic.type, reliable(topic.depth)) for topic in self._topics}
        kinds |= {name: (kind, reliable(1)) for name, (kind, _) in OVERLAYS.items()}
        self.rhythms = {name: Rhythm() for name in kinds}
        labelled = ("label_info", *(("semantic/label_info",) if model_type != "rdsnet" else ()))
        kinds |= {name: (LabelInfo, reliable(1, latched=True)) for name in labelled}
        overriding = QoSOverridingOptions.with_default_policies()
        self._publishers = {
            name: node.create_publisher(
                kind, f"~/{camera.name}/{name}", qos, qos_overriding_options=overriding
            )
            for name, (kind, qos) in kinds.items()
        }

    def publish_label_info(self, header: Header, classes: Classes, threshold: float) -> None:
        """Say what the class numbers mean, to present and later subscribers."""
        meant = {
            "label_info": (classes.things, threshold),
            "semantic/label_info": (classes.semantic, 0.0),
        }
        for name, (names, lowest) in meant.items():
            if name in self._publishers:
                message = conversions.label_info_message(header, names, lowest)
                self._publishers[name].publish(message)

    def publish(self, result: Result) -> None:
        """Everything but the overlay; also when nothing was seen."""
        for topic in self._topics:
            publisher, rhythm = self._publishers[topic.name], self.rhythms[topic.name]
            if not topic.lazy or publisher.get_subscription_count():
                publisher.publish(topic.build(result))
                now = time.monotonic()
                if topic.lazy and rhythm.watched_since is None:
                    rhythm.watch(now)
                rhythm.note(now)
            elif rhythm.watched_since is not None:
                rhythm.watch(None)

    def watch(self, now: float | None) -> None:
        """Results are due from this steady time on; None: not any more."""
        for topic in self._topics:
            self.rhythms[topic.name].watch(None if topic.lazy else now)

    def wants_overlay(self) -> bool:
        """Whether somebody looks."""
        return any(self._publishers[name].get_subscription_count() for name in OVERLAYS)

    def publish_overlay(self, header: Header, picture: np.ndarray) -> None:
        """A drawn picture uint8 [H, W, 3] RGB, raw and as JPEG, to those who listen."""
        for name, (_, build) in OVERLAYS.items():
            if self._publishers[name].get_subscription_count():
                self._publishers[name].publish(build(header, picture))
                self.rhythms[name].note(time.monotonic())

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
