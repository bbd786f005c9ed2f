"""The instance average precision of Cityscapes, which differs from COCO's.

As its official evaluation computes it (cityscapesScripts, instance level): an object is found by
more than the threshold's IoU, groups and objects of fewer than 100 pixels are ignored, of several
masks on one object the most certain is right and the others are wrong, and the area below the
curve of precision over recall is measured at every score rather than at 101 recalls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jointseg_core.classes import UNLABELLED
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from training.metrics.overlaps import SharedPixels, as_array, covered
from training.metrics.resampling import image_weights

IOUS = np.arange(0.5, 1.0, 0.05)
MIN_PIXELS = 100
"""Objects of fewer pixels are ignored."""


class CityscapesPrecision:
    """Collects the masks of many images, then scores all or some of them together.

    names: the things, in the order of their labels.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._parts: list[dict[str, np.ndarray]] = []  # as `columns` has them
        self._images = 0

    def __len__(self) -> int:
        """How many images there are."""
        return self._images

    def add(
        self,
        predictions: Predictions,
        target: Target,
        void: np.ndarray | None = None,
        shared: SharedPixels | None = None,
    ) -> None:
        """One more image; crowds of the target are its groups.

        void: bool [H, W], what is annotated but not as one of the classes; without it, the pixels
        that the target's class map calls unlabelled. shared: of both, where it is known already.
        ValueError when the results have no masks.
        """
        if predictions.masks is None:
            raise ValueError("the results have no masks")
        shared = shared or SharedPixels.of(predictions, target)
        void = _unlabelled(target) if void is None else void
        pair = _Pair.of(predictions, target, void, shared).that_show()
        judged = {
            int(label) * len(IOUS) + level: one
            for label in np.unique(pair.labels)
            for level, one in enumerate(pair.only(label).judge(IOUS.tolist()))
        }
        counts = [len(scores) for scores, _ in judged.values()]
        self.extend(
            {
                "sought": np.bincount(pair.wanted[pair.sought], minlength=len(self.names))[None],
                "image": np.zeros(sum(counts), np.int32),
                "cell": np.repeat(np.array(list(judged), np.int32), counts),
                "scores": np.concatenate([np.zeros(0), *(one for one, _ in judged.values())]),
                "right": np.concatenate([np.zeros(0, bool), *(one for _, one in judged.values())]),
            }
        )

    def columns(self) -> dict[str, np.ndarray]:
        """All that the scores come from, to be given to `extend` elsewhere.

        sought [I, K] objects of each class in each image; and of every detection that counts for a
        class and IoU (cell = 10 class + place of the IoU), in the order of cells: image, scores,
        whether it is right.
        """
        if len(self._parts) != 1:
            none = {"image": np.int32, "cell": np.int32, "scores": float, "right": bool}
            parts = [{name: np.zeros(0, kind) for name, kind in none.items()}, *self._parts]
            whole = {name: np.concatenate([part[name] for part in parts]) for name in none}
            order = np.argsort(whole["cell"], kind="stable")
            sought = [np.zeros((0, len(self.names)), np.int64), *(p["sought"] for p in self._parts)]
            whole = {name: values[order] for name, values in whole.items()}
            self._parts = [{"sought": np.concatenate(sought), **whole}]
        return self._parts[0]

    def extend(self, columns: Mapping[str, np.ndarray]) -> None:
        """The images of another one, behind those that are here."""
        self._parts.append({**columns, "image": columns["image"] + np.int32(self._images)})
        self._images += len(columns["sought"])

    def classes(self, images: Sequence[int] | None = None) -> np.ndarray:
        """Average precision [classes, 10 IoUs]; NaN for a class without objects."""
        columns, weights = self.columns(), image_weights(images, len(self))
        sought = np.tensordot(weights, columns["sought"], 1)
        found = np.full((len(self.names), len(IOUS)), np.nan)
        ends = np.searchsorted(columns["cell"], np.arange(found.size + 1))
        for label, level in np.ndindex(found.shape):
            if sought[label]:
                place = label * len(IOUS) + level
                mine = slice(ends[place], ends[place + 1])
                detections = (columns[name][mine] for name in ("scores", "right", "image"))
                found[label, level] = _area_below(*detections, weights, sought[label])
        return found

    def score(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """cityscapes_ap and cityscapes_ap50, of the images with these numbers or of all."""
        found = self.classes(images)
        known = found[~np.isnan(found[:, 0])]
        means = (known.mean(), known[:, 0].mean()) if len(known) else (float("nan"),) * 2
        return dict(zip(("cityscapes_ap", "cityscapes_ap50"), map(float, means), strict=True))


@dataclass(frozen=True, eq=False)
class _Pair:
    """Detections [D] and objects [G] of an image, and the pixels that they share."""

    scores: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray  # [D]
    in_void: np.ndarray  # [D]
    wanted: np.ndarray  # labels [G]
    groups: np.ndarray  # [G]
    sizes: np.ndarray  # [G]
    common: np.ndarray  # [D, G], of pairs of a class

    @classmethod
    def of(
        cls, found: Predictions, target: Target, void: np.ndarray, shared: SharedPixels
    ) -> _Pair:
        return cls(
            as_array(found.scores),
            as_array(found.labels),
            shared.found,
            covered(found.masks, void),
            as_array(target.labels),
            as_array(target.crowd),
            shared.truth,
            shared.common,
        )

    def only(self, label: int) -> _Pair:
        """The detections and objects of one class."""
        return self._chosen(self.labels == label, self.wanted == label)

    def that_show(self) -> _Pair:
        """The detections that have any pixel, and all objects."""
        return self._chosen(self.pixels > 0, np.ones(len(self.wanted), bool))

    def _chosen(self, mine: np.ndarray, theirs: np.ndarray) -> _Pair:
        found = (v[mine] for v in (self.scores, self.labels, self.pixels, self.in_void))
        objects = (v[theirs] for v in (self.wanted, self.groups, self.sizes))
        return _Pair(*found, *objects, self.common[np.ix_(mine, theirs)])

    @property
    def sought(self) -> np.ndarray:
        """Which objects are not ignored [G]."""
        return ~self.groups & (self.sizes >= MIN_PIXELS)

    def judge(self, thresholds: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each threshold scores and whether they are right [n], of detections that count."""
        overlaps = self.common / (self.pixels[:, None] + self.sizes - self.common)
        twice = self.groups.astype(int) + (self.sizes < MIN_PIXELS)  # a small group counts as both
        excused = (self.in_void + self.common @ twice) / self.pixels
        sought = self.sought
        for threshold in thresholds:
            over = overlaps > threshold
            lost = ~over.any(1) & (excused <= threshold)
            claimed = [column for column in over[:, sought].T if column.any()]
            claims = [np.sort(self.scores[column])[::-1] for column in claimed]
            wrong = [*(claim[1:] for claim in claims), self.scores[lost]]
            scores = np.concatenate([*(claim[:1] for claim in claims), *wrong])
            yield scores, np.arange(len(scores)) < len(claims)


def _unlabelled(target: Target) -> np.ndarray:
    if target.semantic is None:
        return np.zeros(tuple(target.masks.shape[1:]), bool)
    return as_array(target.semantic) == UNLABELLED


def _area_below(
    scores: np.ndarray, right: np.ndarray, images: np.ndarray, weights: np.ndarray, sought: float
) -> float:
    """The area below precision over recall, by trapezoids between the scores that occur.

    scores, right, images [n]: of the detections; weights: how often each image counts.
    """
    order = np.argsort(-scores)
    weight = weights[images[order]]
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = (weight * right[order]).cumsum()[last]
    made = weight.cumsum()[last]
    hits, made = hits[made > 0], made[made > 0]
    recall = np.append(0.0, hits / sought)
    precision = np.append(1.0, hits / made)
    return float(np.dot(np.diff(recall), precision[1:] + precision[:-1]) / 2)
