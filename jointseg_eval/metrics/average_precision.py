"""COCO's average precision of boxes and of masks, over all images or any list of them.

Lin et al., Microsoft COCO, as its tools compute it: 101 recall points, IoU 0.50 to 0.95, at most
100 detections of a class in an image, crowds ignored. Every image is matched once, of which some
bits are kept for each detection. Scoring any list of images then only accumulates, so that a
thousand resamples take seconds, and an hour of video fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jointseg_core.errors import BadInput
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.metrics.columns import (
    Columns,
    ImageColumns,
    as_one,
    image_weights,
    mean,
    part_of,
)
from jointseg_eval.metrics.matching import AREAS, IOUS, RECALLS, are_outside, match
from jointseg_eval.metrics.overlaps import SharedPixels, as_array, box_overlaps, object_areas

Kind = Literal["box", "mask"]
KINDS: tuple[Kind, ...] = ("box", "mask")
BITS = (1 << np.arange(len(IOUS), dtype=np.uint16))[:, None]


@dataclass(frozen=True)
class Precision:
    """Average precision over all classes that occur; NaN where nothing of the kind occurs.

    ap is the mean over IoU 0.50, 0.55 ... 0.95, and by_iou holds those ten; ap50 and ap75 are at
    one IoU; small, medium and large are ap for objects up to 32 x 32, up to 96 x 96, and larger;
    recall is the mean best recall over the same IoUs (COCO's AR with 100 detections); `classes`
    holds for each name (ap, ap50, number of objects).
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    classes: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    recall: float = float("nan")
    by_iou: tuple[float, ...] = ()

    def named(self, kind: Kind) -> dict[str, float]:
        """box_ap, box_ap50 ... box_ar_100, or the same of masks."""
        values = {
            "ap": self.ap,
            "ap50": self.ap50,
            "ap75": self.ap75,
            "ap_small": self.small,
            "ap_medium": self.medium,
            "ap_large": self.large,
            "ar_100": self.recall,
        }
        return {f"{kind}_{name}": value for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Ranking:
    """All detections that count for one class, area and IoU, best first.

    images  [n]  where they were made
    hits    [h]  positions of the right ones
    """

    images: np.ndarray
    hits: np.ndarray

    def curve(self, weights: np.ndarray, sought: float) -> tuple[np.ndarray, float]:
        """Precision at the 101 recalls, and the highest recall; images count by their weights."""
        weights = weights[self.images]
        right = weights[self.hits].cumsum()
        made = weights.cumsum()[self.hits]
        precision = right / (made + np.spacing(1))
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        recall = right / sought
        return envelope[np.searchsorted(recall, RECALLS)], recall[-1] if len(recall) else 0.0


class MatchResults(ImageColumns):
    """Which detections of images are right, and how many objects were sought.

    sought   int [I, K, A]  objects of each of K classes that count in each of I images
    image    int [D]        where a detection was made, ascending
    label    int [D]        its class; of an image and class, the best detection first
    score    float [D]
    hits     uint16 [D, A]  bit t: right at IoU t, among objects of each of A areas
    counted  uint16 [D, A]  bit t: counts, right or wrong
    """

    def __init__(self, classes: int) -> None:
        areas = len(AREAS)
        super().__init__(
            sought=np.zeros((0, classes, areas), np.int32),
            image=np.zeros(0, np.int32),
            label=np.zeros(0, np.int16),
            score=np.zeros(0, np.float32),
            hits=np.zeros((0, areas), np.uint16),
            counted=np.zeros((0, areas), np.uint16),
        )
        self._shape = (classes, areas)
        self._rankings: dict[tuple[int, int, int], Ranking] | None = None
        self._of_all: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        areas: np.ndarray,
        overlaps: np.ndarray,
        objects: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """One more image.

        labels, scores, areas [D]: of the detections, those of a class together and the best first.
        overlaps [D, G]: their IoU with objects; below 0 where these are of another class.
        objects: labels, areas and crowd [G].
        """
        wanted, sizes, crowd = objects
        excused = crowd | are_outside(sizes)  # [A, G]
        matched = match(overlaps, excused, crowd, IOUS)  # [A, T, D]
        hit = matched >= 0
        no = np.zeros((len(AREAS), 1), bool)
        by_match = np.take_along_axis(np.append(excused, no, 1)[:, None], matched, 2)
        counted = ~np.where(hit, by_match, are_outside(areas)[:, None])
        sought = np.zeros((1, *self._shape), np.int32)
        np.add.at(sought[0], wanted, (~excused).T)
        self.extend(
            {
                "image": np.zeros(len(labels), np.int32),
                "label": labels.astype(np.int16),
                "score": scores.astype(np.float32),
                "hits": (hit * BITS).sum(1).T.astype(np.uint16),
                "counted": (counted * BITS).sum(1).T.astype(np.uint16),
                "sought": sought,
            }
        )

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        super().extend(columns)
        self._rankings = self._of_all = None

    def whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as `of`, of every image once; kept, since tables and curves ask often."""
        if self._of_all is None:
            self._of_all = self._accumulated(np.ones(len(self)), self._ranked())
        return self._of_all

    def of(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision over recall [K, A, T, 101], highest recall [K, A, T] and objects [K, A].

        weights [I]: how often each image counts. NaN where no object counts.
        """
        if self._rankings is None:
            self._rankings = dict(self._ranked())  # kept, since resamples ask often
        return self._accumulated(weights, self._rankings.items())

    def _accumulated(
        self, weights: np.ndarray, rankings: Iterable[tuple[tuple[int, int, int], Ranking]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `of` tells."""
        sought = np.tensordot(weights, self.columns()["sought"], 1)
        shape = *sought.shape, len(IOUS)
        curves, recall = np.full((*shape, len(RECALLS)), np.nan), np.full(shape, np.nan)
        for one, ranking in rankings:
            if objects := sought[one[:2]]:
                curves[one], recall[one] = ranking.curve(weights, objects)
        return curves, recall, sought

    def _ranked(self) -> Iterator[tuple[tuple[int, int, int], Ranking]]:
        """By class, area and IoU, all that counts; together they are many times the columns."""
        columns = self.columns()
        order = np.argsort(-columns["score"], kind="stable")
        labels = columns["label"][order]
        for label in range(columns["sought"].shape[1]):
            mine = order[labels == label]
            images = columns["image"][mine]
            for area, level in np.ndindex(len(AREAS), len(IOUS)):
                hits, counted = (columns[k][mine, area] >> level & 1 for k in ("hits", "counted"))
                kept = np.flatnonzero(counted)
                yield (label, area, level), Ranking(images[kept], np.flatnonzero(hits[kept]))


class AveragePrecision:
    """Collects the objects of many images, then scores all or some of them together.

    names: the things, in the order of their labels. Detections below score 0.05 should be
    absent, all others present: cutting higher lowers the result.
    """

    def __init__(self, names: Sequence[str], limit: int = 100) -> None:
        self.names = tuple(names)
        self.has_masks = False
        self._limit = limit
        self._matches = {kind: MatchResults(len(self.names)) for kind in KINDS}

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._matches["box"])

    def add(
        self,
        predictions: Predictions,
        target: Target,
        areas: Tensor | None = None,
        shared: SharedPixels | None = None,
    ) -> None:
        """One more image; crowds of the target are ignored rather than sought.

        So are, of masks, objects whose box alone is known.

        areas [N]: pixels of the objects as annotated; without them, those of their masks.
        shared: of both, where it is known already. ValueError when sizes differ or a score is not
        a number.
        """
        size = tuple(predictions.image_size)
        if len(target.labels) and tuple(target.masks.shape[1:]) != size:
            raise ValueError(f"target is {tuple(target.masks.shape[1:])}, predictions {size}")
        if not bool(torch.isfinite(predictions.scores).all()):
            raise BadInput("a score of what was found is not a finite number; check the weights")
        labels, scores = as_array(predictions.labels), as_array(predictions.scores)
        wanted, crowd = as_array(target.labels), as_array(target.crowd)
        best = self._best(labels, scores)
        same = labels[best, None] == wanted

        def add(kind: Kind, sizes: np.ndarray, overlaps: np.ndarray, crowd: np.ndarray) -> None:
            counted = best[: len(sizes)]  # none of the masks that results do not have
            known = np.where(same[: len(sizes)], overlaps, -1)
            objects = wanted, object_areas(target, areas), crowd
            self._matches[kind].add(labels[counted], scores[counted], sizes, known, objects)

        boxes = as_array(predictions.boxes)[best]
        sides = boxes[:, 2:] - boxes[:, :2]
        overlaps = box_overlaps(boxes, as_array(target.boxes), crowd)
        add("box", sides[:, 0] * sides[:, 1], overlaps, crowd)
        if predictions.masks is None:
            add("mask", np.zeros(0), overlaps[:0], crowd)
        else:
            self.has_masks = True
            shared = shared or SharedPixels.of(predictions, target)
            found = shared.overlaps(crowd)
            alone = as_array(target.boxes_alone())
            found[:, alone] = shared.found.shares(as_array(target.boxes)[alone])
            add("mask", shared.found.areas[best], found[best], crowd | alone)

    def boxes(self, images: Sequence[int] | None = None) -> Precision:
        """Precision by the overlap of boxes, of the images with these numbers or of all."""
        return self._score("box", images)

    def masks(self, images: Sequence[int] | None = None) -> Precision:
        """Precision by the overlap of masks; images whose results have none count as missed."""
        return self._score("mask", images)

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """All numbers by name, of the images with these numbers, repeats allowed, or of all.

        Those of masks only where some result had one.
        """
        masks = self.masks(images).named("mask") if self.has_masks else {}
        return {**self.boxes(images).named("box"), **masks}

    def curve(self, kind: Kind, label: int, iou: float = 0.5) -> np.ndarray:
        """Precision [101] of one class over recall 0, 0.01 ... 1; NaN where it does not occur."""
        curves, _, _ = self._matches[kind].whole()
        return curves[label, 0, int(np.abs(IOUS - iou).argmin())]

    def columns(self) -> Columns:
        """All that the scores come from, to be given to `extend` elsewhere."""
        kinds = {kind: matches.columns() for kind, matches in self._matches.items()}
        return {"has_masks": np.array(self.has_masks), **as_one(kinds)}

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        for kind, matches in self._matches.items():
            matches.extend(part_of(columns, kind))
        self.has_masks |= bool(columns["has_masks"])

    def _best(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The detections of each class that count, those of a class together, the best first."""
        order = np.lexsort((-scores, labels))
        first = np.searchsorted(labels[order], labels[order])
        return order[np.arange(len(order)) - first < self._limit]

    def _score(self, kind: Kind, images: Sequence[int] | None) -> Precision:
        matches, weights = self._matches[kind], image_weights(images, len(self))
        curves, recall, sought = matches.whole() if images is None else matches.of(weights)
        return self._summary(curves.mean(-1), recall, sought[:, 0])

    def _summary(self, ap: np.ndarray, recall: np.ndarray, counts: np.ndarray) -> Precision:
        """From numbers [classes, areas, IoUs], NaN for no such objects."""
        classes = {
            name: (mean(ap[k, 0]), float(ap[k, 0, 0]), int(counts[k]))
            for k, name in enumerate(self.names)
        }
        return Precision(
            *(mean(numbers) for numbers in (ap[:, 0], ap[:, 0, 0], ap[:, 0, 5])),
            *(mean(ap[:, area]) for area in (1, 2, 3)),
            classes=classes,
            recall=mean(recall[:, 0]),
            by_iou=tuple(mean(ap[:, 0, level]) for level in range(len(IOUS))),
        )
