"""A video file of pictures, in H.264 where PyAV has an encoder for it."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

CODECS = {
    "libx264": {"crf": "21", "preset": "veryfast"},
    "mpeg4": {"flags": "qscale", "global_quality": str(118 * 3)},  # quantizer 3 of 1 to 31
}


class Video:
    """An .mp4 file of pictures shown at the times of their stamps; use it in a `with` statement.

    H.264 where PyAV has its encoder, else MPEG-4. Pictures of another size than the first are
    scaled to it.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate = max(1, round(rate_hz))
        self._writer: _Writer | None = None
        self._size = (0, 0)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, picture: np.ndarray) -> None:
        """One more picture, uint8 RGB [H, W, 3]."""
        if self._writer is None:
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)  # H.264: even
            self._writer = _Writer(self._path, self._rate, self._size)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.add(picture)


class _Writer:
    """Encodes pictures of one (width, height)."""

    def __init__(self, path: Path, rate: int, size: tuple[int, int]) -> None:
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        codec = next(name for name in CODECS if name in av.codecs_available)
        self._stream = self._container.add_stream(codec, rate=rate, options=CODECS[codec])
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"

    def add(self, picture: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
