"""Image messages and RGB pictures, both ways, for messages read without ROS."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from jointseg_core.errors import BadBag, BadImage
from jointseg_eval.input_validation import MAX_PIXELS
from jointseg_eval.recordings.bags import BagReader, new

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
BAYER_SIDE = 3
"""Smaller mosaics would come out black."""

# encoding: (bytes a pixel, OpenCV conversion to RGB or None)
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    # OpenCV names a Bayer pattern by its second row, ROS by its first
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
ENCODINGS = tuple(_ENCODINGS)


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

    The fields may come from any reader; the data is neither kept nor changed.
    """
    if hasattr(message, "encoding"):
        return _raw_to_rgb(message)
    return _compressed_to_rgb(bytes(message.data))


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


def _raw_to_rgb(message: Any) -> np.ndarray:
    if message.encoding not in _ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise BadImage(
            "encoding", f"image encoding {message.encoding[:40]!r}; want one of {known}."
        )
    size, conversion = _ENCODINGS[message.encoding]
    rows = _rows(message, size)
    if message.encoding == "mono16":
        order = ">u2" if message.is_bigendian else "<u2"
        rows = (np.ascontiguousarray(rows).view(order) >> 8).astype(np.uint8)
    elif size > 1:
        rows = rows.reshape(message.height, message.width, size)
    if message.encoding.startswith("bayer") and min(rows.shape) < BAYER_SIDE:
        text = f"{message.encoding} needs {BAYER_SIDE} pixels each way, found {rows.shape}."
        raise BadImage("undecodable", text)
    try:
        return rows.copy() if conversion is None else cv2.cvtColor(rows, conversion)
    except cv2.error as error:
        found = f"{message.encoding} image of {message.width} x {message.height}"
        raise BadImage(
            "undecodable", f"{found} cannot be converted to RGB ({error.err})."
        ) from error


def _rows(message: Any, size: int) -> np.ndarray:
    """The bytes of an image as [H, W * size], without the padding at the end of its rows."""
    height, width, step = message.height, message.width, message.step
    found = f"image of {width} x {height} in {message.encoding}"
    if not 0 < height * width <= MAX_PIXELS:
        reason = "too_large" if height * width else "zero_size"
        text = f"{found} has no size that can be handled (1 to {MAX_PIXELS} pixels)."
        raise BadImage(reason, text)
    if step < width * size:
        raise BadImage("step", f"{found} has step {step}, less than a row of {width * size} bytes.")
    data = np.frombuffer(bytes(message.data), np.uint8)
    if len(data) < step * (height - 1) + width * size:
        raise BadImage(
            "data_size", f"{found} has {len(data)} bytes of data, expected {step * height}."
        )
    if len(data) < step * height:  # the last row may come without its padding
        data = np.pad(data, (0, step * height - len(data)))
    return data[: step * height].reshape(height, step)[:, : width * size]


def _compressed_to_rgb(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BadImage(
                    "too_large", f"compressed image claims {picture.width} x {picture.height}."
                )
            return np.array(picture.convert("RGB"))
    except BadImage:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and others
        raise BadImage(
            "undecodable", f"compressed image of {len(data)} bytes is damaged ({error})."
        ) from error


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
