"""The user's own pictures as the demo's input: a recording with their times."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from jointseg_core.errors import BadInput
from jointseg_eval.frames import Frame, accepted, open_frames
from jointseg_eval.recordings.bags import BagWriter
from jointseg_eval.recordings.messages import camera_info, header_message, image_message
from jointseg_eval.recordings.topics import CAMERA_INFO, IMAGE

LONGEST_GAP_NS = 5_000_000_000


def convert(
    source: Path,
    out: Path,
    topic: str | None = None,
    rate_hz: float = 10.0,
    limit: int | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> int:
    """Write the pictures of `source` into the .mcap file `out`; returns how many there are.

    topic: which images of a recording, needed if it has several; rate_hz: of a folder, which has
    no times of its own; limit: take the first so many. What is damaged is left out, and told to
    the standard error. BadInput when there is no picture in it.
    """
    frames, source_frames = 0, open_frames(source, topic, rate_hz)
    with BagWriter(out) as bag:
        for frame in _in_order(source_frames.frames):
            header = header_message(frame.stamp, frame.frame_id)
            bag.write(IMAGE, image_message(frame.picture, header), frame.time)
            bag.write(CAMERA_INFO, camera_info(header, frame.picture.shape[:2]), frame.time)
            frames += 1
            progress(frames, limit)
            if frames == limit:
                break
        if not frames:
            raise BadInput(f"{source.absolute()} holds no picture that can be read; {accepted()}")
    for loss in source_frames.lost:
        print(loss, file=sys.stderr)
    return frames


def _in_order(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The same frames with stamps that grow, so that results can be told apart, and no long gaps.

    A stamp of zero, or one not later than the one before, gives way to the time of reception.
    """
    last_time, last_stamp, cut = None, -1, 0
    for frame in frames:
        if last_time is not None:
            cut += max(0, frame.time - last_time - LONGEST_GAP_NS)
        stamp = frame.stamp if frame.stamp > max(last_stamp, 0) else frame.time
        last_time, last_stamp = frame.time, max(stamp, last_stamp + 1)
        yield replace(frame, time=frame.time - cut, stamp=last_stamp)
