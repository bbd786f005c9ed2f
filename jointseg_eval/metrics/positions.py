"""How well objects are placed in space: position and size by distance, and how many are placed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jointseg_eval.metrics.columns import ImageColumns
from jointseg_eval.metrics.confusion_matrix import MIN_IOU, MIN_SCORE
from jointseg_eval.metrics.matching import match
from jointseg_eval.metrics.overlaps import box_overlaps

EDGES = (0, 10, 20, 40)
"""Metres at which a range begins; the last one has no end."""
RANGES = (*(f"{a}_{b}_m" for a, b in pairwise(EDGES)), f"{EDGES[-1]}_m_up")
SIDES = ("width", "height", "length")
"""Of a box along x, y and z of the camera."""


@dataclass(frozen=True, eq=False)
class PlacedObjects:
    """N objects of a picture in space; metres in the camera's optical frame.

    labels     int [N]
    scores     float [N]
    boxes      [N, 4]  in the picture: x1, y1, x2, y2 in pixels
    positions  [N, 3]  of the middle of what is seen of them
    centers    [N, 3]  of the boxes around them
    sizes      [N, 3]  of these boxes along x, y and z
    """

    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    positions: np.ndarray
    centers: np.ndarray
    sizes: np.ndarray


class PositionErrors(ImageColumns):
    """Collects the objects of many pictures, then tells how well they were placed.

    A true object is found by an object of its class with a score of 0.3 or more whose box in the
    picture overlaps its own by an IoU of 0.5 or more; each finds one, the most certain first.
    Columns: shown int [I, 2], objects with such a score in the picture and in space; of true
    objects image, distance [M], and the errors in m, NaN where they were not found: position [M],
    center [M], size [M, 3].
    """

    def __init__(self) -> None:
        none = np.zeros(0)
        super().__init__(
            shown=np.zeros((0, 2), np.int64),
            image=none.astype(np.int32),
            **{"distance": none, "position": none, "center": none, "size": np.zeros((0, 3))},
        )

    def add(self, found: PlacedObjects, shown: int, truth: PlacedObjects) -> None:
        """One more picture, in which so many objects have a score of 0.3 or more."""
        finder, certain = _finders(found, truth), int((found.scores >= MIN_SCORE).sum())
        missed = np.where(finder < 0, np.nan, 0.0)
        self.extend(
            {
                "shown": np.array([[shown, certain]]),
                "image": np.zeros(len(finder), np.int32),
                "distance": np.linalg.norm(truth.positions, axis=1),
                "position": _apart(found.positions, truth.positions, finder) + missed,
                "center": _apart(found.centers, truth.centers, finder) + missed,
                "size": np.abs(_of(found.sizes, finder) - truth.sizes) + missed[:, None],
            }
        )

    def score(self) -> dict[str, float]:
        """What is known by now; NaN where there is no object.

        Errors are medians over the objects that were found: position_error_0_10_m ... and
        center_error_0_10_m ... as shares of the distance, width_error_m, height_error_m and
        length_error_m. placed_0_10_m ... are the shares of true objects that were found in space,
        objects_0_10_m ... their numbers; placed_of_shown is the share of those shown in the picture
        that have a place.
        """
        columns = self.columns()
        far = columns["distance"]
        ends = (*EDGES[1:], np.inf)
        within = {r: (far >= a) & (far < b) for r, a, b in zip(RANGES, EDGES, ends, strict=True)}
        within["up_to_40_m"] = far < EDGES[-1]
        known = ~np.isnan(columns["position"])
        found: dict[str, float] = {}
        for name in ("position", "center"):
            share = columns[name] / far
            found |= {f"{name}_error_{r}": _median(share[w & known]) for r, w in within.items()}
        found |= {
            f"placed_{r}": float(known[w].mean()) if w.any() else np.nan for r, w in within.items()
        }
        found |= {f"objects_{r}": float(w.sum()) for r, w in within.items()}
        for name, errors in zip(SIDES, columns["size"].T, strict=True):
            found[f"{name}_error_m"] = _median(errors[known])
        shown, placed = self.total("shown")
        return found | {"placed_of_shown": float(placed / shown) if shown else np.nan}


def _finders(found: PlacedObjects, truth: PlacedObjects) -> np.ndarray:
    """Which of the found objects finds each of the true ones, int [M]; -1 where none does."""
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= MIN_SCORE]
    finder, crowd = np.full(len(truth.labels), -1), np.zeros(len(truth.labels), bool)
    same = found.labels[order][:, None] == truth.labels
    overlaps = np.where(same, box_overlaps(found.boxes[order], truth.boxes, crowd), -1)
    matched = match(overlaps, crowd[None], crowd, np.array([MIN_IOU]))[0, 0]
    finder[matched[matched >= 0]] = order[matched >= 0]
    return finder


def _of(values: np.ndarray, finder: np.ndarray) -> np.ndarray:
    """The rows [M, 3] of those that find the true objects; the last where none does."""
    return np.concatenate([values, np.zeros((1, 3))])[finder]


def _apart(found: np.ndarray, true: np.ndarray, finder: np.ndarray) -> np.ndarray:
    return np.linalg.norm(_of(found, finder) - true, axis=1)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
