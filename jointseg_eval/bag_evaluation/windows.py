"""Recordings cut into windows of time: the unit of work that a process gets, and can be lost."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jointseg_core.errors import BadBag
from jointseg_core.files import open_file
from jointseg_core.messages import DETECTIONS, MASKS
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.files import storage
from jointseg_eval.recordings.pictures import is_video
from jointseg_eval.recordings.topics import (
    IMAGE_TYPES,
    TRUE_DETECTIONS,
    image_topic,
    truth_topics,
)

EDGE_BYTES = 64 << 10
TRUE_END = TRUE_DETECTIONS.removeprefix("/camera")


@dataclass(frozen=True)
class TruthTopics:
    """Where a recording holds annotations; None for what it does not have."""

    detections: str
    masks: str | None = None
    ignored: str | None = None
    semantic: str | None = None

    def named(self) -> dict[str, str]:
        """The topics that are there, by the names above."""
        return {name: topic for name, topic in vars(self).items() if topic is not None}


@dataclass(frozen=True)
class Recording:
    """A bag to be evaluated: where it is, its images, its annotations, and what identifies it.

    start and stop are the first reception time and the one after the last (ns); None where damage
    hides them, or the images are a video's, so that it can only be read from its start.
    spare_truth: topics of annotations that belong to no camera, where there are no others.
    """

    path: Path
    topic: str
    truth: TruthTopics | None
    fingerprint: str
    start: int | None
    stop: int | None
    spare_truth: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Frames of a recording received from `start` on and before `stop` (ns); all without both."""

    recording: Recording
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        if self.start is None or self.recording.start is None:
            return str(self.recording.path)
        first, last = ((t - self.recording.start) / 1e9 for t in (self.start, self.stop))
        return f"{self.recording.path} from {first:.0f} s to {last:.0f} s"


def survey(
    path: Path, topic: str | None = None, truth: TruthTopics | None = None, strict: bool = False
) -> Recording:
    """What there is to evaluate in a bag.

    topic: its images, needed if it has several. truth: its annotations, where they are not on the
    topics that `driving_bag` uses. BadBag, naming the candidates, when one of them is not there.
    """
    with BagReader(path, strict) as bag:
        images = image_topic(bag, topic)
        beside = truth_topics(bag, images)
        found = truth or (TruthTopics(**beside) if beside else None)
        for name in found.named().values() if found else ():
            if name not in bag.topics:
                raise BadBag(f"{path.absolute()} has no topic {name}; {_truth_candidates(bag)}.")
        span = (None, None) if is_video(bag, images) else (bag.start, bag.stop)
        spare = () if found else tuple(name for name in bag.topics if name.endswith(TRUE_END))
        return Recording(path, images, found, fingerprint(path), *span, spare)


def windows(recording: Recording, length: int) -> list[Window]:
    """A recording in windows of a length in ns, which depend on nothing else."""
    first, end = recording.start, recording.stop
    if first is None or end is None:
        return [Window(recording)]
    starts = range(first, end, length)
    return [Window(recording, start, min(start + length, end)) for start in starts]


def fingerprint(path: Path) -> str:
    """Another one for another recording: names, sizes, times of change, both ends of each file."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        facts = file.stat()
        digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        with open_file(file) as content:
            digest.update(content.read(EDGE_BYTES))
            content.seek(max(0, facts.st_size - EDGE_BYTES))
            digest.update(content.read(EDGE_BYTES))
    return digest.hexdigest()


def files_of(path: Path) -> set[tuple[int, int]]:
    """The storage files of a recording, by device and number: the same under every name."""
    files = [file for file in path.iterdir() if storage(file)] if path.is_dir() else [path]
    found = [file.stat() for file in files if file.exists()]
    return {(file.st_dev, file.st_ino) for file in found}


def common_truth(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """The kinds of annotation that every annotated recording has: what can be scored over all."""
    kinds = [set(r.truth.named()) for r in recordings if r.truth is not None]
    return tuple(sorted(set.intersection(*kinds))) if kinds else ()


def _truth_candidates(bag: BagReader) -> str:
    known = (DETECTIONS, MASKS, *IMAGE_TYPES)
    found = [f"{t.name} ({t.type.split('/')[-1]})" for t in bag.topics.values() if t.type in known]
    return f"it could be {', '.join(found)}" if found else "it holds nothing that could be one"
