"""The pictures of any input: a video, a picture or a folder of pictures, or a recording."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core.errors import BadImage, BadInput
from jointseg_core.images import read_picture
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.files import storage
from jointseg_eval.recordings.pictures import pictures
from jointseg_eval.recordings.topics import FRAME_ID, START_NS, image_topic

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
DARK = 16
"""Where no sample of 8 bits reaches this, a picture may be one of 12 bits."""
ACCEPTED = (
    "a video file, a picture or a folder of pictures (" + " ".join(PICTURES) + "), or a "
    "recording (.mcap, .db3 or its folder; .bag of ROS 1) with images"
)
TIMED_FRAMES = 50
"""So many frames of a recording tell its rate."""


@dataclass(frozen=True)
class Frame:
    """A picture (uint8 RGB [H, W, 3]), upright as its EXIF says.

    time, stamp  when it came, and its stamp (ns)
    name         of its file, where it has one of its own
    """

    time: int
    stamp: int
    frame_id: str
    picture: np.ndarray
    name: str = ""


@dataclass
class Frames:
    """The pictures of an input; iterate it once.

    kind     pictures, video or recording
    rate_hz  frames a second
    lost     what could not be read so far, a sentence each
    hints    what was strange and could be read, and how often
    """

    kind: str
    rate_hz: float
    frames: Iterator[Frame]
    lost: list[str] = field(default_factory=list)
    hints: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


def open_frames(
    source: Path, topic: str | None = None, rate_hz: float = 10.0, bits: int = 0
) -> Frames:
    """The pictures of `source`, which are read while one iterates.

    topic: which images of a recording, needed if it has several; rate_hz: of pictures, which have
    no times of their own; bits: of 16 that a sample uses, 0 for all. BadInput when there is nothing
    that can be read.
    """
    if not (source.is_file() or source.is_dir()):
        raise BadInput(f"there is no file or folder at {source.absolute()}; {accepted()}")
    lost: list[str] = []
    hints: Counter[str] = Counter()
    if _is_recording(source):
        chosen, rate = _survey(source, topic)
        found = _of_recording(source, chosen, bits, lost, hints)
        return Frames("recording", rate or rate_hz, found, lost, hints)
    if source.is_dir() or source.suffix.lower() in PICTURES:
        paths = _pictures_in(source) if source.is_dir() else [source]
        found = _of_pictures(paths, rate_hz, bits, lost, hints)
        return Frames("pictures", rate_hz, found, lost, hints)
    rate = _video_rate(source) or rate_hz
    return Frames("video", rate, _of_video(source, rate, lost), lost, hints)


def accepted() -> str:
    """What can be an input, as the end of a sentence."""
    return f"accepted are {ACCEPTED}."


def _is_recording(source: Path) -> bool:
    if not source.is_dir():
        return storage(source) is not None
    return any(map(storage, source.iterdir())) or (source / "metadata.yaml").is_file()


def _pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, 9 before 10."""
    found = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES]
    if not found:
        raise BadInput(f"{folder.absolute()} holds neither pictures nor recordings; {accepted()}")
    return sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    pieces = re.split(r"(\d+)", path.name.lower())
    return [(0, int(p)) if p.isdecimal() else (1, p) for p in pieces]


def _of_pictures(
    paths: list[Path], rate_hz: float, bits: int, lost: list[str], hints: Counter[str]
) -> Iterator[Frame]:
    """Pictures that cannot be decoded are left out."""
    period, number = int(1e9 / rate_hz), 0
    for path in paths:
        try:
            picture = read_picture(path, upright=True, bits=bits)
        except (BadImage, FileNotFoundError) as error:
            lost.append(f"{error}.")
            continue
        if not bits and picture.max() < DARK:
            hints["nearly black; if a sample holds 10 or 12 bits of 16, say so by bits"] += 1
        stamp = START_NS + number * period
        number += 1
        yield Frame(stamp, stamp, FRAME_ID, picture, path.name)


def _video_rate(path: Path) -> float | None:
    """Frames a second as the file says; BadInput where there is no video."""
    import av

    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except (av.FFmpegError, IndexError, OSError, ValueError) as error:
        raise BadInput(f"{path.absolute()} is no video that can be read; {accepted()}") from error
    return float(rate) if rate else None


def _of_video(path: Path, rate_hz: float, lost: list[str]) -> Iterator[Frame]:
    """The frames of a video at their own times; a damaged end is left out."""
    import av

    number, first = 0, None
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(container.streams.video[0]):
                at = number / rate_hz if frame.time is None else frame.time
                first = at if first is None else first
                number += 1
                stamp = START_NS + round((at - first) * 1e9)
                yield Frame(stamp, stamp, FRAME_ID, upright(frame))
        except av.FFmpegError as error:
            if first is None:
                reason = f"{path.absolute()} has no frame that can be decoded"
                raise BadInput(f"{reason}; {accepted()}") from error
            lost.append(f"{path.name}: damaged after {number} frames ({error}).")


def upright(frame: Any) -> np.ndarray:
    """RGB [H, W, 3] of a frame of PyAV, turned as its video says, which telephones lay on a side.

    PyAV tells the turn from version 14 on.
    """
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, round(getattr(frame, "rotation", 0) / 90)))


def _survey(path: Path, topic: str | None) -> tuple[str, float | None]:
    """The topic whose images are meant, and how many there are a second, if that can be told."""
    with BagReader(path) as bag:
        chosen = image_topic(bag, topic)
        times = [m.time for m in islice(bag.messages([chosen]), TIMED_FRAMES)]
    gap = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return chosen, 1e9 / gap if gap > 0 else None


def _of_recording(
    path: Path, topic: str, bits: int, lost: list[str], hints: Counter[str]
) -> Iterator[Frame]:
    """The images of one topic; what is damaged is left out."""
    with BagReader(path) as bag:
        for one in pictures(bag, topic, bits=bits):
            if one.pixels is None:
                lost.append(f"{topic} at {one.time / 1e9:.3f} s: {one.word}")
                continue
            if one.word:
                hints[f"{topic}: {one.word}"] += 1
            yield Frame(one.time, one.stamp, one.frame_id or FRAME_ID, one.pixels)
        lost += bag.defects()
