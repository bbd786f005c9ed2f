"""Packets of videos as drivers send them, one for each picture."""

from fractions import Fraction
from functools import cache

import av
import numpy as np

SIZE = (48, 64)
ENCODERS = {"h264": "libx264", "h265": "libx265"}


def picture(number: int) -> np.ndarray:
    """Uint8 [H, W, 3] RGB, another one for each number."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    blue = np.full_like(x, 12 * number % 256)
    return np.stack([2 * x + 5 * number, 3 * y, blue], 2).astype(np.uint8)


@cache
def packets(kind: str, count: int = 12, key_every: int = 6, late: int = 0) -> tuple[bytes, ...]:
    """The pictures from 0 on; every so many a key frame. late: B-frames in a row."""
    quiet = {"x265-params": "log-level=none:repeat-headers=1"} if kind == "h265" else {}
    context = av.CodecContext.create(ENCODERS[kind], "w")
    context.height, context.width = SIZE
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 30)
    context.gop_size, context.max_b_frames = key_every, late
    context.options = {"preset": "fast" if late else "ultrafast", "crf": "10"} | quiet
    context.options |= {} if late else {"tune": "zerolatency"}
    found = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts = number
        found += [bytes(packet) for packet in context.encode(frame)]
    return (*found, *(bytes(packet) for packet in context.encode(None)))
