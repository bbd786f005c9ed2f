"""What all windows of some recordings add up to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from jointseg_core.classes import Classes
from jointseg_eval.bag_evaluation.processes import Failure
from jointseg_eval.bag_evaluation.timeline import Timeline, joined
from jointseg_eval.bag_evaluation.tracks import TrackColumns, tracking
from jointseg_eval.bag_evaluation.window_result import WindowResult
from jointseg_eval.bag_evaluation.windows import Recording, Window
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.metrics.columns import Columns, mean, part_of
from jointseg_eval.scores import known_or_none

DAMAGED = "damaged image"
OVER_TIME = ("box_ap", "box_ap50", "mask_ap", "miou", "foreground_miou", "pq")


class BagResult:
    """The results of recordings, complete when every window has been added in its order.

    evaluation  of the frames whose annotation is known
    over_time   for each window its recording, its times in seconds and its scores
    losses      what could not be read or evaluated, a sentence each
    seconds     spent on reading, network and scoring
    """

    def __init__(self, recordings: Sequence[Recording], classes: Classes) -> None:
        self.recordings, self.classes = recordings, classes
        self.evaluation = Evaluation(classes)
        self.over_time: list[dict[str, float | int | None]] = []
        self.losses: list[str] = []
        self.seconds = np.zeros(3)
        self._tracks = [TrackColumns() for _ in recordings]
        self._failed = 0
        self._unknown: Counter[str] = Counter()
        self._windows: list[tuple[int, Columns]] = []
        self._first: dict[int, int] = {}
        self._seen: set[tuple[int, int]] = set()
        self._used: set[tuple[int, int]] = set()

    def add(self, window: Window, found: WindowResult | Failure) -> None:
        """The next window."""
        number = self.recordings.index(window.recording)
        if isinstance(found, Failure):
            self._failed += 1
            self._lose([found.reason])
            return
        self._lose(found["losses"].tolist())
        self.seconds += found["seconds"]
        self._unknown.update(found["truth.unknown"].tolist())
        self._seen |= {(number, stamp) for stamp in found["truth.seen"].tolist()}
        self._used |= {(number, stamp) for stamp in found["truth.used"].tolist()}
        self._windows.append((number, part_of(found, "frames")))
        self._tracks[number].extend(part_of(found, "tracks"))
        own = Evaluation(self.classes)
        own.extend(part_of(found, "evaluation"))
        self.evaluation.extend(own.columns())
        if len(own) and len(found["frames.time"]):
            self.over_time.append(self._row(number, found["frames.time"], own))

    def reception_times(self) -> np.ndarray:
        """When each frame of the timeline was received (ns)."""
        return joined(self._windows)["time"]

    def timeline(self) -> Timeline:
        """Every frame of every recording."""
        frames = joined(self._windows)
        quality = np.full(len(frames["time"]), np.nan)
        scored = frames["has_truth"] & frames["processed"]
        quality[scored] = self.evaluation.quality()
        names = [recording.path.name for recording in self.recordings]
        if len(set(names)) < len(names):
            names = [str(recording.path) for recording in self.recordings]
        return Timeline.of(names, self.classes.things, DAMAGED, frames, quality)

    def document(self, timeline: Timeline) -> dict:
        """The numbers, the same however many processes found them."""
        scored = len(self.evaluation)
        table = self.evaluation.table() if scored else {}
        return {
            "recordings": [self._facts(n, r, timeline) for n, r in enumerate(self.recordings)],
            "frames": len(timeline),
            "frames_damaged": timeline.count_of(DAMAGED),
            "frames_with_annotation": scored,
            "annotations_without_frame": len(self._seen - self._used),
            "annotated_objects_of_unknown_classes": dict(sorted(self._unknown.items())),
            "windows_failed": self._failed,
            "losses": self.losses,
            "metrics": _plain(self.evaluation.metrics) if scored else {},
            "classes": {name: _plain(row) for name, row in table.items()},
            "over_time": self.over_time,
            "flicker": known_or_none(mean(timeline.flicker)),
            "tracking": _plain(tracking(self._tracks)),
            "confidence": known_or_none(mean(timeline.confidence)),
            "objects_per_frame": {
                name: known_or_none(mean(timeline.objects[:, k].astype(float)))
                for k, name in enumerate(self.classes.things)
            },
        }

    def unscored(self) -> list[str]:
        """A sentence about each recording with annotations none of which belongs to a frame."""
        return [told for n, r in enumerate(self.recordings) if (told := self._unscored(n, r))]

    def _unscored(self, number: int, recording: Recording) -> str:
        where, advice = recording.path, "name others by --truth-topics detections=TOPIC"
        if recording.spare_truth:
            spare = ", ".join(recording.spare_truth)
            return f"{where}: {spare} belongs to no camera, so that nothing is scored; {advice}"
        seen = np.array([stamp for n, stamp in self._seen if n == number])
        if not len(seen) or any(n == number for n, _ in self._used):
            return ""
        stamps = [columns["stamp"] for n, columns in self._windows if n == number]
        stamps = np.concatenate([*stamps, np.zeros(0, np.int64)])
        gap = min((int(np.abs(seen - stamp).min()) for stamp in stamps), default=0)
        told = f"none of the {len(seen)} annotations belongs to one of the {len(stamps)} frames"
        near = f"the nearest stamps are {gap / 1e9:.3f} s apart"
        return f"{where}: {told}, so that nothing is scored: {near}; see --tolerance, or {advice}"

    def _lose(self, told: Iterable[str]) -> None:
        self.losses += [one for one in told if one not in self.losses]

    def _row(self, bag: int, times: np.ndarray, own: Evaluation) -> dict[str, float | int | None]:
        first = self._first.setdefault(bag, int(times.min()))
        start, end = ((int(t) - first) / 1e9 for t in (times.min(), times.max()))
        known = own.metrics
        scores = {name: known_or_none(known[name]) for name in OVER_TIME if name in known}
        return {"bag": bag, "start": start, "end": end, "frames": len(own), **scores}

    def _facts(self, number: int, recording: Recording, timeline: Timeline) -> dict:
        own = timeline.where(timeline.bag == number)
        gaps = np.diff(own.time)
        gap = float(np.median(gaps)) if len(gaps) else 0
        return {
            "name": timeline.bags[number],
            "topic": recording.topic,
            "frames": len(own),
            "duration_s": round(float(own.time.max(initial=0)), 3),
            "rate_hz": round(1 / gap, 3) if gap else None,
            "longest_gap_s": round(float(gaps.max()), 3) if len(gaps) else None,
            "stamps_going_back": int((np.diff(own.stamp) < 0).sum()),
        }


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {k: None if math.isnan(value) else float(value) for k, value in numbers.items()}
