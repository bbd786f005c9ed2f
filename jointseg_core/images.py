"""Pictures as RGB arrays: every encoding, step, byte order and file format is settled here.

Nodes, recordings, data sets and programs decode by these functions, so that all see the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Picture
from PIL import UnidentifiedImageError

from jointseg_core.errors import BadImage, BadInput, in_words
from jointseg_core.files import open_file

MAX_PIXELS = 1 << 26
"""Larger pictures are refused before they are decoded (8192 x 8192)."""

_MESSAGE_FORMATS = ("JPEG", "PNG")
_FILE_FORMATS = (*_MESSAGE_FORMATS, "BMP", "WEBP", "TIFF", "PPM")
"""All that Pillow may decode; it would hand others, such as PostScript, to further programs."""

_LONGEST_FRAME_ID = 256
_TRAILING = 4096  # bytes behind the rows of even the smallest picture
_BAYER_SIDE = 3
"""Smaller mosaics would come out black."""

_DEPTH = ("16UC1", "32FC1", "64FC1", "16SC1", "32SC1")

ENCODINGS: dict[str, tuple[int, int | None]] = {  # bytes a pixel, how OpenCV makes it RGB
    "rgb8": (3, None),
    "rgba8": (4, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),  # says nothing about colours; OpenCV, whose name it is,
    "8UC4": (4, cv2.COLOR_BGRA2RGB),  # means BGR and BGRA
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
    # OpenCV names a pattern by the second and third sample of its second row
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
_IN_PAIRS = (cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUYV)


def message_to_rgb(message: Any) -> np.ndarray:
    """The picture of a sensor_msgs Image or CompressedImage of any library, uint8 [H, W, 3] RGB.

    A view of the message's data where possible. Raises BadImage, also for a frame_id that every
    detection would repeat at length.
    """
    header = getattr(message, "header", None)
    if header is not None and (length := len(header.frame_id)) > _LONGEST_FRAME_ID:
        text = f"frame_id has {length} characters, more than the {_LONGEST_FRAME_ID} allowed"
        raise BadImage("frame_id", text)
    if hasattr(message, "format"):
        return _compressed_to_rgb(message.data, message.format)
    size, step = (message.height, message.width), message.step
    return _raw_to_rgb(message.encoding, size, step, message.is_bigendian, message.data)


def _raw_to_rgb(
    encoding: str, size: tuple[int, int], step: int, is_bigendian: bool, data: Any
) -> np.ndarray:
    """Rows of encoded pixels as uint8 [H, W, 3] RGB; a view of the data where possible.

    size: (height, width); step: bytes from row to row; data: any buffer. The last row may come
    without its padding, and what follows the last row is ignored, up to as much again. Raises
    BadImage.
    """
    if encoding not in ENCODINGS:
        known = f"not one of {', '.join(ENCODINGS)}"
        found = "depth or data, not a picture" if encoding in _DEPTH else known
        raise BadImage("encoding", f"encoding {encoding[:40]!a} is {found}")
    pixel_bytes, conversion = ENCODINGS[encoding]
    pixels = _pixels(size, step, pixel_bytes, data)
    if conversion in _IN_PAIRS and size[1] % 2:
        raise BadImage("step", f"{encoding} has pixels in pairs, the width is {size[1]}")
    if encoding.startswith("bayer") and min(size) < _BAYER_SIDE:
        text = f"{encoding} needs {_BAYER_SIDE} pixels each way, found {size}"
        raise BadImage("undecodable", text)
    if conversion is None:
        return pixels[..., :3]
    if encoding == "mono16":
        pixels = np.ascontiguousarray(pixels[..., 0 if is_bigendian else 1])  # the high byte
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        raise BadImage("undecodable", f"{encoding}: {_one_line(error)}") from error


def _pixels(size: tuple[int, int], step: int, pixel_bytes: int, data: Any) -> np.ndarray:
    """The checked data as bytes [H, W, pixel_bytes], without copying."""
    _check_size(*size)
    height, width = size
    row = width * pixel_bytes
    if step < row:
        raise BadImage("step", f"step is {step}, a row of {width} pixels has {row} bytes")
    if len(data) < (height - 1) * step + row:
        text = f"data has {len(data)} bytes, {height} rows of step {step} need more"
        raise BadImage("data_size", text)
    if len(data) > 2 * height * step + _TRAILING:
        text = f"data has {len(data)} bytes, {height} rows of step {step} are less than half of it"
        raise BadImage("data_size", text)
    return np.ndarray((height, width, pixel_bytes), np.uint8, data, strides=(step, pixel_bytes, 1))


def _check_size(height: int, width: int) -> None:
    """Raises BadImage for no pixels, and for more than MAX_PIXELS."""
    if height == 0 or width == 0:
        raise BadImage("zero_size", f"the image is {width} x {height} pixels")
    if height * width > MAX_PIXELS:
        raise BadImage("too_large", f"{width} x {height} is more than {MAX_PIXELS} pixels")


def _compressed_to_rgb(data: Any, described: str = "") -> np.ndarray:
    """A JPEG or PNG as a message holds it, uint8 [H, W, 3] RGB; `described` is its format field.

    What follows the end of the picture is ignored. Raises BadImage.
    """
    if "compressedDepth" in described:
        raise BadImage("encoding", f"format {described[:60]!a} is depth, not a picture")
    with open_picture(io.BytesIO(data), _MESSAGE_FORMATS) as picture:
        return picture_to_rgb(picture)


def read_picture(path: Path, formats: tuple[str, ...] = _FILE_FORMATS) -> np.ndarray:
    """The picture in a file, uint8 [H, W, 3] RGB. BadImage naming it, FileNotFoundError."""
    try:
        with open_picture(path, formats) as picture:
            return np.array(picture_to_rgb(picture))
    except BadImage as error:
        raise BadImage(error.reason, f"{path.name}: {error}") from error


@contextmanager
def open_picture(
    file: Path | io.BytesIO, formats: tuple[str, ...] = _FILE_FORMATS
) -> Iterator[Picture.Image]:
    """A picture of which no more than the header has been read, of a size that can be handled.

    Whatever goes wrong when the block decodes it is BadImage too: nothing half-decoded passes.
    """
    try:
        content = open_file(file) if isinstance(file, Path) else file
        with content, Picture.open(content, formats=formats) as picture:
            _check_size(picture.height, picture.width)
            yield picture
    except (BadInput, FileNotFoundError):
        raise
    except Picture.DecompressionBombError as error:
        raise BadImage("too_large", _one_line(error)) from error
    except Exception as error:  # the decoders raise a dozen kinds, SyntaxError and struct.error too
        known = not isinstance(error, UnidentifiedImageError)  # which names an object in memory
        text = _one_line(error) if known else "its format is none of those accepted"
        raise BadImage("undecodable", f"cannot be read as a picture ({text})") from error


def picture_to_rgb(picture: Picture.Image) -> np.ndarray:
    """uint8 [H, W, 3] RGB as it is stored, whatever its EXIF says; of 16 bits the high byte."""
    of_16_bits = picture.mode == "I" and picture.format in ("PNG", "PPM")
    if picture.mode.startswith("I;16") or of_16_bits:
        gray = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if picture.mode in ("I", "F"):
        raise BadImage("encoding", f"32 bits a pixel ({picture.mode}) are data, not a picture")
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _one_line(error: Exception) -> str:
    """What an error says, at most 120 characters, without odd characters."""
    return ascii(in_words(error)[:120])[1:-1]
