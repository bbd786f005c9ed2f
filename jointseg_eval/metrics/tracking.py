"""How well tracks follow objects: HOTA, IDF1 and MOTA.

Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking (2021); Ristani et
al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking (2016); Bernardin
and Stiefelhagen, Evaluating Multiple Object Tracking Performance (2008). The numbers are those of
the published TrackEval; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jointseg_objects.assignment import assign

ALPHAS = np.arange(0.05, 0.99, 0.05)
SAME = 0.5
"""IoU from which MOTA and IDF1 take a box for an object's."""
_ALMOST = np.finfo(float).eps
_FAITHFUL = 1000.0  # worth more than any overlap: an object keeps the track of the frame before


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The true and the found objects of a frame, by the numbers of those they belong to.

    true      int [G]       which object, from 0 on, each once
    found     int [D]       which track, from 0 on, each once
    likeness  float [G, D]  IoU; 0 for pairs of two classes
    """

    true: np.ndarray
    found: np.ndarray
    likeness: np.ndarray


def track_scores(recordings: Sequence[Sequence[TrackedFrame]]) -> dict[str, float]:
    """Scores over recordings, whose objects and tracks are numbered on their own each.

    hota, det_a and ass_a are means over IoUs of 0.05, 0.1 ... 0.95; mota and idf1 are at 0.5.
    NaN where there is nothing to score.
    """
    hota = sum((_hota_counts(frames) for frames in recordings), np.zeros((2, len(ALPHAS))))
    clear = sum((_clear_counts(frames) for frames in recordings), np.zeros(3))
    right = sum(_identity_count(frames) for frames in recordings)
    objects = sum(len(_count([f.true for f in frames])) for frames in recordings)
    found, total = (
        sum(getattr(f, name).size for frames in recordings for f in frames)
        for name in ("found", "true")
    )
    if not total:
        return dict.fromkeys(SCORES, np.nan)
    (hits, shares), (matched, wrong, switches) = hota, clear
    det_a = hits / np.maximum(total + found - hits, 1)
    ass_a = shares / np.maximum(hits, 1)
    return {
        "hota": float(np.sqrt(det_a * ass_a).mean()),
        "det_a": float(det_a.mean()),
        "ass_a": float(ass_a.mean()),
        "mota": float((matched - wrong - switches) / total),
        "idf1": float(2 * right / (total + found)),
        "objects": float(objects),
        "id_switches": float(switches),
        "id_switches_per_object": float(switches / objects),
    }


SCORES = (
    *("hota", "det_a", "ass_a", "mota", "idf1"),
    *("objects", "id_switches", "id_switches_per_object"),
)


def _count(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """How often each number occurs."""
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *numbers]))


def _hota_counts(frames: Sequence[TrackedFrame]) -> np.ndarray:
    """For each alpha the matches, and the sum over them of how well their whole tracks agree."""
    true, found = _count([f.true for f in frames]), _count([f.found for f in frames])
    together: dict[tuple[int, int], float] = {}
    for frame in frames:
        union = frame.likeness.sum(1)[:, None] + frame.likeness.sum(0) - frame.likeness
        for g, d in zip(*frame.likeness.nonzero(), strict=True):
            pair = int(frame.true[g]), int(frame.found[d])
            share = frame.likeness[g, d] / union[g, d]
            together[pair] = together.get(pair, 0.0) + share
    alike = {(g, d): n / (true[g] + found[d] - n) for (g, d), n in together.items()}
    matches: dict[tuple[int, int], np.ndarray] = {}
    for frame in frames:
        worth = frame.likeness.copy()
        for g, d in zip(*worth.nonzero(), strict=True):
            worth[g, d] *= alike[int(frame.true[g]), int(frame.found[d])]
        for g, d in zip(*assign(worth), strict=True):
            pair = int(frame.true[g]), int(frame.found[d])
            near = frame.likeness[g, d] >= ALPHAS - _ALMOST
            matches[pair] = matches.get(pair, 0) + near
    counts = np.zeros((2, len(ALPHAS)))
    for (g, d), n in matches.items():
        counts += n, n * n / np.maximum(true[g] + found[d] - n, 1)
    return counts


def _clear_counts(frames: Sequence[TrackedFrame]) -> np.ndarray:
    """Matches, found boxes without one, and objects that another track takes over."""
    latest: dict[int, int] = {}
    before: dict[int, int] = {}  # of the frame before
    counts = np.zeros(3)
    for frame in frames:
        counts[1] += len(frame.found)
        if not (len(frame.true) and len(frame.found)):
            continue
        true, found = frame.true.tolist(), frame.found.tolist()
        kept = np.array([[before.get(g) == d for d in found] for g in true])
        near = frame.likeness >= SAME - _ALMOST
        pairs = assign(np.where(near, frame.likeness + _FAITHFUL * kept, 0))
        before = {true[g]: found[d] for g, d in zip(*pairs, strict=True)}
        counts += len(before), -len(before), sum(latest.get(g, d) != d for g, d in before.items())
        latest |= before
    return counts


def _identity_count(frames: Sequence[TrackedFrame]) -> float:
    """Matches when each object belongs to one track for good, and each track to one object."""
    worth = np.zeros([len(_count([getattr(f, n) for f in frames])) for n in ("true", "found")])
    for frame in frames:
        g, d = (frame.likeness >= SAME).nonzero()
        worth[frame.true[g], frame.found[d]] += 1
    return float(worth[assign(worth)].sum())
