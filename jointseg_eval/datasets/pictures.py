"""Pictures and label maps from files, strictly: damage is an error that names the file.

Pillow decodes: it refuses what is truncated, corrupt or absurdly large, where other decoders return
a damaged picture, and it leaves pictures as they are stored (annotations are not EXIF-rotated).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from jointseg_core.errors import BadDataset, BadInput
from jointseg_eval.input_validation import MAX_PIXELS, PICTURE_FORMATS

Size = tuple[int, int]  # height, width

ORIENTATION = 0x0112
"""EXIF's tag; from 5 on, width and height change places in a viewer."""

DEEP = ("I", "F")  # modes of more than 8 bits begin with these


def picture_size(path: Path) -> Size:
    """(height, width) from the header alone."""
    with _opened(path) as image:
        return image.height, image.width


def read_picture(path: Path, size: Size | None = None) -> np.ndarray:
    """uint8 [H, W, 3] RGB; BadInput for a file that is damaged or not of `size`, as annotated."""
    with _opened(path, size) as image:
        if image.mode.startswith(DEEP):
            raise BadDataset(f"{path} has more than 8 bits a colour ({image.mode}), expected RGB.")
        return np.array(image.convert("RGB"))


def read_labels(path: Path, size: Size | None = None) -> np.ndarray:
    """The numbers in a picture of one channel, uint8 or int32 [H, W]; BadInput for colours."""
    with _opened(path, size, "picture") as image:
        values = np.array(image)
    if values.ndim != 2:
        raise BadDataset(
            f"{path} has {values.shape[2]} colours a pixel, expected one number of a map of ids;"
            " is it another file under this name?"
        )
    return values if values.dtype == np.uint8 else values.astype(np.int32)


def read_segments(path: Path, size: Size) -> np.ndarray:
    """Ids R + 256 G + 65536 B, int64 [H, W], of COCO's panoptic maps."""
    with _opened(path, size, "picture") as image:
        if image.mode != "RGB":
            raise BadDataset(f"{path} is no panoptic map: it is {image.mode}, expected RGB.")
        red, green, blue = np.moveaxis(np.array(image).astype(np.int64), -1, 0)
    return red + 256 * green + 65536 * blue


@contextmanager
def _opened(
    path: Path, size: Size | None = None, other: str = "annotation"
) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            if size is not None and (image.height, image.width) != size:
                raise BadDataset(
                    f"{path} is {image.height}x{image.width} (height x width), but its {other}"
                    f" is of {size[0]}x{size[1]}; {_why_not(image, size)}."
                )
            if image.height * image.width > MAX_PIXELS:
                raise BadDataset(
                    f"{path} claims {image.height}x{image.width} (height x width), more than"
                    f" {MAX_PIXELS} pixels; leave it out, or make it smaller."
                )
            yield image
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and others
        raise BadDataset(
            f"{path} cannot be read as a picture ({_one_line(error)}); unpack it again."
        ) from error


def _why_not(image: Image.Image, size: Size) -> str:
    """What may have happened to a picture that is not of the size that is wanted."""
    if (image.width, image.height) == size and image.getexif().get(ORIENTATION, 1) > 4:
        return "viewers turn it as its EXIF orientation says, nothing else does: save it turned"
    return "one of the two belongs to another data set"


def _missing(path: Path) -> BadInput:
    return BadInput(f"there is no picture at {path}; is the data set unpacked?")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def fingerprint(paths: Iterable[Path], root: Path, *facts: object) -> str:
    """Another one for other facts and files below `root`: of names, sizes and times of change.

    Raises BadInput for a file that is not there.
    """
    digest = hashlib.sha256(repr(facts).encode())
    for path in paths:
        try:
            file = path.stat()
        except OSError as error:
            raise _missing(path) from error
        digest.update(f"{path.relative_to(root)} {file.st_size} {file.st_mtime_ns}\n".encode())
    return digest.hexdigest()
