"""What is known of every frame of some recordings, as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.metrics.columns import Columns, mean
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE

PROCESSED = "processed"
DEFAULT_GAP_S = 0.1
"""From frame to frame, where a recording has one frame alone."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """F frames in the order in which they are evaluated; NaN where something is not known.

    bags        names of the recordings
    things      names of the C classes of objects
    fates       what can become of a frame; the first is "processed", others say why it was not
    bag         int [F]       which recording
    time        float [F]     seconds since the first frame of its recording
    stamp       int64 [F]     of the image's header, ns
    fate        int [F]       which of the fates
    quality     float [F]     0 to 1, see `Evaluation.quality`; NaN without truth
    confidence  float [F]     mean score of the objects shown (score 0.3 or more)
    flicker     float [F]     share of objects that come or go for this frame alone
    latency_ms  float [F]     from publication to the last result; NaN offline
    objects     int [F, C]    objects shown of each class
    """

    bags: tuple[str, ...]
    things: tuple[str, ...]
    fates: tuple[str, ...]
    bag: np.ndarray
    time: np.ndarray
    stamp: np.ndarray
    fate: np.ndarray
    quality: np.ndarray
    confidence: np.ndarray
    flicker: np.ndarray
    latency_ms: np.ndarray
    objects: np.ndarray

    @classmethod
    def of(
        cls,
        bags: Sequence[str],
        things: Sequence[str],
        lost: str,
        frames: Mapping[str, np.ndarray],
        quality: np.ndarray,
    ) -> Timeline:
        """From the columns of `FrameColumns`, with `bag`, and the quality of each frame [F].

        lost: what became of the frames that were not processed.
        """
        bag, time, seen = frames["bag"], frames["time"], frames["processed"]
        starts = {k: time[bag == k].min() for k in np.unique(bag).tolist()}
        objects = np.zeros((len(bag), len(things)), np.int64)
        np.add.at(objects, (frames["shown_frame"], frames["shown_label"]), 1)
        shown = (frames[f"shown_{name}"] for name in ("frame", "label", "box"))
        return cls(
            bags=tuple(bags),
            things=tuple(things),
            fates=(PROCESSED, lost),
            bag=bag,
            time=(time - np.array([starts[k] for k in bag.tolist()], np.int64)) / 1e9,
            stamp=frames["stamp"],
            fate=np.where(seen, 0, 1),
            quality=quality,
            confidence=frames["confidence"],
            flicker=flicker(bag, seen, *shown),
            latency_ms=frames["latency_ms"],
            objects=objects,
        )

    def __len__(self) -> int:
        return len(self.bag)

    @property
    def processed(self) -> np.ndarray:
        """bool [F], which frames have a result."""
        return self.fate == self.fates.index(PROCESSED)

    def where(self, chosen: np.ndarray) -> Timeline:
        """The frames for which chosen, bool [F], is true."""
        columns = {k: v[chosen] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return Timeline(self.bags, self.things, self.fates, **columns)

    def count_of(self, fate: str) -> int:
        """How many frames have this fate."""
        return int((self.fate == self.fates.index(fate)).sum()) if fate in self.fates else 0

    def duration(self) -> float:
        """Seconds that the recordings last; pauses count, a clock that jumps does too."""
        lasted = 0.0
        for bag in np.unique(self.bag):
            times = np.sort(self.time[self.bag == bag])
            gap = float(np.median(np.diff(times))) if len(times) > 1 else DEFAULT_GAP_S
            lasted += float(times[-1] - times[0]) + gap
        return lasted

    def objects_per_frame(self) -> float:
        """The mean number of objects shown in a frame that was processed; NaN without any."""
        return mean(self.objects[self.processed].sum(1))


class FrameColumns:
    """Collects what is kept of every frame; D objects are shown in all of them together.

    time, stamp        int64 [F]     of reception and of the image's header, ns
    processed          bool [F]      whether there is a result
    has_truth          bool [F]      whether its annotation is known
    confidence         float [F]     see `Timeline`
    latency_ms         float [F]
    shown_frame/label  int64 [D]     of each object, ascending frames
    shown_box          float [D, 4]  xyxy
    """

    def __init__(self) -> None:
        self._frames: list[list[int | float]] = []
        self._shown: dict[int, np.ndarray] = {}

    def add(self, time: int, stamp: int, has_truth: bool) -> int:
        """The next frame; returns its number."""
        self._frames.append([time, stamp, False, has_truth, math.nan, math.nan])
        return len(self._frames) - 1

    def process(self, number: int, found: Predictions, latency_ms: float = math.nan) -> None:
        """What was found in a frame."""
        shown = found.scores >= MIN_SCORE
        confidence = float(found.scores[shown].double().mean())
        self._frames[number][2:] = [True, self._frames[number][3], confidence, latency_ms]
        labels, boxes = (np.asarray(v[shown], float) for v in (found.labels, found.boxes))
        numbers = np.full(len(labels), number)
        self._shown[number] = np.column_stack([numbers, labels, boxes])

    def arrays(self) -> Columns:
        """The columns above."""
        names = ("time", "stamp", "processed", "has_truth", "confidence", "latency_ms")
        kinds = (np.int64, np.int64, bool, bool, float, float)
        rows = list(zip(*self._frames, strict=True)) or [[]] * len(names)
        shown = np.concatenate([np.zeros((0, 6)), *(v for _, v in sorted(self._shown.items()))])
        return {
            **{k: np.array(row, kind) for k, row, kind in zip(names, rows, kinds, strict=True)},
            "shown_frame": shown[:, 0].astype(np.int64),
            "shown_label": shown[:, 1].astype(np.int64),
            "shown_box": shown[:, 2:],
        }


def joined(windows: Sequence[tuple[int, Columns]]) -> Columns:
    """The frames of windows, each with the number of its recording, as the columns of all."""
    every = [(0, FrameColumns().arrays()), *windows]
    counts = [len(columns["time"]) for _, columns in every]
    firsts = np.cumsum([0, *counts[:-1]])
    found = {k: np.concatenate([columns[k] for _, columns in every]) for k in every[0][1]}
    shown = [len(columns["shown_frame"]) for _, columns in every]
    found["shown_frame"] = found["shown_frame"] + np.repeat(firsts, shown)
    return {**found, "bag": np.repeat(np.array([bag for bag, _ in every], np.int64), counts)}
