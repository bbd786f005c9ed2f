"""Objects followed through recordings: what a tracker makes of results that are known already."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.bag_evaluation.truth import Annotation
from jointseg_eval.metrics.columns import Columns, ImageColumns, mean
from jointseg_eval.metrics.overlaps import as_array, box_overlaps
from jointseg_eval.metrics.tracking import SAME, TrackedFrame, track_scores
from jointseg_objects.tracking import Tracker, TrackingConfig

_FOUND, _TRUE, _CROWD = range(3)


class TrackColumns(ImageColumns):
    """The boxes of every frame, found and true, and which object each true one is.

    Columns: of frames stamp int64 and seen bool, whether there is a result; of boxes image, kind
    (found, true, a crowd), label, score, box xyxy, and name, of a true object.
    """

    def __init__(self) -> None:
        none = np.zeros(0, np.int64)
        super().__init__(
            **{"stamp": none, "seen": none.astype(bool)},
            **{"image": none.astype(np.int32), "kind": none, "label": none, "score": none * 1.0},
            **{"box": np.zeros((0, 4)), "name": np.zeros(0, str)},
        )

    def add(self, stamp: int, found: Predictions | None, truth: Annotation | None) -> None:
        """The next frame of a recording; None where there is no result or no annotation."""
        parts = [_rows(_FOUND, found.labels, found.boxes, found.scores)] if found else []
        if truth is not None and truth.ids is not None:
            target = truth.target
            kinds = np.where(as_array(target.crowd), _CROWD, _TRUE)
            names = np.array([*truth.ids, *[""] * (len(kinds) - len(truth.ids))], str)
            ones = torch.ones(len(kinds))
            parts.append(_rows(kinds, target.labels, target.boxes, ones, names))
        rows = parts or [_rows(_FOUND, torch.zeros(0), torch.zeros(0, 4), torch.zeros(0))]
        columns = {k: np.concatenate([part[k] for part in rows]) for k in rows[0]}
        frame = {"stamp": np.array([stamp]), "seen": np.array([found is not None])}
        image = np.zeros(len(columns["kind"]), np.int32)
        self.extend({**frame, "image": image, **columns})


def _rows(
    kind: int | np.ndarray,
    labels: torch.Tensor,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    names: np.ndarray | None = None,
) -> Columns:
    count = len(labels)
    return {
        "kind": np.broadcast_to(kind, count).astype(np.int64),
        "label": as_array(labels).astype(np.int64),
        "score": as_array(scores).astype(float),
        "box": as_array(boxes).astype(float).reshape(-1, 4),
        "name": np.full(count, "") if names is None else names,
    }


def tracking(
    recordings: Sequence[TrackColumns], config: TrackingConfig | None = None
) -> dict[str, float]:
    """What a tracker scores on recordings (`track_scores`), and the flicker of what it shows.

    Scores are of the frames with a result, and none without true objects that have names.
    """
    followed = [_followed(one.columns(), config or TrackingConfig()) for one in recordings]
    flickers = np.concatenate([shares for _, shares in followed] or [np.zeros(0)])
    found = {"flicker": mean(flickers)}
    frames = [frames for frames, _ in followed]
    if any(len(frame.true) for some in frames for frame in some):
        found |= track_scores(frames)
    return found


def _followed(columns: Columns, config: TrackingConfig) -> tuple[list[TrackedFrame], np.ndarray]:
    """The frames of a recording with the numbers of their objects, and the flicker of each."""
    tracker, numbers = Tracker(config), _Numbers()
    frames: list[TrackedFrame] = []
    shown: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    starts = np.searchsorted(columns["image"], np.arange(len(columns["stamp"]) + 1))
    for number, (start, end) in enumerate(pairwise(starts)):
        kind, label, score, box, name = (
            columns[k][start:end] for k in ("kind", "label", "score", "box", "name")
        )
        seen, true, crowd = (kind == k for k in (_FOUND, _TRUE, _CROWD))
        if not columns["seen"][number]:
            continue
        found = Predictions((1, 1), *map(torch.from_numpy, (box[seen], score[seen], label[seen])))
        ids = tracker(int(columns["stamp"][number]), found)
        kept = ids > 0
        labels, boxes = label[seen][kept], box[seen][kept]
        shown.append((np.full(len(labels), number), labels, boxes))
        likeness = _likeness((label[true], box[true]), (labels, boxes), False)
        excused = _likeness((label[crowd], box[crowd]), (labels, boxes), True)
        counted = (likeness >= SAME).any(0) | ~(excused > SAME).any(0)
        frames.append(
            TrackedFrame(
                numbers("true", label[true], name[true]),
                numbers("found", labels[counted], ids[kept][counted]),
                likeness[:, counted],
            )
        )
    where, labels, boxes = (
        np.concatenate([np.zeros(none, np.int64), *(one[k] for one in shown)])
        for k, none in enumerate((0, 0, (0, 4)))
    )
    same = np.zeros(len(columns["stamp"]), np.int64)
    return frames, flicker(same, columns["seen"], where, labels, boxes)


def _likeness(
    true: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray], crowd: bool
) -> np.ndarray:
    """IoU [G, D] of objects of one class; of a crowd the share of the found box inside it."""
    (labels, boxes), (others, theirs) = true, found
    overlaps = box_overlaps(theirs, boxes, np.full(len(boxes), crowd)).T
    return np.where(labels[:, None] == others, overlaps, 0)


class _Numbers:
    """Numbers from 0 on for objects of a kind, by their class and what they are called."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, object], int] = {}
        self._counts = {"true": 0, "found": 0}

    def __call__(self, kind: str, labels: np.ndarray, names: np.ndarray) -> np.ndarray:
        found = []
        for label, name in zip(labels.tolist(), names.tolist(), strict=True):
            key = kind, label, name
            if key not in self._known:
                self._known[key] = self._counts[kind]
                self._counts[kind] += 1
            found.append(self._known[key])
        return np.array(found, np.int64)
