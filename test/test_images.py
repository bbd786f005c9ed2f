"""The node, recordings, programs and data sets see the same picture in the same bytes."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from sensor_msgs.msg import CompressedImage, Image

from jointseg_core.errors import BadDataset, BadImage
from jointseg_core.images import ENCODINGS
from jointseg_eval.datasets.pictures import read_picture
from jointseg_eval.frames import open_frames
from jointseg_eval.recordings.bags import BagReader, BagWriter, new
from jointseg_eval.recordings.messages import header_message, to_rgb
from jointseg_ros.mailbox import Frame

SIDES = (6, 8)
SAMPLES = np.random.default_rng(5).integers(0, 256, (*SIDES, 4)).astype(np.uint8)


def recorded(tmp_path: Path, kind: str, fields: dict) -> Path:
    data = np.frombuffer(fields["data"], np.uint8)
    message = new(kind, **fields | {"header": header_message(1, "camera"), "data": data})
    with BagWriter(tmp_path / "one.mcap") as bag:
        bag.write("/image", message, 1)
    return tmp_path / "one.mcap"


def in_a_recording(tmp_path: Path, kind: str, fields: dict) -> np.ndarray:
    with BagReader(recorded(tmp_path, kind, fields)) as bag:
        return to_rgb(next(bag.messages()).content)


def as_a_frame_of_a_recording(tmp_path: Path, kind: str, fields: dict) -> np.ndarray:
    frames = open_frames(recorded(tmp_path, kind, fields))
    if found := [frame.picture for frame in frames]:
        return found[0]
    raise BadImage(frames.lost[0], "")  # told in words


def in_the_node(_: Path, kind: str, fields: dict) -> np.ndarray:
    message = {"Image": Image, "CompressedImage": CompressedImage}[kind.split("/")[-1]](**fields)
    return Frame("camera", message, 0.0).decoder(message)


def in_a_data_set(tmp_path: Path, _: str, fields: dict) -> np.ndarray:
    (tmp_path / "a.jpg").write_bytes(fields["data"])
    try:
        return read_picture(tmp_path / "a.jpg")
    except BadDataset as error:
        raise error.__cause__ or error from error


def as_a_frame_of_a_folder(tmp_path: Path, _: str, fields: dict) -> np.ndarray:
    (tmp_path / "a.jpg").write_bytes(fields["data"])
    frames = open_frames(tmp_path / "a.jpg")
    if found := [frame.picture for frame in frames]:
        return found[0]
    raise BadImage(frames.lost[0], "")


USERS = [in_the_node, in_a_recording, as_a_frame_of_a_recording]
OF_FILES = [in_a_data_set, as_a_frame_of_a_folder]


def seen(user: Callable[..., np.ndarray], *message: object) -> np.ndarray | BadImage:
    try:
        return user(*message)
    except BadImage as error:
        return error


def check_all(users: list[Callable[..., np.ndarray]], *message: object) -> np.ndarray | str:
    """The picture that all users see, or the kind of error with which all refuse it."""
    first, *others = (seen(user, *message) for user in users)
    for other in others:
        if isinstance(first, BadImage):
            assert isinstance(other, BadImage)
            # Files have no format field, and may be of more formats.
            words = re.sub("^format '.*?' | JPEG, .*", "", str(first))
            assert other.reason == first.reason or words in other.reason  # told in words
        else:
            assert isinstance(other, np.ndarray) and np.array_equal(first, other)
            assert other.flags.writeable and other.flags.c_contiguous
    return first.reason if isinstance(first, BadImage) else first


def raw(encoding: str, padding: int = 5, **fields: object) -> tuple[str, dict]:
    height, width = SIDES
    pixels = np.tile(SAMPLES, (1, 1, 2))[..., : ENCODINGS.get(encoding, (1, None, 8))[0]]
    rows = pixels.reshape(height, -1)
    if encoding.startswith("nv"):  # the colours, half as many rows
        rows = np.concatenate([rows, rows[: height // 2]])
    rows = np.pad(rows, ((0, 0), (0, padding)))
    given = {"height": height, "width": width, "step": rows.shape[1], "is_bigendian": 0}
    given |= {"encoding": encoding, "data": rows.tobytes()}
    return "sensor_msgs/msg/Image", given | fields


@pytest.mark.parametrize("cut", [0, 5, -9])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_all_see_the_same_in_raw_messages(tmp_path: Path, encoding: str, cut: int) -> None:
    kind, fields = raw(encoding)
    fields["data"] = fields["data"][: len(fields["data"]) - cut] + bytes(max(0, -cut))
    assert check_all(USERS, tmp_path, kind, fields).shape == (*SIDES, 3)


@pytest.mark.parametrize(
    ("reason", "encoding", "fields"),
    [
        ("step", "rgb8", {"step": 23}),
        ("step", "uyvy", {"width": 7}),
        ("data_size", "rgb8", {"data": bytes(6 * 29 - 6)}),
        ("data_size", "rgb8", {"data": b""}),
        ("zero_size", "rgb8", {"height": 0}),
        ("too_large", "mono8", {"height": 8193, "width": 8192, "step": 8192}),
        ("encoding", "foo8", {}),
        ("encoding", "16UC1", {}),
        ("undecodable", "bayer_rggb8", {"height": 2}),
    ],
)
def test_all_refuse_the_same_raw_messages(
    tmp_path: Path, reason: str, encoding: str, fields: dict
) -> None:
    assert check_all(USERS, tmp_path, *raw(encoding, **fields)) == reason


def encoded(kind: str, samples: np.ndarray, mode: str | None = None) -> bytes:
    file, picture = io.BytesIO(), Picture.fromarray(samples)
    (picture.convert(mode) if mode else picture).save(file, kind)
    return file.getvalue()


RGB = SAMPLES[..., :3]
DEEP = SAMPLES[..., 0].astype(np.uint16) * 256 + 17
PNG = encoded("PNG", RGB)
NO_ROWS = PNG[:16] + bytes(8) + PNG[24:]


@pytest.mark.parametrize(
    "data",
    [
        *(encoded("PNG", SAMPLES, mode) for mode in ("RGB", "RGBA", "L", "LA", "1")),
        encoded("PNG", RGB, "P"),
        *(encoded("JPEG", RGB, mode) for mode in ("RGB", "L", "CMYK")),
        encoded("PNG", DEEP),
        PNG + b"more",
    ],
)
def test_all_see_the_same_in_jpeg_and_png(tmp_path: Path, data: bytes) -> None:
    fields = {"format": "jpeg", "data": data}
    kind = "sensor_msgs/msg/CompressedImage"
    assert check_all(USERS + OF_FILES, tmp_path, kind, fields).shape == (*SIDES, 3)


@pytest.mark.parametrize("data", [PNG[:-30], encoded("JPEG", RGB)[:-9], b"", b"words", NO_ROWS])
def test_all_refuse_the_same_as_undecodable(tmp_path: Path, data: bytes) -> None:
    fields = {"format": "png", "data": data}
    kind = "sensor_msgs/msg/CompressedImage"
    assert check_all(USERS + OF_FILES, tmp_path, kind, fields) == "undecodable"


def test_all_refuse_pictures_that_are_too_large_and_messages_of_depth(tmp_path: Path) -> None:
    kind = "sensor_msgs/msg/CompressedImage"
    large = {"format": "png", "data": encoded("PNG", np.zeros((8193, 8192), bool))}
    assert check_all(USERS + OF_FILES, tmp_path, kind, large) == "too_large"
    depth = {"format": "16UC1; compressedDepth png", "data": PNG}
    assert check_all(USERS, tmp_path, kind, depth) == "encoding"
