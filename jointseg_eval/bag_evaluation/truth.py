"""What is known to be in the frames of a recording, paired with them by stamp."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointseg_core.classes import Classes
from jointseg_core.errors import BadDataset
from jointseg_core.messages import read_boxes, read_masks, read_plane, stamp_ns
from jointseg_core.predictions import Masks
from jointseg_core.targets import Target
from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.datasets.coco import paint
from jointseg_eval.datasets.coco_file import CocoPicture, read_coco
from jointseg_eval.input_validation import refuse
from jointseg_eval.metrics.overlaps import Crops
from jointseg_eval.recordings.bags import BagReader, Message
from jointseg_eval.recordings.messages import read_distances

LATE_NS = 2_000_000_000
"""Annotations may have been recorded so long before or after their frame."""

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Annotation:
    """What is known of a frame: its objects with their areas [N] and, in m, their distances [N].

    ids: of those that are no crowds, which object each is from frame to frame; None if unknown.
    """

    target: Target
    areas: Tensor
    distances: Tensor | None = None
    ids: tuple[str, ...] | None = None


class BadTruth(BadDataset):
    """The annotation of one frame that cannot be used; one sentence with the reason."""


@dataclass
class Pairing:
    """Which annotations there were and which belong to a frame, by stamp; what was left out."""

    seen: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)  # objects of classes of no model


class _Annotated(NamedTuple):
    """An annotation's message: its stamp, else the time of reception, that time (ns), and which."""

    stamp: int
    time: int
    stamped: bool
    content: Any


class TopicTruth:
    """Annotations on topics of the recording itself, by a reader for them alone.

    kinds: which of detections, masks, ignored and semantic count; a frame has to have all of them.
    """

    def __init__(
        self,
        bag: BagReader,
        window: Window,
        kinds: tuple[str, ...],
        classes: Classes,
        tolerance: int,
    ) -> None:
        self.pairing = Pairing()
        self._window, self._classes, self._tolerance = window, classes, tolerance
        topics = window.recording.truth.named() if window.recording.truth else {}
        self._kinds = {topics[kind]: kind for kind in kinds}
        self._near: dict[str, dict[int, _Annotated]] = {kind: {} for kind in kinds}
        self._read_until = -1
        self._messages = self._of_the_window(bag)

    def at(self, time: int, stamp: int, size: Size) -> Annotation | None:
        """The annotation of a frame with this time and stamp (ns); None where there is none.

        BadTruth for one that is there and cannot be used.
        """
        while self._read_until <= time + LATE_NS and not self._has_exactly(stamp):
            if (message := next(self._messages, None)) is None:
                break
            self._take(message)
        self._forget_before(time - LATE_NS)
        found = {kind: self._nearest(near, time, stamp) for kind, near in self._near.items()}
        if not found or None in found.values():
            return None
        self.pairing.used.append(found["detections"].stamp)
        try:
            return self._read(size, **{kind: one.content for kind, one in found.items()})
        except (ValueError, IndexError) as error:
            raise BadTruth(f"the annotation of the frame at {stamp} ns: {error}") from error

    def _of_the_window(self, bag: BagReader) -> Iterator[Message]:
        start, stop = self._window.start, self._window.stop
        if start is not None and stop is not None:
            start, stop = start - LATE_NS, stop + LATE_NS
        return bag.messages(list(self._kinds), start, stop)

    def _take(self, message: Message) -> None:
        self._read_until = message.time
        kind = self._kinds[message.topic]
        own = stamp_ns(message.content.header)
        stamp = own or message.time  # as of images without one
        self._near[kind][stamp] = _Annotated(stamp, message.time, own != 0, message.content)
        start, stop = self._window.start, self._window.stop
        mine = start is None or stop is None or start <= message.time < stop
        if kind == "detections" and mine:
            self.pairing.seen.append(stamp)

    def _has_exactly(self, stamp: int) -> bool:
        return all(stamp in near for near in self._near.values())

    def _forget_before(self, time: int) -> None:
        for kind, near in self._near.items():
            self._near[kind] = {s: m for s, m in near.items() if m.time >= time}

    def _nearest(self, near: Mapping[int, _Annotated], time: int, stamp: int) -> _Annotated | None:
        """By the stamps; what has none of its own, by when it came."""
        apart = [
            (abs(one.stamp - (stamp if one.stamped else time)), one.stamp) for one in near.values()
        ]
        gap, best = min(apart, default=(self._tolerance + 1, 0))
        return near[best] if gap <= self._tolerance else None

    def _read(
        self,
        size: Size,
        detections: Any,
        masks: Any | None = None,
        ignored: Any | None = None,
        semantic: Any | None = None,
    ) -> Annotation:
        known = self._known(detections)
        boxes, _, labels = read_boxes(detections, self._classes, known)
        groups, of = read_masks(ignored) if ignored is not None else (Masks.empty(), labels[:0])
        if masks is None:
            bitmaps = torch.cat([rectangles(boxes, size), groups.bitmaps(size)])
            areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            areas = torch.cat([areas, _pixels(groups)])
        else:
            both = read_masks(masks, known)[0], groups
            every = Masks(torch.cat([m.windows for m in both]), torch.cat([m.pixels for m in both]))
            bitmaps, areas = every.bitmaps(size), _pixels(every)
        target = Target(
            torch.cat([boxes, groups.windows.double()]),
            torch.cat([labels, of]),
            bitmaps,
            None if semantic is None else read_plane(semantic).long(),
            torch.arange(len(boxes) + len(groups)) >= len(boxes),
        )
        far = read_distances(detections)[torch.tensor(known, dtype=torch.bool)]
        distances = torch.cat([far, torch.full((len(groups),), torch.nan)])
        ids = tuple(one.id for one in compress(detections.detections, known))
        return Annotation(target, areas, distances, ids if all(ids) else None)

    def _known(self, detections: Any) -> list[bool]:
        """Which objects are of a class of the model; the others are counted and left out."""
        names = [one.results[0].hypothesis.class_id for one in detections.detections]
        things = self._classes.things
        known = [n in things or (n.isdecimal() and int(n) < len(things)) for n in names]
        self.pairing.unknown.update(n for n, k in zip(names, known, strict=True) if not k)
        return known


class CocoTruth:
    """Annotations in a COCO JSON whose pictures are named by their stamps (see `stamp_of`)."""

    def __init__(self, path: Path, window: Window, classes: Classes, tolerance: int) -> None:
        self.pairing = Pairing()
        self._names, self._stamps, self._pictures = _read_stamped(path)
        things = classes.things
        self._labels = {k: things.index(n) for k, n in self._names.items() if n in things}
        self._tolerance = tolerance
        if window.start in (None, window.recording.start):  # one window tells of all
            self.pairing.seen += self._stamps

    def at(self, time: int, stamp: int, size: Size) -> Annotation | None:
        """As `TopicTruth.at`."""
        right = bisect_left(self._stamps, stamp)
        near = [k for k in (right - 1, right) if 0 <= k < len(self._stamps)]
        best = min(near, key=lambda k: abs(self._stamps[k] - stamp), default=None)
        if best is None or abs(self._stamps[best] - stamp) > self._tolerance:
            return None
        self.pairing.used.append(self._stamps[best])
        return self._target(self._pictures[best], size)

    def _target(self, picture: CocoPicture, size: Size) -> Annotation:
        if picture.size != size:
            raise BadTruth(
                f"{picture.file_name} is annotated as {picture.size[1]} x {picture.size[0]}, its"
                f" frame is {size[1]} x {size[0]}"
            )
        known = [o for o in picture.objects if o.category in self._labels]
        others = (o.category for o in picture.objects if o.category not in self._labels)
        self.pairing.unknown.update(self._names[category] for category in others)
        masks = paint([o.outline for o in known], size)
        areas = torch.tensor([o.area for o in known], dtype=torch.float64)
        target = Target(
            torch.tensor([o.box for o in known], dtype=torch.float64).view(-1, 4),
            torch.tensor([self._labels[o.category] for o in known], dtype=torch.int64),
            masks,
            crowd=torch.tensor([o.crowd for o in known], dtype=torch.bool),
        )
        return Annotation(target, torch.where(areas.isnan(), masks.sum((1, 2)).double(), areas))


Truth = TopicTruth | CocoTruth
"""The annotations of a window, asked in the order of its frames."""


def stamp_of(picture: CocoPicture) -> int:
    """The stamp (ns) that a picture of a COCO JSON is named by; BadInput for another name.

    1700000000123456789.png holds nanoseconds, 1700000000.123456789.png and 1700000000_123456789.png
    seconds and nanoseconds.
    """
    name = Path(picture.file_name).name
    if whole := re.match(r"(\d{15,19})(\.[A-Za-z]\w*)?$", name):
        return int(whole[1])
    if parts := re.match(r"(\d{1,10})[._](\d{9})(\.[A-Za-z]\w*)?$", name):
        return int(parts[1]) * 1_000_000_000 + int(parts[2])
    raise BadDataset(
        f"picture {picture.file_name!r} of the annotations is not named by a stamp; name it by the"
        " nanoseconds of its frame, as in 1700000000123456789.png."
    )


@cache
def _read_stamped(path: Path) -> tuple[dict[int, str], list[int], list[CocoPicture]]:
    """Categories by id, and the pictures with their stamps, in the order of these."""
    file = read_coco(path, refuse)
    stamped = sorted(((stamp_of(p), p) for p in file.pictures), key=lambda pair: pair[0])
    return file.categories, [stamp for stamp, _ in stamped], [picture for _, picture in stamped]


def _pixels(masks: Masks) -> Tensor:
    """How many pixels each mask has, float64 [N]."""
    return torch.from_numpy(Crops.of(masks).areas).double()


def rectangles(boxes: Tensor, size: Size) -> Tensor:
    """Boxes [N, 4] filled, bool [N, H, W]: what stands for masks where only boxes are annotated."""
    y, x = torch.arange(size[0]).view(-1, 1), torch.arange(size[1])
    x1, y1, x2, y2 = (side.view(-1, 1, 1) for side in boxes.unbind(1))
    return (x + 0.5 > x1) & (x + 0.5 < x2) & (y + 0.5 > y1) & (y + 0.5 < y2)
