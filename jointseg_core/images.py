"""Pictures as RGB arrays: every encoding, step, byte order and file format is settled here.

Nodes, recordings, data sets and programs decode by these functions, so that all see the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

_MESSAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_FILE_FORMATS = (*_MESSAGE_FORMATS, "BMP", "PPM")
"""All that Pillow may decode; it would hand others, such as PostScript, to further programs."""

_LONGEST_FRAME_ID = 256
_TRAILING = 4096  # bytes behind the rows of even the smallest picture
_BAYER_SIDE = 3
"""Smaller mosaics would come out black."""

_DEPTH = ("16UC1", "32FC1", "64FC1", "16SC1", "32SC1")
_BAYER = {  # OpenCV names a pattern by the second and third sample of its second row
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}

ENCODINGS: dict[str, tuple[int, int | None, int]] = {  # bytes a pixel, OpenCV's way to RGB, bits
    "rgb8": (3, None, 8),
    "rgba8": (4, None, 8),
    "bgr8": (3, cv2.COLOR_BGR2RGB, 8),
    "bgra8": (4, cv2.COLOR_BGRA2RGB, 8),
    "8UC3": (3, cv2.COLOR_BGR2RGB, 8),  # says nothing about colours; OpenCV, whose name it is,
    "8UC4": (4, cv2.COLOR_BGRA2RGB, 8),  # means BGR and BGRA
    "mono8": (1, cv2.COLOR_GRAY2RGB, 8),
    "8UC1": (1, cv2.COLOR_GRAY2RGB, 8),
    "mono10": (2, cv2.COLOR_GRAY2RGB, 10),
    "mono12": (2, cv2.COLOR_GRAY2RGB, 12),
    "mono16": (2, cv2.COLOR_GRAY2RGB, 16),
    "rgb16": (6, None, 16),
    "rgba16": (8, None, 16),
    "bgr16": (6, cv2.COLOR_BGR2RGB, 16),
    "bgra16": (8, cv2.COLOR_BGRA2RGB, 16),
    "16UC3": (6, cv2.COLOR_BGR2RGB, 16),
    "16UC4": (8, cv2.COLOR_BGRA2RGB, 16),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY, 8),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY, 8),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV, 8),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV, 8),
    "nv12": (1, cv2.COLOR_YUV2RGB_NV12, 8),
    "nv21": (1, cv2.COLOR_YUV2RGB_NV21, 8),
    **{f"{name}8": (1, conversion, 8) for name, conversion in _BAYER.items()},
    **{f"{name}16": (2, conversion, 16) for name, conversion in _BAYER.items()},
}
_IN_PAIRS = (cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUYV)
_IN_FOURS = (cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2RGB_NV21)

_Fallback = Callable[[Any], np.ndarray]
"""Makes RGB of a sensor_msgs Image in an encoding that is not above, or raises."""


def message_to_rgb(message: Any, bits: int = 0, fallback: _Fallback | None = None) -> np.ndarray:
    """The picture of an image message of any library, uint8 [H, W, 3] RGB.

    Of sensor_msgs Image and CompressedImage, foxglove_msgs RawImage and CompressedImage. bits: how
    many of 16 a sample uses, 0 for all; fallback: for encodings that are not in ENCODINGS. A view
    of the message's data where possible. Raises BadImage.
    """
    check_frame_id(message)
    if hasattr(message, "format"):
        return _compressed_to_rgb(message.data, message.format, bits)
    if message.encoding in ENCODINGS:
        return _raw_to_rgb(message, bits)
    if message.encoding not in _DEPTH and fallback is not None:
        return _by_fallback(message, fallback)
    known = ", ".join(name for name in ENCODINGS if not name.startswith("bayer"))
    known = f"not one of {known} or a bayer pattern of 8 or 16 bits"
    found = "depth or data, not a picture" if message.encoding in _DEPTH else known
    raise BadImage("encoding", f"encoding {message.encoding[:40]!a} is {found}")


def check_frame_id(message: Any) -> None:
    """Raises BadImage for a frame_id that every detection would repeat at length."""
    frame_id = getattr(getattr(message, "header", message), "frame_id", "")
    if (length := len(frame_id)) > _LONGEST_FRAME_ID:
        text = f"frame_id has {length} characters, more than the {_LONGEST_FRAME_ID} allowed"
        raise BadImage("frame_id", text)


def _by_fallback(message: Any, fallback: _Fallback) -> np.ndarray:
    _check_size(message.height, message.width)
    try:
        rgb = fallback(message)
    except Exception as error:  # another package's, which raises what it will
        text = f"encoding {message.encoding[:40]!a} is not read ({_one_line(error)})"
        raise BadImage("encoding", text) from error
    if rgb.dtype != np.uint8 or rgb.shape != (message.height, message.width, 3):
        raise BadImage("encoding", f"encoding {message.encoding[:40]!a} was made no RGB picture")
    return rgb


def _raw_to_rgb(message: Any, bits: int) -> np.ndarray:
    """Rows of encoded pixels as uint8 [H, W, 3] RGB; a view of the data where possible.

    The last row may come without its padding, and what follows the last row is ignored, up to as
    much again. Raises BadImage.
    """
    encoding, height, width = message.encoding, message.height, message.width
    pixel_bytes, conversion, deep = ENCODINGS[encoding]
    _check_size(height, width)
    if conversion in (*_IN_PAIRS, *_IN_FOURS) and width % 2:
        raise BadImage("step", f"{encoding} has pixels in pairs, the width is {width}")
    if conversion in _IN_FOURS and height % 2:
        raise BadImage("step", f"{encoding} has rows in pairs, the height is {height}")
    if encoding.startswith("bayer") and min(height, width) < _BAYER_SIDE:
        text = f"{encoding} needs {_BAYER_SIDE} pixels each way, found {height, width}"
        raise BadImage("undecodable", text)
    rows = height * 3 // 2 if conversion in _IN_FOURS else height
    pixels = _pixels((rows, width), message.step, pixel_bytes, message.data)
    if deep > 8:
        order = ">" if getattr(message, "is_bigendian", False) else "<"
        pixels = _upper_bits(pixels.view(f"{order}u2"), bits if bits and deep == 16 else deep)
    return _converted(pixels, conversion, encoding)


def _upper_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    """The upper 8 of the used bits of 16-bit samples as uint8; more than fits becomes 255."""
    upper: np.ndarray = np.minimum(samples >> (min(max(bits, 8), 16) - 8), 255)
    return upper.astype(np.uint8)


def _converted(pixels: np.ndarray, conversion: int | None, what: str) -> np.ndarray:
    if conversion is None:
        return pixels[..., :3]
    try:
        return cv2.cvtColor(pixels, conversion)
    except cv2.error as error:
        raise BadImage("undecodable", f"{what}: {_one_line(error)}") from error


def _pixels(size: tuple[int, int], step: int, pixel_bytes: int, data: Any) -> np.ndarray:
    """The checked data as bytes [H, W, pixel_bytes], without copying."""
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


def _compressed_to_rgb(data: Any, described: str, bits: int) -> np.ndarray:
    """A picture as a message holds it, uint8 [H, W, 3] RGB; `described` is its format field.

    That names the encoding of what was compressed, and of what it was made before, as in
    "bayer_rggb8; jpeg compressed": a mosaic unless it was made mono8 or colours. What follows the
    end of the picture is ignored, as drivers send buffers of one size. Raises BadImage.
    """
    encoding, _, made = (part.strip() for part in described.partition(";"))
    if encoding in _DEPTH or "compressedDepth" in described:
        raise BadImage("encoding", f"format {described[:60]!a} is depth, not a picture")
    try:
        with open_picture(io.BytesIO(data), _MESSAGE_FORMATS) as picture:
            rgb = picture_to_rgb(picture, bits)
            mosaic = picture.mode == "L" or picture.mode.startswith("I;16")
    except BadImage as error:
        if error.reason != "undecodable":
            raise
        raise BadImage(error.reason, f"format {described[:60]!a} {error}") from error
    pattern = _BAYER.get(encoding.removesuffix("8").removesuffix("16"))
    if pattern is None or not mosaic or "mono" in made.partition("compressed")[2]:
        return rgb
    if min(rgb.shape[:2]) < _BAYER_SIDE:
        raise BadImage("undecodable", f"{encoding} needs {_BAYER_SIDE} pixels each way")
    return _converted(np.ascontiguousarray(rgb[..., 0]), pattern, encoding)


def read_picture(
    path: Path, formats: tuple[str, ...] = _FILE_FORMATS, upright: bool = False, bits: int = 0
) -> np.ndarray:
    """The picture in a file, uint8 [H, W, 3] RGB. BadImage naming it, FileNotFoundError.

    upright: turned as its EXIF says, else as it is stored; bits: as `message_to_rgb`.
    """
    try:
        with open_picture(path, formats) as picture:
            rgb = picture_to_rgb(picture, bits)
            return np.array(_turned(rgb, _orientation(picture)) if upright else rgb)
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
        text = _one_line(error) if known else f"it is none of {', '.join(formats)}"
        raise BadImage("undecodable", f"cannot be read as a picture ({text})") from error


def picture_to_rgb(picture: Picture.Image, bits: int = 0) -> np.ndarray:
    """uint8 [H, W, 3] RGB as it is stored, whatever its EXIF says; of 16 bits the upper 8.

    Of TIFF alone Pillow knows no other way than upright.
    """
    of_16_bits = picture.mode == "I" and picture.format in ("PNG", "PPM")
    if picture.mode.startswith("I;16") or of_16_bits:
        gray = _upper_bits(np.asarray(picture).astype(np.uint16), bits or 16)
        return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if picture.mode in ("I", "F"):
        raise BadImage("encoding", f"32 bits a pixel ({picture.mode}) are data, not a picture")
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _orientation(picture: Picture.Image) -> int:
    """How a viewer turns it, as EXIF numbers that: 1 for not at all, also where EXIF is damaged."""
    with suppress(Exception):  # the parser raises whatever it stumbles over
        return int(picture.getexif().get(0x0112, 1))
    return 1


def _turned(rgb: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return rgb[:, ::-1] if orientation in (2, 3, 6, 7) else rgb


def _one_line(error: Exception) -> str:
    """What an error says, at most 120 characters, without odd characters."""
    return ascii(in_words(error)[:120])[1:-1]
