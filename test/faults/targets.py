"""What fuzzing feeds: bytes go in, and only errors of ours may come out.

Files start from a sound one of their format, of which the bytes say what is changed, so that the
depths of a format are reached.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from dataset_trees import coco_document
from jointseg_msgs.msg import InstanceMask, InstanceMaskArray
from PIL import Image as Picture
from recordings import recorded, texts
from sensor_msgs.msg import CompressedImage, Image, RegionOfInterest

from jointseg_core import CITYSCAPES, Preprocessing, build_model, load_model, preset, save_model
from jointseg_core.errors import BadDataset, SegError
from jointseg_core.images import ENCODINGS as KNOWN
from jointseg_core.images import message_to_rgb
from jointseg_core.messages import read_masks
from jointseg_eval.datasets.coco_file import read_coco
from jointseg_eval.input_validation import Defect
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.messages import to_rgb

ENCODINGS = [*KNOWN, "16UC1", "", "foo8"]


def changed(seed: bytes, data: bytes) -> bytes:
    """The seed with bytes exchanged: four of `data` say where and by what; sometimes cut."""
    found = bytearray(seed)
    for at in range(0, len(data) - 3, 4):
        where = int.from_bytes(data[at : at + 3], "little") % len(found)
        found[where] = data[at + 3]
    keep = len(found) * data[-1] // 255 if len(data) % 5 == 1 else len(found)
    return bytes(found[:keep])


def image_message(data: bytes) -> None:
    """A sensor_msgs/Image whose fields and data are these bytes, at both readers."""
    head = [int(n) for n in np.frombuffer(data[:10].ljust(10, b"\0"), "<u2")]
    message = Image(
        height=head[0] % 70,
        width=head[1] % 70,
        step=head[2] % 300,
        encoding=ENCODINGS[head[3] % len(ENCODINGS)],
        is_bigendian=head[4] % 2,
        data=data[10:] * 40,
    )
    for read in (message_to_rgb, to_rgb):
        with suppress(SegError):
            picture = read(message)
            assert picture.shape == (message.height, message.width, 3)
            assert picture.dtype == np.uint8


@cache
def _jpeg() -> bytes:
    file, picture = io.BytesIO(), np.arange(48 * 64 * 3).reshape(48, 64, 3)
    Picture.fromarray(picture.astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def compressed_image(data: bytes) -> None:
    """A JPEG with bytes exchanged: refused, or a whole picture."""
    message = CompressedImage(format="jpeg", data=changed(_jpeg(), data))
    for read in (message_to_rgb, to_rgb):
        with suppress(SegError):
            assert read(message).shape[2] == 3


def run_lengths(data: bytes) -> None:
    """An InstanceMask whose window and runs are these bytes."""
    numbers = [int(n) for n in np.frombuffer(data[: len(data) // 4 * 4], "<u4")]
    x, y, width, height = [*numbers[:4], 0, 0, 0, 0][:4]
    small = data[:1] < b"\x80"
    sides = (width % 60, height % 50) if small else (width, height)
    roi = RegionOfInterest(x_offset=x % 9, y_offset=y % 9, width=sides[0], height=sides[1])
    runs = [n % 100 for n in numbers[4:]] if small else numbers[4:]
    if small and runs:  # the last run fills the window
        runs[-1] = max(0, sides[0] * sides[1] - sum(runs[:-1]))
    mask = InstanceMask(roi=roi, rle=runs, bitmap=data, encoding=len(data) % 2)
    size = (64, 48) if small else (2**32 - 1, 2**32 - 1)
    message = InstanceMaskArray(width=size[0], height=size[1], masks=[mask])
    with suppress(SegError):
        assert len(read_masks(message)[0]) == 1


@cache
def _bag() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return recorded(Path(folder) / "one.mcap", texts(range(100, 120))).read_bytes()


def bag(data: bytes) -> None:
    """A recording with bytes exchanged: whatever can be read is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.mcap"
        path.write_bytes(changed(_bag(), data))
        with suppress(SegError), BagReader(path) as reader:
            assert len([*reader.messages()]) <= 40


@cache
def _annotations() -> bytes:
    return json.dumps(coco_document()).encode()


def annotations(data: bytes) -> None:
    """A COCO JSON with bytes exchanged: every defect is told, every box is finite."""
    defects: list[Defect] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_bytes(changed(_annotations(), data))
        with suppress(BadDataset):
            for picture in read_coco(path, defects.append).pictures:
                assert all(np.isfinite(o.box).all() for o in picture.objects)


@cache
def _checkpoint() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        path = Path(folder) / "a.safetensors"
        model = build_model(preset("rdsnet", "tiny"))
        save_model(model, path, CITYSCAPES, Preprocessing((64, 128)))
        return path.read_bytes(), path.with_suffix(".json").read_bytes()


def checkpoint(data: bytes) -> None:
    """The header of weights, signed again, or their manifest, with bytes exchanged."""
    weights, manifest = _checkpoint()
    end = 8 + int.from_bytes(weights[:8], "little")
    if data[:1] < b"\x80":
        weights = changed(weights[:end], data[1:]) + weights[end:]
        document = json.loads(manifest) | {"sha256": hashlib.sha256(weights).hexdigest()}
        manifest = json.dumps(document).encode()
    else:
        manifest = changed(manifest, data[1:])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(weights)
        path.with_suffix(".json").write_bytes(manifest)
        with suppress(SegError):
            load_model(path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (image_message, compressed_image, run_lengths, bag, annotations, checkpoint)
}
