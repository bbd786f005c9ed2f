"""A. sensor_msgs/Image: what cameras, drivers and bridges get wrong, at both of our readers.

The node's reader takes ROS messages, the one of recordings those of rosbags; both have to refuse
and to accept the same.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from faults.contract import Case
from jointseg_core import Predictor, shipped_weights
from jointseg_core.errors import BadImage
from jointseg_core.images import message_to_rgb
from jointseg_eval.recordings.bags import new
from jointseg_eval.recordings.messages import header_message, to_rgb

READERS = ("node", "recording")
PICTURE = np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)
GOOD = {
    "height": 4,
    "width": 6,
    "encoding": "rgb8",
    "is_bigendian": 0,
    "step": 18,
    "data": PICTURE.tobytes(),
}
BIG = 1 << 32


def read(reader: str, fields: dict[str, Any]) -> np.ndarray:
    """RGB of an image message with these fields, read in one of two ways."""
    if reader == "node":
        return message_to_rgb(Image(**fields))
    data = np.frombuffer(fields["data"], np.uint8)
    header = header_message(1, fields["header"].frame_id if "header" in fields else "")
    return to_rgb(new("sensor_msgs/msg/Image", **fields | {"data": data, "header": header}))


def refuse(reader: str, fields: dict[str, Any]) -> None:
    """Read the bad message; a good one after it is read as ever."""
    try:
        read(reader, fields)
    finally:
        assert (read(reader, GOOD) == PICTURE).all()


def bad(name: str, *words: str, **fields: Any) -> list[Case]:
    """The good message with some fields changed has to be refused by both readers."""
    return [
        Case(
            "images",
            f"{name}, {reader}",
            lambda folder, reader=reader: (reader, GOOD | fields),
            refuse,
            BadImage,
            words=words,
            megabytes=40,
            often=(number := next(_NUMBERS)) % 3 == 0 or number < 2,
        )
        for reader in READERS
    ]


_NUMBERS = itertools.count()


def good(name: str, run: Callable[..., None], **limits: Any) -> list[Case]:
    """Something that has to work at both readers."""
    return [
        Case("images", f"{name}, {reader}", lambda folder, reader=reader: (reader,), run, **limits)
        for reader in READERS
    ]


def _padding(reader: str) -> None:
    """Rows aligned to 64 bytes give the same pixels."""
    rows = np.full((4, 64), 77, np.uint8)
    rows[:, :18] = PICTURE.reshape(4, 18)
    assert (read(reader, GOOD | {"step": 64, "data": rows.tobytes()}) == PICTURE).all()
    longer = GOOD | {"data": GOOD["data"] + bytes(1000)}
    assert (read(reader, longer) == PICTURE).all()


def _not_writable(reader: str) -> None:
    """Read-only data is neither written to nor warned about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = bytes(GOOD["data"])
        assert (read(reader, GOOD) == PICTURE).all() and GOOD["data"] == before


def _channels(reader: str) -> None:
    """One picture in every order of channels."""
    orders = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2, 0], "bgra8": [2, 1, 0, 0]}
    orders |= {"8UC3": orders["bgr8"], "8UC4": orders["bgra8"]}
    for encoding, order in orders.items():
        data = PICTURE[..., order].tobytes()
        fields = GOOD | {"encoding": encoding, "step": 6 * len(order), "data": data}
        assert (read(reader, fields) == PICTURE).all(), encoding


def _gray(reader: str) -> None:
    gray = PICTURE[..., 0]
    for encoding in ("mono8", "8UC1"):
        found = read(reader, GOOD | {"encoding": encoding, "step": 6, "data": gray.tobytes()})
        assert (found == gray[..., None]).all(), encoding
    for big in (0, 1):
        deep = (gray.astype(np.uint16) << 8 | 0x55).astype(">u2" if big else "<u2")
        fields = {"encoding": "mono16", "step": 12, "is_bigendian": big, "data": deep.tobytes()}
        assert (read(reader, GOOD | fields) == gray[..., None]).all(), big


def _mosaics(reader: str) -> None:
    """A plain colour in every Bayer pattern and every order of YUV."""
    samples = {"r": 200, "g": 120, "b": 40}
    for pattern in ("rggb", "bggr", "gbrg", "grbg"):
        tile = np.array([samples[c] for c in pattern], np.uint8).reshape(2, 2)
        data = np.tile(tile, (8, 8))
        fields = {"height": 16, "width": 16, "encoding": f"bayer_{pattern}8", "step": 16}
        found = read(reader, GOOD | fields | {"data": data.tobytes()})
        assert (np.abs(found[4:-4, 4:-4].astype(int) - [200, 120, 40]) <= 1).all(), pattern
    for encoding, pair in {"uyvy": (128, 100), "yuv422": (128, 100), "yuyv": (100, 128)}.items():
        data = np.tile(np.array(pair, np.uint8), 24).tobytes()
        found = read(reader, GOOD | {"encoding": encoding, "step": 12, "data": data})
        assert (np.abs(found.astype(int) - 100) <= 20).all() and np.ptp(found) <= 2, encoding


def _many_faults(reader: str) -> None:
    """Memory after 10,000 bad messages is that after 1,000, within 5 %."""
    faults = [{"step": 17}, {"encoding": "x" * 10_000}, {"data": b""}, {"height": 0}]
    after = {}
    for number in range(1, 10_001):
        try:
            read(reader, GOOD | faults[number % len(faults)])
            raise AssertionError("a bad message was read")
        except BadImage as error:
            assert len(str(error)) < 500
        if number in (1000, 10_000):
            after[number] = int(Path("/proc/self/statm").read_text().split()[1])
    assert after[10_000] <= 1.05 * after[1000], after


def predictor(folder: Path) -> tuple[Predictor]:
    return (Predictor.from_file(shipped_weights("rdsnet"), "cpu"),)


def _sizes(predictor: Predictor, sizes: list[tuple[int, int]], rounds: int = 1) -> None:
    """Results have the size of their pictures, and memory does not grow with changes of size."""
    peaks = []
    for _ in range(rounds):
        for size in sizes:
            (found,) = predictor([np.zeros((*size, 3), np.uint8)])
            assert found.image_size == size and found.boxes.isfinite().all()
            assert found.masks.bitmaps(size).shape[1:] == size
        peaks.append(int(Path("/proc/self/statm").read_text().split()[1]))
    assert peaks[-1] <= 1.05 * peaks[min(2, rounds - 1)], peaks


def sizes(name: str, *given: tuple[int, int], **limits: Any) -> Case:
    rounds = limits.pop("rounds", 1)
    run = partial(_sizes, sizes=list(given), rounds=rounds)
    return Case("images", name, predictor, run, **{"megabytes": 500} | limits)


def _long_frame_id(reader: str) -> None:
    assert (read(reader, GOOD | {"header": Header(frame_id="x" * 256)}) == PICTURE).all()


CASES = [
    *bad("step below a row", "step", step=17),
    *bad("step of zero", "step", step=0),
    *bad("step of 4 GB", step=BIG - 1),
    *bad("no data", "0 bytes", data=b""),
    *bad("data one byte short", "71 bytes", data=bytes(71)),
    *bad("a thousand pictures in one", "72000 bytes", data=bytes(72_000)),
    *(
        case
        for length in (257, 1000, 1_000_000)
        for case in bad(
            f"a frame_id of {length}", f"{length} characters", header=Header(frame_id="x" * length)
        )
    ),
    *good("a frame_id of 256", _long_frame_id),
    *bad("height 0", "6 x 0", height=0),
    *bad("width 0", "0 x 4", width=0),
    *bad("height and width 0", "0 x 0", height=0, width=0),
    *bad("65536 x 65536", "65536 x 65536", height=1 << 16, width=1 << 16, step=3 << 16),
    *bad("sides of 2^32 - 1", height=BIG - 1, width=BIG - 1, step=BIG - 1),
    *bad("step and height that overflow", height=1 << 31, width=1, step=BIG - 1),
    *bad("unknown encoding", "foo8", encoding="foo8"),
    *bad("empty encoding", "''", encoding=""),
    *bad("encoding of 10 kB", encoding="x" * 10_240),
    *bad("encoding with an escape sequence", r"\x1b[31m", encoding="\x1b[31mrgb8"),
    *bad("encoding in other letters", encoding="\u202ergb8\u2066"),
    *bad("encoding in capitals", "RGB8", encoding="RGB8"),
    *bad("depth in 16 bits", "16UC1", encoding="16UC1", step=12),
    *bad("depth in floats", "32FC1", encoding="32FC1", step=24),
    *bad("pairs of pixels in an odd width", encoding="uyvy", width=5),
    *bad("rows of colours that are missing", "need more", encoding="nv12", step=6, data=bytes(24)),
    *bad("an odd height of nv21", "rows in pairs", encoding="nv21", step=6, height=3),
    *bad("a mosaic of 16 bits in 8", "step", encoding="bayer_rggb16", step=6),
    *bad("a Bayer pattern of one pixel", encoding="bayer_rggb8", height=1, width=1),
    *good("padded rows and more data than needed", _padding, often=True),
    *good("data that cannot be written", _not_writable),
    *good("the orders of channels", _channels, often=True),
    *good("gray in 8 and 16 bits and both byte orders", _gray),
    *good("Bayer and YUV of a plain colour", _mosaics),
    *good("10,000 bad messages", _many_faults, seconds=60, megabytes=40),
    sizes("1 x 1, 8 x 8 and 7 x 13 pixels", (1, 1), (8, 8), (7, 13), (13, 7), often=True),
    sizes("one line of 4000 pixels", (1, 4000), (4000, 1)),
    sizes("portrait and landscape in turn", (480, 640), (640, 480), (72, 128), rounds=3),
    sizes("100 changes of size", (96, 160), (160, 96), rounds=50, seconds=60),
]
