"""Panoptic quality: things and stuff in one picture without overlaps.

Kirillov et al., Panoptic Segmentation (2019). How masks and class maps become one picture is in
`jointseg_core.panoptic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.panoptic import VOID, PanopticFusion
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import ImageColumns, mean
from jointseg_eval.metrics.overlaps import Crops, as_array, count_values


@dataclass(frozen=True, eq=False)
class Segments:
    """A picture in segments.

    ids     int32 [H, W]  k + 1 for the pixels of segment k, 0 for none
    labels  int64 [S]     what each segment shows, numbered as by `Categories`
    crowd   bool [S]      groups, which are ignored
    """

    ids: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True, eq=False)
class Categories:
    """The classes of segments: those of pixels, then the things that pixels have no class for.

    names       [C]  a name for each number
    of_things   [K]  the number of each thing, by its label
    are_things  [C]  which numbers are those of things
    """

    names: tuple[str, ...]
    of_things: tuple[int, ...]
    are_things: np.ndarray

    @property
    def stuff(self) -> np.ndarray:
        """The numbers that are not those of things [S]."""
        return np.flatnonzero(~self.are_things)

    @classmethod
    def of(cls, classes: Classes) -> Categories:
        """Numbers for the pixel classes and things of a model or a data set."""
        names, numbers = list(classes.semantic), []
        known = classes.thing_to_semantic or (-1,) * len(classes.things)
        for thing, number in zip(classes.things, known, strict=True):
            numbers.append(number if number >= 0 else len(names))
            names += [thing] if number < 0 else []
        return cls(tuple(names), tuple(numbers), np.isin(np.arange(len(names)), numbers))


class Canvas:
    """Segments painted one after the other, each onto the pixels that are still free."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._ids = np.zeros(size, np.int32)
        self._labels: list[int] = []
        self._crowd: list[bool] = []

    def paint(
        self, label: int, window: Sequence[int], crop: np.ndarray, crowd: bool = False
    ) -> None:
        """A mask bool [h, w] in its window x1, y1, x2, y2; left out when no pixel is free."""
        x1, y1, x2, y2 = window
        part = self._ids[y1:y2, x1:x2]
        free = crop & (part == 0)
        if free.any():
            self._labels.append(label)
            self._crowd.append(crowd)
            part[free] = len(self._labels)

    def fill(self, semantic: np.ndarray, stuff: np.ndarray) -> None:
        """Paint what a class map [H, W] shows of the classes `stuff` [S] on free pixels."""
        taken = (self._ids > 0).view(np.uint8) * np.uint8(UNLABELLED)  # x | 255 is 255, unlabelled
        free = semantic.astype(np.uint8) | taken
        counts = count_values(free, 256)
        table = np.zeros(256, np.int32)
        for label in stuff[counts[stuff] > 0]:
            self._labels.append(int(label))
            self._crowd.append(False)
            table[label] = len(self._labels)
        self._ids += table.take(free)

    def segments(self) -> Segments:
        """What was painted."""
        return Segments(self._ids, np.array(self._labels, np.int64), np.array(self._crowd, bool))


def merge_segments(found: Predictions, classes: Classes) -> Segments:
    """The panoptic picture of what was found: as its model fuses it, or else as usual."""
    usual = PanopticFusion(things=())
    fusion = replace(found.fusion or usual, things=Categories.of(classes).of_things)
    panoptic = fusion(replace(found, confidence=None))
    values = np.array([segment.id for segment in panoptic.segments], np.int64)
    labels = np.array([segment.label for segment in panoptic.segments], np.int64)
    table = np.zeros(VOID + 1, np.int32)
    table[values] = np.arange(1, len(values) + 1)
    return Segments(table.take(panoptic.ids.numpy()), labels, np.zeros(len(values), bool))


def true_segments(target: Target, classes: Classes, objects: Crops | None = None) -> Segments:
    """The annotation as one picture; where annotated objects overlap, the smaller one is on top.

    objects: the masks of the target, where they are cut already. ValueError without a class map:
    what is no object would count as void then, and excuse anything.
    """
    if target.semantic is None:
        raise ValueError("the target has no class map, without which nothing tells stuff from void")
    canvas, categories = Canvas(tuple(target.masks.shape[1:])), Categories.of(classes)
    crowd, labels = as_array(target.crowd), target.labels.tolist()
    objects = objects or Crops.cut(target.masks)
    for k in np.lexsort((objects.areas, crowd)):
        number = categories.of_things[labels[k]]
        canvas.paint(number, objects.windows[k], objects.pixels[k], crowd=bool(crowd[k]))
    canvas.fill(as_array(target.semantic), categories.stuff)
    return canvas.segments()


class PanopticQuality(ImageColumns):
    """Collects pictures in segments, then scores all or some of them together.

    Columns: images [I, C, 4], of each class the sum of the IoU, and how many were right, wrong, and
    missed.
    """

    def __init__(self, classes: Classes) -> None:
        self.categories = Categories.of(classes)
        super().__init__(images=np.zeros((0, len(self.categories.names), 4)))

    def add(self, found: Segments, truth: Segments) -> None:
        """One more image; ValueError when sizes differ."""
        if found.ids.shape != truth.ids.shape:
            raise ValueError(f"segments are {found.ids.shape}, truth {truth.ids.shape}")
        common = _common_pixels(found, truth)  # [S + 1, G + 1], the last row and column are void
        sizes, true_sizes = common[:-1].sum(1), common[:, :-1].sum(0)
        in_void, shared = common[:-1, -1], common[:-1, :-1]
        union = sizes[:, None] + true_sizes - shared - in_void[:, None]
        same = found.labels[:, None] == truth.labels
        iou = np.where(same & ~truth.crowd, shared / np.maximum(union, 1), 0)
        matched = iou > 0.5
        excused = in_void + (shared * (same & truth.crowd)).sum(1)
        wrong = ~matched.any(1) & (excused <= 0.5 * sizes)
        missed = ~matched.any(0) & ~truth.crowd
        count = len(self.categories.names)
        rows = [
            np.bincount(found.labels, (iou * matched).sum(1), count),
            np.bincount(found.labels[matched.any(1)], minlength=count),
            np.bincount(found.labels[wrong], minlength=count),
            np.bincount(truth.labels[missed], minlength=count),
        ]
        self.extend({"images": np.stack(rows, 1)[None]})

    def classes(self, images: Sequence[int] | None = None) -> np.ndarray:
        """PQ, SQ and RQ [C, 3] of each class; NaN for one neither annotated nor found."""
        count = len(self.categories.names)
        iou, right, wrong, missed = self.total("images", images).T
        total = right + (wrong + missed) / 2
        known = total > 0
        recognition = np.divide(right, total, out=np.full(count, np.nan), where=known)
        quality = np.divide(iou, right, out=np.where(known, 0.0, np.nan), where=right > 0)
        return np.stack([recognition * quality, quality, recognition], 1)

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """pq, sq and rq, also of _things and _stuff, of the images with these numbers or of all."""
        found, things = self.classes(images), self.categories.are_things
        parts = {"": found, "_things": found[things], "_stuff": found[~things]}
        return {
            f"{name}{part}": mean(column)
            for part, classes in parts.items()
            for name, column in zip(("pq", "sq", "rq"), classes.T, strict=True)
        }


def _common_pixels(found: Segments, truth: Segments) -> np.ndarray:
    """Pixels that each pair shares, int64 [S + 1, G + 1]; those of no segment come last."""
    shape = len(found.labels) + 1, len(truth.labels) + 1
    pairs = found.ids * np.int32(shape[1]) + truth.ids
    table = count_values(pairs, shape[0] * shape[1]).reshape(shape)
    return np.roll(table, -1, (0, 1))
