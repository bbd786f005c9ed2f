"""Pictures and label maps from files, strictly: damage is an error that names the file.

Pictures are as they are stored, whatever their EXIF says: annotations are not turned either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from jointseg_core.errors import BadDataset, BadImage, BadInput
from jointseg_core.images import open_picture, picture_to_rgb

Size = tuple[int, int]  # height, width

ORIENTATION = 0x0112
"""EXIF's tag; from 5 on, width and height change places in a viewer."""


def picture_size(path: Path) -> Size:
    """(height, width) from the header alone."""
    with _opened(path) as image:
        return image.height, image.width


def is_turned(path: Path) -> bool:
    """Whether viewers show a picture in another way than it is stored, as its EXIF says."""
    with suppress(BadImage, OSError), open_picture(path) as image:
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)
    return False


def read_picture(path: Path, size: Size | None = None) -> np.ndarray:
    """uint8 [H, W, 3] RGB; BadInput for a file that is damaged or not of `size`, as annotated."""
    with _opened(path, size) as image:
        return np.array(picture_to_rgb(image))


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
        with open_picture(path) as image:
            if size is not None and (image.height, image.width) != size:
                raise BadDataset(
                    f"{path} is {image.height}x{image.width} (height x width), but its {other}"
                    f" is of {size[0]}x{size[1]}; {_why_not(image, size)}."
                )
            yield image
    except BadImage as error:
        raise BadDataset(f"{path} {error}; leave it out, or unpack it again.") from error
    except FileNotFoundError as error:
        raise _missing(path) from error


def _why_not(image: Image.Image, size: Size) -> str:
    """What may have happened to a picture that is not of the size that is wanted."""
    if (image.width, image.height) == size and image.getexif().get(ORIENTATION, 1) > 4:
        return "viewers turn it as its EXIF orientation says, nothing else does: save it turned"
    return "one of the two belongs to another data set"


def _missing(path: Path) -> BadInput:
    return BadInput(f"there is no picture at {path}; is the data set unpacked?")


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
