"""Image messages and RGB pictures, both ways, for messages read without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from jointseg_core.errors import BadBag
from jointseg_core.images import message_to_rgb
from jointseg_eval.recordings.bags import BagReader, new

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def image_topic(bag: BagReader, topic: str | None = None) -> str:
    """The camera images of a bag, or those on this topic; BadBag, naming all, if not one."""
    images = {t.name: t for t in bag.topics.values() if t.type in IMAGE_TYPES}
    listed = ", ".join(f"{t.name} ({t.type.split('/')[-1]}, {t.count})" for t in images.values())
    where = bag.path.absolute()
    if topic in images:
        return topic
    if not images:
        raise BadBag(f"{where} holds no images but {', '.join(bag.topics) or 'no topic at all'}")
    if topic is not None:
        raise BadBag(f"{where} holds no images on {topic}; it has {listed}.")
    cameras = [name for name in images if "/ground_truth/" not in name]
    if len(cameras) != 1:
        raise BadBag(f"{where} holds several images; choose one by --topic: {listed}.")
    return cameras[0]


def to_rgb(message: Any) -> np.ndarray:
    """The picture of a sensor_msgs Image or CompressedImage as uint8 RGB [H, W, 3]; else BadImage.

    The message's data is neither kept nor changed.
    """
    return np.require(message_to_rgb(message), requirements=["C", "W", "O"])


def image_message(picture: np.ndarray, header: Any) -> Any:
    """A sensor_msgs Image of uint8 RGB [H, W, 3] (rgb8) or uint8 [H, W] (mono8)."""
    height, width = picture.shape[:2]
    return new(
        "sensor_msgs/msg/Image",
        header=header,
        height=height,
        width=width,
        encoding="rgb8" if picture.ndim == 3 else "mono8",
        is_bigendian=0,
        step=picture[0].size,
        data=np.ascontiguousarray(picture).reshape(-1),
    )


def header_message(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs Header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def stamp_ns(header: Any) -> int:
    """The time of a header in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def camera_info(header: Any, size: tuple[int, int]) -> Any:
    """The size of the images; the focal length changes from street to street, so none is given.

    A matrix of zeros is how a camera says that it is not calibrated.
    """
    region = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    return new(
        "sensor_msgs/msg/CameraInfo",
        header=header,
        height=size[0],
        width=size[1],
        distortion_model="",
        d=np.zeros(0),
        k=np.zeros(9),
        r=np.zeros(9),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=new("sensor_msgs/msg/RegionOfInterest", **region),
    )
