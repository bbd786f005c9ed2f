"""How images travel: what the transports of image_transport send, and where."""

from __future__ import annotations

import importlib.util
import re
from importlib import import_module
from typing import NamedTuple

import numpy as np


class Transport(NamedTuple):
    """What is behind the name of the images, and the type of the messages there."""

    suffix: str
    type: str


TRANSPORTS = {
    "raw": Transport("", "sensor_msgs/msg/Image"),
    "compressed": Transport("/compressed", "sensor_msgs/msg/CompressedImage"),
    "ffmpeg": Transport("/ffmpeg", "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"),
    "foxglove": Transport("/foxglove", "foxglove_msgs/msg/CompressedVideo"),
}
TYPES = (
    *(transport.type for transport in TRANSPORTS.values()),
    "foxglove_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/RawImage",
)
VIDEOS = (TRANSPORTS["ffmpeg"].type, TRANSPORTS["foxglove"].type)
_NAME = re.compile(r"\w+")


def transport_of(name: str) -> Transport:
    """What a transport or a type of TYPES means; a type is that of the topic itself."""
    return TRANSPORTS.get(name) or Transport("", name)


def problem(name: str) -> str | None:
    """Why the node does not read it, with what to do; None where it does."""
    known = f"{', '.join(TRANSPORTS)}, or the type of the topic itself: {', '.join(TYPES)}"
    kind = transport_of(name).type
    if name == "compressedDepth":
        return f"it is of depth, not of pictures; the node reads {known}"
    if kind not in TYPES and _NAME.fullmatch(name):
        republish = f"ros2 run image_transport republish --ros-args -p in_transport:={name}"
        return (
            f"the node reads {known}; of any other, image_transport makes raw images: "
            f"{republish} -p out_transport:=raw"
        )
    if kind not in TYPES:
        return f"it is none of {known}"
    if kind in VIDEOS and importlib.util.find_spec("av") is None:
        return "it is a video, which needs PyAV: pip install av"
    package = kind.partition("/")[0]
    if importlib.util.find_spec(package) is None:
        installed = package.replace("_", "-")
        return f"it needs {package}: apt install ros-$ROS_DISTRO-{installed}"
    return None


def by_cv_bridge(message: object) -> np.ndarray:
    """RGB of a sensor_msgs Image in an encoding that cv_bridge knows, where it is installed."""
    try:
        bridge = import_module("cv_bridge").CvBridge()
    except ImportError as error:
        raise ValueError("nor is cv_bridge installed, which may read it") from error
    return np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
