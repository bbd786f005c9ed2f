"""Panoptic quality: things and stuff in one picture without overlaps.

Kirillov et al., Panoptic Segmentation (2019). Masks and class maps become one picture by the
heuristic of Panoptic Feature Pyramid Networks (Kirillov et al., 2019, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from training.metrics.overlaps import as_array
from training.metrics.resampling import image_weights

MIN_SCORE = 0.5
"""Less certain objects are left out."""
MIN_VISIBLE = 0.5
"""Objects that show a smaller share of their pixels, behind more certain ones, are left out."""
MIN_STUFF = 0.002
"""Stuff on a smaller share of the picture is left out (4096 pixels of 1024 x 2048)."""


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
        self,
        label: int,
        mask: np.ndarray,
        window: Sequence[int] | None = None,
        crowd: bool = False,
        min_visible: float = 0.0,
    ) -> None:
        """A mask bool [h, w] that lies in a window x1, y1, x2, y2; it is the picture without one.

        Left out when no pixel is free, or less than a share `min_visible` of them.
        """
        x1, y1, x2, y2 = window or (0, 0, *self._ids.shape[::-1])
        part = self._ids[y1:y2, x1:x2]
        free = mask & (part == 0)
        visible = np.count_nonzero(free)
        if visible and visible >= min_visible * np.count_nonzero(mask):
            self._labels.append(label)
            self._crowd.append(crowd)
            part[free] = len(self._labels)

    def fill(self, semantic: np.ndarray, stuff: np.ndarray, min_pixels: float = 1) -> None:
        """Paint what a class map [H, W] shows of the classes `stuff` [S] on enough free pixels."""
        free = np.where(self._ids == 0, semantic, UNLABELLED).astype(np.uint8)
        counts = np.bincount(free.ravel(), minlength=256)
        table = np.zeros(256, np.int32)
        for label in stuff[counts[stuff] >= min_pixels]:
            self._labels.append(int(label))
            self._crowd.append(False)
            table[label] = len(self._labels)
        self._ids += table[free]

    def segments(self) -> Segments:
        """What was painted."""
        return Segments(self._ids, np.array(self._labels, np.int64), np.array(self._crowd, bool))


def merge_segments(found: Predictions, semantic: np.ndarray | None, classes: Classes) -> Segments:
    """One picture from masks and a class map [H, W]: objects first, the most certain on top.

    Pixels that the class map calls things, and that belong to no object, stay free.
    """
    canvas, categories = Canvas(tuple(found.image_size)), Categories.of(classes)
    if found.masks is not None:
        shown = found[found.scores >= MIN_SCORE]
        shown = shown[(-shown.scores).argsort(stable=True)]
        parts = shown.masks.windows.tolist(), shown.masks.crops(), shown.labels.tolist()
        for window, crop, label in zip(*parts, strict=True):
            number = categories.of_things[label]
            canvas.paint(number, as_array(crop), window, min_visible=MIN_VISIBLE)
    if semantic is not None:
        canvas.fill(semantic, categories.stuff, max(1, MIN_STUFF * semantic.size))
    return canvas.segments()


def true_segments(target: Target, classes: Classes) -> Segments:
    """The annotation as one picture; where annotated objects overlap, the smaller one is on top.

    ValueError without a class map: what is no object would count as void then, and excuse anything.
    """
    if target.semantic is None:
        raise ValueError("the target has no class map, without which nothing tells stuff from void")
    canvas, categories = Canvas(tuple(target.masks.shape[1:])), Categories.of(classes)
    crowd, masks = as_array(target.crowd), as_array(target.masks)
    for k in np.lexsort((masks.sum((1, 2)), crowd)):
        number = categories.of_things[int(target.labels[k])]
        canvas.paint(number, masks[k], crowd=bool(crowd[k]))
    canvas.fill(as_array(target.semantic), categories.stuff)
    return canvas.segments()


class PanopticQuality:
    """Collects pictures in segments, then scores all or some of them together."""

    def __init__(self, classes: Classes) -> None:
        self.categories = Categories.of(classes)
        self._images: list[np.ndarray] = []  # per image [C, 4]: sum of IoU, right, wrong, missed

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._images)

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
        self._images.append(np.stack(rows, 1))

    def columns(self) -> dict[str, np.ndarray]:
        """All that the scores come from, to be given to `extend` elsewhere."""
        return {"images": np.reshape(self._images, (-1, len(self.categories.names), 4))}

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        self._images += list(columns["images"])

    def classes(self, images: Sequence[int] | None = None) -> np.ndarray:
        """PQ, SQ and RQ [C, 3] of each class; NaN for one neither annotated nor found."""
        count = len(self.categories.names)
        weights = image_weights(images, len(self))
        sums = np.tensordot(weights, np.reshape(self._images, (-1, count, 4)), 1)
        iou, right, wrong, missed = sums.T
        total = right + (wrong + missed) / 2
        known = total > 0
        recognition = np.divide(right, total, out=np.full(count, np.nan), where=known)
        quality = np.divide(iou, right, out=np.where(known, 0.0, np.nan), where=right > 0)
        return np.stack([recognition * quality, quality, recognition], 1)

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """pq, sq, rq, pq_things and pq_stuff, of the images with these numbers or of all."""
        found, things = self.classes(images), self.categories.are_things
        pq, sq, rq = (_mean(column) for column in found.T)
        parts = {"pq_things": _mean(found[things, 0]), "pq_stuff": _mean(found[~things, 0])}
        return {"pq": pq, "sq": sq, "rq": rq, **parts}


def _common_pixels(found: Segments, truth: Segments) -> np.ndarray:
    """Pixels that each pair shares, int64 [S + 1, G + 1]; those of no segment come last."""
    shape = len(found.labels) + 1, len(truth.labels) + 1
    pairs = found.ids.astype(np.int64) * shape[1] + truth.ids
    table = np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
    return np.roll(table, -1, (0, 1))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
