"""A video file of pictures, in H.264 where PyAV has an encoder for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

CODECS = {
    "libx264": {"crf": "21", "preset": "veryfast"},
    "mpeg4": {"flags": "qscale", "global_quality": str(118 * 3)},  # quantizer 3 of 1 to 31
}
TICKS = 1000
"""Of a second: what times of pictures are rounded to."""


class Video:
    """An .mp4 file of pictures; use it in a `with` statement.

    rate_hz: pictures a second; None where each comes with the time at which it is to be shown.
    H.264 where PyAV has its encoder, else MPEG-4. Pictures of another size than the first are
    scaled to it.
    """

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        self._path = path
        self._rate = TICKS if rate_hz is None else max(1, round(rate_hz))
        self._writer: _Writer | None = None
        self._size = (0, 0)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, picture: np.ndarray, seconds: float | None = None) -> None:
        """One more picture, uint8 RGB [H, W, 3], with its time where there is no rate."""
        if self._writer is None:
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)  # H.264: even
            self._writer = _Writer(self._path, self._rate, self._size)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.add(picture, seconds)


class _Writer:
    """Encodes pictures of one (width, height)."""

    def __init__(self, path: Path, rate: int, size: tuple[int, int]) -> None:
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        codec = next(name for name in CODECS if name in av.codecs_available)
        self._stream = self._container.add_stream(codec, rate=rate, options=CODECS[codec])
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._ticks = -1

    def add(self, picture: np.ndarray, seconds: float | None) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if seconds is not None:
            self._ticks = max(self._ticks + 1, round(seconds * TICKS))
            frame.pts, frame.time_base = self._ticks, Fraction(1, TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
