"""C. Compressed images and pictures on disk: cut, corrupt, bombs, and formats that run programs.

Three readers: the node's of CompressedImage, the one of recordings, and that of data sets.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage

from faults.contract import Case
from jointseg_core import shipped_weights
from jointseg_core.errors import BadDataset, BadImage, SegError
from jointseg_core.images import message_to_rgb
from jointseg_eval.datasets.pictures import read_picture
from jointseg_eval.recordings.bags import new
from jointseg_eval.recordings.messages import header_message, to_rgb

KINDS: dict[str, type[SegError]] = {"node": BadImage, "recording": BadImage, "data set": BadDataset}
PICTURE = np.add.outer(np.arange(48) * 3, np.arange(64) * 2)[..., None] + np.array([0, 9, 30])
PICTURE = PICTURE.astype(np.uint8)


def encoded(kind: str, picture: np.ndarray = PICTURE, **how: Any) -> bytes:
    file = io.BytesIO()
    Picture.fromarray(picture).save(file, kind, **how)
    return file.getvalue()


JPEG, PNG = encoded("jpeg", quality=90), encoded("png")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    """A gray PNG that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_that_claims(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


def read(reader: str, data: bytes, kind: str = "jpeg") -> np.ndarray:
    """RGB of these bytes, read in one of three ways."""
    if reader == "node":
        return message_to_rgb(CompressedImage(format=kind, data=data))
    if reader == "data set":
        path = Path("a.jpg")
        path.write_bytes(data)
        return read_picture(path)
    fields = {"header": header_message(1, ""), "format": kind}
    array = np.frombuffer(data, np.uint8)
    return to_rgb(new("sensor_msgs/msg/CompressedImage", data=array, **fields))


def refuse(reader: str, data: bytes, kind: str = "jpeg") -> None:
    """Read the bad picture; a good one is read after it."""
    try:
        read(reader, data, kind)
    finally:
        assert (read(reader, PNG, "png") == PICTURE).all()


_count = iter(range(1000))


def bad(name: str, data: Callable[[], bytes], *words: str, **limits: Any) -> list[Case]:
    """All three readers have to refuse this."""
    return [
        Case(
            "pictures",
            f"{name}, {reader}",
            lambda folder, reader=reader: (reader, data()),
            refuse,
            error,
            words=words,
            megabytes=limits.get("megabytes", 50),
            often=next(_count) % 4 == 0,
        )
        for reader, error in KINDS.items()
    ]


def good(name: str, run: Callable[[str], None], readers: tuple = tuple(KINDS)) -> list[Case]:
    return [
        Case("pictures", f"{name}, {reader}", lambda folder, reader=reader: (reader,), run)
        for reader in readers
    ]


def flipped_png() -> bytes:
    at = PNG.index(b"IDAT") + 30
    return PNG[:at] + bytes([PNG[at] ^ 0xFF]) + PNG[at + 1 :]


def postscript() -> bytes:
    """Pillow would hand it to Ghostscript, which runs programs."""
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(marker) (w) file closefile\nshowpage\n"
    )


def text_bomb() -> bytes:
    """A text in a PNG that expands to 200 MB."""
    return png(9, 9, bytes(90), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200 << 20))))


def _turned(reader: str) -> None:
    """An orientation that EXIF notes is left alone: boxes stay where they are."""
    exif = Picture.Exif()
    exif[0x0112] = 6
    assert read(reader, encoded("jpeg", quality=90, exif=exif)).shape == PICTURE.shape


def _modes(reader: str) -> None:
    """Gray, palettes, alpha, CMYK and black and white become RGB."""
    for mode in ("L", "P", "RGBA", "LA", "1"):
        file = io.BytesIO()
        Picture.fromarray(PICTURE).convert(mode).save(file, "png")
        assert read(reader, file.getvalue(), "png").shape == PICTURE.shape, mode
    file = io.BytesIO()
    Picture.fromarray(PICTURE).convert("CMYK").save(file, "jpeg")
    assert read(reader, file.getvalue()).shape == PICTURE.shape


def _many_faults(reader: str) -> None:
    """Memory after 10,000 bad pictures is that after 1,000, within 5 %."""
    faults, after = [JPEG[:900], flipped_png(), b"", png(60000, 60000, b"")], {}
    for number in range(1, 10_001):
        try:
            read(reader, faults[number % len(faults)])
            raise AssertionError("a bad picture was read")
        except SegError:
            pass
        if number in (1000, 10_000):
            after[number] = int(Path("/proc/self/statm").read_text().split()[1])
    assert after[10_000] <= 1.05 * after[1000], after


# A folder of pictures, through `python -m jointseg_eval.predict`


def folder_of(*files: tuple[str, bytes]) -> Callable[[Path], list]:
    def make(folder: Path) -> list:
        (folder / "in").mkdir()
        for name, data in files:
            (folder / "in" / name).write_bytes(data)
        return [folder / "in", "--weights", shipped_weights("rdsnet"), "--out", folder / "out"]

    return make


def predicted(name: str, code: int, *words: str, files: list, often: bool = False) -> Case:
    limits = {"seconds": 40, "megabytes": 900}
    made = folder_of(*files)
    return Case(
        "pictures", name, made, "jointseg_eval.predict", None, code, words, often=often, **limits
    )


CASES = [
    *bad("a JPEG cut at half", lambda: JPEG[: len(JPEG) // 2]),
    *bad("a JPEG without its end", lambda: JPEG[:-40]),
    *bad("a JPEG of its header", lambda: JPEG[: JPEG.index(b"\xff\xda")]),
    *bad("a PNG with one byte changed", flipped_png),
    *bad("a PNG cut at half", lambda: PNG[: len(PNG) // 2]),
    *bad("a PNG of 60000 x 60000", lambda: png(60000, 60000, bytes(100)), "60000"),
    *bad("a PNG of 2^31 - 1 pixels each way", lambda: png((1 << 31) - 1, (1 << 31) - 1, b"")),
    *bad("a PNG of no width", lambda: png(0, 9, b"")),
    *bad("a JPEG of 65535 x 65535", lambda: jpeg_that_claims(65535, 65535)),
    *bad("a PNG with a text that expands to 200 MB", text_bomb),
    *bad("no data", lambda: b""),
    *bad("noise", partial(np.random.default_rng(1).bytes, 5000)),
    *bad("PostScript", postscript),
    *good("an orientation in EXIF", _turned),
    *good("other modes of colour", _modes),
    *good("10,000 bad pictures", _many_faults, ("node", "recording")),
    predicted(
        "a folder with a damaged picture", 4, "left out: b.jpg", "2 images",
        files=[("a.png", PNG), ("b.jpg", JPEG[:600]), ("c.jpg", JPEG)], often=True,
    ),
    predicted("a folder of damaged pictures", 3, files=[("a.png", PNG[:60]), ("b.jpg", b"")]),
    predicted("a folder without pictures", 3, "neither", files=[("a.txt", b"words")]),
    predicted("a picture that is PostScript", 3, files=[("a.png", postscript())]),
]  # fmt: skip
