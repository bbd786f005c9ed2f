"""The pictures of a recorded camera, decoded as the node decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jointseg_core.errors import BadImage
from jointseg_core.messages import stamp_ns
from jointseg_core.video import CameraDecoder
from jointseg_eval.recordings.bags import BagReader


class Picture(NamedTuple):
    """An image message: when it was received, and its stamp, else that time too (ns).

    pixels  uint8 RGB [H, W, 3], neither shared nor read-only; None where the message holds none
    word    why there is none, or what is strange about it; mostly empty
    """

    time: int
    stamp: int
    frame_id: str
    pixels: np.ndarray | None
    word: str


def pictures(
    bag: BagReader,
    topic: str,
    start: int | None = None,
    stop: int | None = None,
    bits: int = 0,
) -> Iterator[Picture]:
    """The images of a topic, as `BagReader.messages`; bits: of 16 that a sample uses, 0 for all.

    A video has to be read from its start.
    """
    decode = CameraDecoder(bits)
    for message in bag.messages([topic], start, stop):
        pixels, word = None, ""
        try:
            pixels = np.require(decode(message.content), requirements=["C", "W", "O"])
            word = decode.hint
        except BadImage as error:
            word = str(error)
        stamp, frame_id = _header(message.content)
        yield Picture(message.time, stamp or message.time, frame_id, pixels, word)


def is_video(bag: BagReader, topic: str) -> bool:
    """Whether the images of a topic need those before them."""
    first = next(bag.messages([topic]), None)
    return first is not None and CameraDecoder.is_video(first.content)


def _header(content: Any) -> tuple[int, str]:
    """Stamp (ns) and frame, which Foxglove's messages have without a header."""
    if hasattr(content, "header"):
        return stamp_ns(content.header), content.header.frame_id
    time = content.timestamp
    return int(time.sec * 1_000_000_000 + time.nanosec), content.frame_id
