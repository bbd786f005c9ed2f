"""A video file of pictures, in H.264 where PyAV can."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

X264 = {"crf": "21", "preset": "veryfast"}


class Video:
    """An .mp4 file of pictures shown at the times of their stamps; use it in a `with` statement.

    H.264 where PyAV can, else MPEG-4. Pictures of another size than the first are scaled to it.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._rate = max(1, round(rate_hz))
        self._writer: _H264 | _Mpeg4 | None = None
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
            self._writer = _writer(self._path, self._rate, self._size)
        if picture.shape[1::-1] != self._size:
            picture = cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA)
        self._writer.add(picture)


class _H264:
    def __init__(self, path: Path, rate: int, size: tuple[int, int]) -> None:
        import av

        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate, options=X264)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"

    def add(self, picture: np.ndarray) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _Mpeg4:
    def __init__(self, path: Path, rate: int, size: tuple[int, int]) -> None:
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
        if not self._writer.isOpened():
            raise OSError(f"{path}: neither PyAV nor OpenCV can write an .mp4 video here")

    def add(self, picture: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


def _writer(path: Path, rate: int, size: tuple[int, int]) -> _H264 | _Mpeg4:
    try:
        return _H264(path, rate, size)
    except Exception:  # no PyAV, or one without the encoder
        return _Mpeg4(path, rate, size)
