"""The user's own pictures as the demo's input: a video, a folder of pictures, or a recording."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from training.bag_images import (
    IMAGE_TYPES,
    MAX_PIXELS,
    BadImage,
    header_message,
    image_message,
    stamp_ns,
    to_rgb,
)
from training.bags import BadBag, BagReader, BagWriter
from training.driving_bag import CAMERA_INFO, FRAME_ID, IMAGE, START_NS, camera_info

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
RECORDINGS = (".mcap", ".db3")
ACCEPTED = (
    "a video file, a picture or a folder of pictures (" + " ".join(PICTURES) + "), or a ROS 2 "
    "recording (.mcap, .db3 or its folder) with sensor_msgs/Image or CompressedImage"
)
LONGEST_GAP_NS = 5_000_000_000


class BadInput(ValueError):
    """An input that cannot be read; one sentence with what was found and what is accepted."""


@dataclass(frozen=True)
class Frame:
    """A picture (uint8 RGB [H, W, 3]) with the moment (ns) at which it came and its stamp (ns)."""

    time: int
    stamp: int
    frame_id: str
    picture: np.ndarray


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
    no times of its own; limit: take the first so many. BadInput when there is no picture in it.
    """
    frames = 0
    with BagWriter(out) as bag:
        for frame in _in_order(_frames(source, topic, rate_hz)):
            header = header_message(frame.stamp, frame.frame_id)
            bag.write(IMAGE, image_message(frame.picture, header), frame.time)
            bag.write(CAMERA_INFO, camera_info(header, frame.picture.shape[:2]), frame.time)
            frames += 1
            progress(frames, limit)
            if frames == limit:
                break
        if not frames:
            raise BadInput(f"{source.absolute()} holds no picture that can be read; {_accepted()}")
    return frames


def _frames(source: Path, topic: str | None, rate_hz: float) -> Iterator[Frame]:
    if not source.exists():
        raise BadInput(f"there is nothing at {source.absolute()}; {_accepted()}")
    if source.suffix.lower() in RECORDINGS or _is_recording(source):
        return _of_recording(source, topic)
    if source.is_dir():
        return _of_pictures(_pictures_in(source), rate_hz)
    if source.suffix.lower() in PICTURES:
        return _of_pictures([source], rate_hz)
    return _of_video(source, rate_hz)


def _is_recording(source: Path) -> bool:
    if not source.is_dir():
        return False
    parts = [path for suffix in RECORDINGS for path in source.glob(f"*{suffix}")]
    return bool(parts) or (source / "metadata.yaml").is_file()


def _pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, 9 before 10."""
    found = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES]
    if not found:
        raise BadInput(f"{folder.absolute()} holds neither pictures nor recordings; {_accepted()}")
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in pieces]


def _of_pictures(paths: list[Path], rate_hz: float) -> Iterator[Frame]:
    """Pictures that cannot be decoded are left out."""
    period, number = int(1e9 / rate_hz), 0
    for path in paths:
        try:
            with Image.open(path) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    continue
                picture = np.array(opened.convert("RGB"))
        except Exception:  # Pillow raises OSError, SyntaxError, struct.error and others
            continue
        stamp = START_NS + number * period
        number += 1
        yield Frame(stamp, stamp, FRAME_ID, picture)


def _of_video(path: Path, rate_hz: float) -> Iterator[Frame]:
    """The frames of a video at their own times; a damaged end is left out."""
    import av

    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise BadInput(f"{path.absolute()} is no video that can be read; {_accepted()}") from error
    with container:
        period, first = 1 / float(stream.average_rate or rate_hz), None
        try:
            for number, frame in enumerate(container.decode(stream)):
                at = number * period if frame.time is None else frame.time
                first = at if first is None else first
                stamp = START_NS + round((at - first) * 1e9)
                yield Frame(stamp, stamp, FRAME_ID, frame.to_ndarray(format="rgb24"))
        except av.FFmpegError as error:
            if first is None:
                reason = f"{path.absolute()} has no frame that can be decoded"
                raise BadInput(f"{reason}; {_accepted()}") from error


def _of_recording(path: Path, topic: str | None) -> Iterator[Frame]:
    """The images of one topic; what is damaged is left out, and told to the standard error."""
    try:
        with BagReader(path) as bag, _told(bag):
            chosen = _chosen_topic(path, bag, topic)
            for message in bag.messages([chosen]):
                try:
                    picture = to_rgb(message.content)
                except BadImage:
                    continue
                header = message.content.header
                frame_id = header.frame_id or FRAME_ID
                yield Frame(message.time, stamp_ns(header), frame_id, picture)
    except BadBag as error:
        raise BadInput(str(error)) from error


@contextmanager
def _told(bag: BagReader) -> Iterator[None]:
    """Say in the end what could not be read."""
    try:
        yield
    finally:
        for loss in bag.losses:
            print(loss, file=sys.stderr)


def _chosen_topic(path: Path, bag: BagReader, topic: str | None) -> str:
    images = {t.name: t for t in bag.topics.values() if t.type in IMAGE_TYPES}
    listed = ", ".join(f"{t.name} ({t.type.split('/')[-1]}, {t.count})" for t in images.values())
    if topic in images:
        return topic
    if not images:
        held = ", ".join(bag.topics) or "no topic at all"
        raise BadInput(f"{path.absolute()} holds no images but {held}; {_accepted()}")
    if topic is not None:
        raise BadInput(f"{path.absolute()} holds no images on {topic}; it has {listed}.")
    if len(images) > 1:
        raise BadInput(f"{path.absolute()} holds several images; choose one by --topic: {listed}.")
    return next(iter(images))


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
        yield Frame(frame.time - cut, last_stamp, frame.frame_id, frame.picture)


def _accepted() -> str:
    return f"accepted are {ACCEPTED}."
