"""Camera messages to RGB arrays: every encoding, step and byte order is settled here."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image

from jointseg_core.errors import BadImage

MAX_PIXELS = 1 << 26
"""Larger pictures are refused before they are decoded (8192 x 8192)."""

BAYER_SIDE = 3
"""Smaller mosaics would come out black."""

DEPTH = ("16UC1", "32FC1", "64FC1", "16SC1", "32SC1")


@dataclass(frozen=True)
class _Layout:
    """How one pixel lies in memory, and how rows of such pixels become RGB."""

    bytes_per_pixel: int
    to_rgb: Callable[[np.ndarray, Image], np.ndarray]


def _recolored(code: int) -> Callable[[np.ndarray, Image], np.ndarray]:
    return lambda pixels, _message: cv2.cvtColor(pixels, code)


def _high_byte(samples: np.ndarray, message: Image) -> np.ndarray:
    """The upper 8 of 16 bits, [H, W, 2] bytes."""
    high = samples[..., 0 if message.is_bigendian else 1]
    return cv2.cvtColor(np.ascontiguousarray(high), cv2.COLOR_GRAY2RGB)


_GRAY = _Layout(1, _recolored(cv2.COLOR_GRAY2RGB))
_BGR = _Layout(3, _recolored(cv2.COLOR_BGR2RGB))
_UYVY = _Layout(2, _recolored(cv2.COLOR_YUV2RGB_UYVY))
_YUYV = _Layout(2, _recolored(cv2.COLOR_YUV2RGB_YUYV))

LAYOUTS: dict[str, _Layout] = {
    "rgb8": _Layout(3, lambda pixels, _message: pixels),
    "rgba8": _Layout(4, lambda pixels, _message: pixels[..., :3]),
    "bgr8": _BGR,
    "8UC3": _BGR,  # says nothing about colours; OpenCV, where the name is from, means BGR
    "bgra8": _Layout(4, _recolored(cv2.COLOR_BGRA2RGB)),
    "mono8": _GRAY,
    "8UC1": _GRAY,
    "mono16": _Layout(2, _high_byte),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    # OpenCV names a pattern by the second and third sample of its second row
    "bayer_rggb8": _Layout(1, _recolored(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": _Layout(1, _recolored(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": _Layout(1, _recolored(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": _Layout(1, _recolored(cv2.COLOR_BayerGB2RGB)),
}


def image_to_rgb(message: Image) -> np.ndarray:
    """The picture of a raw message, uint8 [H, W, 3] RGB; a view of its data where possible.

    Raises BadImage.
    """
    layout = _layout(message.encoding)
    pixels = _pixels(message, layout.bytes_per_pixel)
    if layout in (_UYVY, _YUYV) and message.width % 2:
        text = f"{message.encoding} has pixels in pairs, the width is {message.width}"
        raise BadImage("step", text)
    if message.encoding.startswith("bayer") and min(pixels.shape) < BAYER_SIDE:
        text = f"{message.encoding} needs {BAYER_SIDE} pixels each way, found {pixels.shape}"
        raise BadImage("undecodable", text)
    try:
        return layout.to_rgb(pixels, message)
    except cv2.error as error:
        raise BadImage("undecodable", f"{message.encoding}: {_one_line(error)}") from error


def _layout(encoding: str) -> _Layout:
    if encoding in LAYOUTS:
        return LAYOUTS[encoding]
    shown = ascii(encoding[:40])
    if encoding in DEPTH:
        raise BadImage("encoding", f"encoding {shown} is depth or data, not a picture")
    raise BadImage("encoding", f"encoding {shown} is not one of {', '.join(LAYOUTS)}")


def _pixels(message: Image, bytes_per_pixel: int) -> np.ndarray:
    """The checked data as bytes [H, W] or [H, W, bytes per pixel], without the rows' padding."""
    height, width, step = message.height, message.width, message.step
    _check_size(height, width)
    row = width * bytes_per_pixel
    if step < row:
        raise BadImage("step", f"step is {step}, a row of {width} pixels has {row} bytes")
    if len(message.data) < step * height:
        text = f"data has {len(message.data)} bytes, {height} rows of step {step} need more"
        raise BadImage("data_size", text)
    rows = np.frombuffer(message.data, np.uint8, step * height).reshape(height, step)[:, :row]
    return rows if bytes_per_pixel == 1 else rows.reshape(height, width, bytes_per_pixel)


def _check_size(height: int, width: int) -> None:
    if height == 0 or width == 0:
        raise BadImage("zero_size", f"the image is {width} x {height} pixels")
    if height * width > MAX_PIXELS:
        raise BadImage("too_large", f"{width} x {height} is more than {MAX_PIXELS} pixels")


def compressed_to_rgb(message: CompressedImage) -> np.ndarray:
    """The picture of a JPEG or PNG message, uint8 [H, W, 3] RGB.

    Nothing half-decoded passes, the orientation noted in a JPEG is ignored. Raises BadImage.
    """
    if "compressedDepth" in message.format:
        raise BadImage("encoding", f"format {message.format[:60]!a} is depth, not a picture")
    try:
        with Picture.open(io.BytesIO(message.data), formats=("JPEG", "PNG")) as picture:
            _check_size(picture.height, picture.width)
            return _rgb(picture)
    except BadImage:
        raise
    except Picture.DecompressionBombError as error:
        raise BadImage("too_large", _one_line(error)) from error
    except Exception as error:  # the decoders raise a dozen kinds, SyntaxError and struct.error too
        text = f"{len(message.data)} bytes are no whole JPEG or PNG: {_one_line(error)}"
        raise BadImage("undecodable", text) from error


def _rgb(picture: Picture.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits a pixel
        gray = (np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _one_line(error: Exception) -> str:
    """The first line of an error's text, at most 120 characters, without odd characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ascii(lines[0][:120])[1:-1]
