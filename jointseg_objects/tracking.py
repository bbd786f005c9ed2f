"""Objects that stay the same from frame to frame: ByteTrack (Zhang et al., ECCV 2022).

Certain objects continue tracks first, by how their boxes overlap those that are expected; what then
is left of the less certain ones continues tracks that were seen in the frame before. Boxes are
expected by a Kalman filter in which each side moves at a speed of its own, so that what comes near
grows; in seconds, because frames may be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jointseg_core.predictions import Predictions
from jointseg_objects.assignment import assign

_PLACE_NOISE = 0.05  # of a box's side, in widths and heights of the box (standard deviation)
_ACCELERATION = 1.0  # the same in a second, a second
_SPEED_AT_FIRST = 1.0  # the same in a second


@dataclass(frozen=True)
class TrackingConfig:
    """How objects are followed; chosen on synthetic drives (`python -m demo.tracking`).

    low_score   less certain objects are of no track
    high_score  less certain objects continue tracks, and begin none
    least       IoU with the expected box times score from which a certain object is the same
    least_low   IoU from which a less certain object is the same
    max_gap_s   so long a track lives without being seen
    """

    low_score: float = 0.1
    high_score: float = 0.4
    least: float = 0.1
    least_low: float = 0.3
    max_gap_s: float = 1.0


class Tracker:
    """The tracks of one camera; call it with what was found in one frame after the other."""

    def __init__(self, config: TrackingConfig | None = None) -> None:
        self.config = config or TrackingConfig()
        self._newest = 0
        self.reset()

    def reset(self) -> None:
        """Forget every track; ids go on and never come back."""
        self._ids = self._labels = self._seen = np.zeros(0, np.int64)
        self._motion = _Motion(np.zeros((0, 4)))
        self._stamp = -1

    def __call__(self, stamp: int, found: Predictions) -> np.ndarray:
        """The track of each object, int64 [N] from 1 on; 0 for one that is of none.

        stamp: of the frame, in ns. One that is not later than the last is a clock that jumped, or
        another recording: everything is forgotten. Objects of two classes are never the same.
        """
        boxes, scores, labels = (
            v.cpu().numpy() for v in (found.boxes.double(), found.scores, found.labels)
        )
        last, self._stamp = self._stamp, stamp
        if stamp <= last:
            self.reset()
            self._stamp = stamp
        self._keep(stamp - self._seen <= 1e9 * self.config.max_gap_s)
        self._motion.go_on((stamp - last) / 1e9, self._seen < last)
        tracks, objects = self._pairs(boxes, scores, labels, last)
        ids = np.zeros(len(scores), np.int64)
        ids[objects] = self._ids[tracks]
        self._motion.correct(tracks, boxes[objects])
        self._seen[tracks] = stamp
        self._begin(ids, (ids == 0) & (scores >= self.config.high_score), boxes, labels)
        return ids

    def _pairs(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and the objects that continue them."""
        config, certain = self.config, scores >= self.config.high_score
        likeness = _overlaps(self._motion.place, boxes) * (self._labels[:, None] == labels)
        worth = np.where(certain, likeness * scores, 0)
        tracks, objects = assign(np.where(worth >= config.least, worth, 0))
        likeness[:, certain | (scores < config.low_score)] = 0
        likeness[tracks] = likeness[self._seen < last] = 0
        more = assign(np.where(likeness >= config.least_low, likeness, 0))
        return np.concatenate([tracks, more[0]]), np.concatenate([objects, more[1]])

    def _begin(
        self, ids: np.ndarray, new: np.ndarray, boxes: np.ndarray, labels: np.ndarray
    ) -> None:
        ids[new] = self._newest + 1 + np.arange(new.sum())
        self._newest += int(new.sum())
        self._ids = np.concatenate([self._ids, ids[new]])
        self._labels = np.concatenate([self._labels, labels[new]])
        self._seen = np.concatenate([self._seen, np.full(new.sum(), self._stamp)])
        self._motion.add(_Motion(boxes[new]))

    def _keep(self, kept: np.ndarray) -> None:
        self._ids, self._labels, self._seen = (
            v[kept] for v in (self._ids, self._labels, self._seen)
        )
        self._motion.keep(kept)


class _Motion:
    """The sides of T boxes, their speeds in a second, and (co)variances of the two: [T, 4] each."""

    def __init__(self, boxes: np.ndarray) -> None:
        self.place, self.speed = boxes.copy(), np.zeros_like(boxes)
        self.var_place = (_PLACE_NOISE * _sizes(boxes)) ** 2
        self.covariance = np.zeros_like(boxes)
        self.var_speed = (_SPEED_AT_FIRST * _sizes(boxes)) ** 2

    def keep(self, kept: np.ndarray) -> None:
        vars(self).update({name: values[kept] for name, values in vars(self).items()})

    def add(self, other: _Motion) -> None:
        new = vars(other)
        vars(self).update({k: np.concatenate([v, new[k]]) for k, v in vars(self).items()})

    def go_on(self, seconds: float, lost: np.ndarray) -> None:
        """To the next frame; boxes that are not seen, bool [T], keep their size."""
        middle = (self.speed[lost, :2] + self.speed[lost, 2:]) / 2
        self.speed[lost] = np.concatenate([middle, middle], 1)
        push = (_ACCELERATION * _sizes(self.place)) ** 2
        self.place += self.speed * seconds
        self.var_place += 2 * seconds * self.covariance + seconds**2 * self.var_speed
        self.var_place += push * seconds**4 / 4
        self.covariance += seconds * self.var_speed + push * seconds**3 / 2
        self.var_speed += push * seconds**2

    def correct(self, which: np.ndarray, boxes: np.ndarray) -> None:
        """By what was seen of some."""
        noise = (_PLACE_NOISE * _sizes(boxes)) ** 2
        var, covariance = self.var_place[which], self.covariance[which]
        gain, speed_gain = var / (var + noise), covariance / (var + noise)
        off = boxes - self.place[which]
        self.place[which] += gain * off
        self.speed[which] += speed_gain * off
        self.var_speed[which] -= speed_gain * covariance
        self.covariance[which] = (1 - gain) * covariance
        self.var_place[which] = (1 - gain) * var


def _sizes(boxes: np.ndarray) -> np.ndarray:
    """For each side [T, 4] how wide or high its box is, a pixel at least."""
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    return np.concatenate([sizes, sizes], 1)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU [T, N] of boxes [T, 4] and [N, 4]; 0 with one that is empty or turned inside out."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    common = (np.minimum(boxes[:, None, 2:], others[:, 2:]) - low).clip(0).prod(2)
    areas, theirs = ((b[:, 2:] - b[:, :2]).clip(0).prod(1) for b in (boxes, others))
    shares: np.ndarray = common / np.maximum(areas[:, None] + theirs - common, 1e-9)
    return shares
