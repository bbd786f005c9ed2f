"""Objects that come or go for a single frame: what annoys before it costs any AP."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

SAME_IOU = 0.3
"""Objects of a class that overlap more, in frames next to each other, are the same one."""


def flicker(
    bag: np.ndarray, seen: np.ndarray, frame: np.ndarray, label: np.ndarray, box: np.ndarray
) -> np.ndarray:
    """The share of objects that each of F frames adds or lacks against both its neighbours [F].

    Of the objects in the frame and of those that are in both neighbours, how many are in this one
    alone, or in the neighbours alone. NaN for a frame without two neighbours of its recording, or
    where there is no such object.

    bag    int [F]       the recording of each frame
    seen   bool [F]      whether there is a result
    frame  int [D]       the frame of each object, ascending
    label  int [D]       its class
    box    float [D, 4]  xyxy
    """
    found = np.full(len(bag), np.nan)
    starts = np.searchsorted(frame, np.arange(len(bag) + 1))
    objects = [slice(a, b) for a, b in pairwise(starts)]
    for k in range(1, len(bag) - 1):
        if bag[k - 1] == bag[k + 1] and seen[k - 1 : k + 2].all():
            before, now, after = ((label[objects[i]], box[objects[i]]) for i in (k - 1, k, k + 1))
            around = _same(before, after).any(1)
            missed = around & ~_same(before, now).any(1) & ~_bridged(before, after, now)
            alone = ~_same(now, before).any(1) & ~_same(now, after).any(1)
            total = len(now[0]) + int(missed.sum())
            found[k] = (int(alone.sum()) + int(missed.sum())) / total if total else np.nan
    return found


def _bridged(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    now: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Which objects before are, by the one that they are after, also in the frame between."""
    return (_same(before, after) & _same(after, now).any(1)).any(1)


def _same(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which objects of two frames are of one class and overlap, bool [A, B]."""
    (labels, boxes), (others, theirs) = a, b
    low = np.maximum(boxes[:, None, :2], theirs[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], theirs[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas, their_areas = ((v[:, 2:] - v[:, :2]).clip(0).prod(1) for v in (boxes, theirs))
    union = areas[:, None] + their_areas - common
    return (labels[:, None] == others) & (common > SAME_IOU * union)
