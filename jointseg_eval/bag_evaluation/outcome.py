"""What all windows of some recordings add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointseg_core.classes import Classes
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.bag_evaluation.headline import mean
from jointseg_eval.bag_evaluation.part import DAMAGED, Part
from jointseg_eval.bag_evaluation.processes import Answer, Failure
from jointseg_eval.bag_evaluation.timeline import PROCESSED, Timeline
from jointseg_eval.bag_evaluation.windows import Recording, Window
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.scores import known_or_none

FATES = (PROCESSED, DAMAGED)
OVER_TIME = ("box_ap", "box_ap50", "mask_ap", "miou", "foreground_miou", "pq")


@dataclass
class Outcome:
    """The results of recordings, complete when every window has been added in its order.

    evaluation  of the frames whose annotation is known
    over_time   for each window its recording, its times in seconds and its scores
    losses      what could not be read or evaluated, a sentence each
    seconds     spent on reading, network and scoring
    """

    recordings: Sequence[Recording]
    classes: Classes
    evaluation: Evaluation = field(init=False)
    over_time: list[dict[str, float | int | None]] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    failed: int = 0
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(3))
    unknown: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.evaluation = Evaluation(self.classes)
        self._frames: list[tuple[int, Part]] = []
        self._first: dict[int, int] = {}
        self._seen: set[tuple[int, int]] = set()
        self._used: set[tuple[int, int]] = set()

    def add(self, window: Window, found: Answer) -> None:
        """The next window."""
        number = self.recordings.index(window.recording)
        if isinstance(found, Failure):
            self.failed += 1
            self._lose([found.reason])
            return
        self._lose(found["losses"].tolist())
        self.seconds += found["seconds"]
        counts = zip(
            found["truth.unknown"].tolist(), found["truth.unknown_count"].tolist(), strict=True
        )
        self.unknown.update(dict(counts))
        self._seen |= {(number, stamp) for stamp in found["truth.seen"].tolist()}
        self._used |= {(number, stamp) for stamp in found["truth.used"].tolist()}
        kept = {k: v for k, v in found.items() if k.startswith(("frames.", "shown."))}
        self._frames.append((number, kept))
        own = Evaluation(self.classes)
        own.extend(_below(found, "evaluation"))
        self.evaluation.extend(own.columns())
        if len(own) and len(found["frames.time"]):
            self.over_time.append(self._row(number, found, own))

    def reception_times(self) -> np.ndarray:
        """When each frame of the timeline was received (ns)."""
        return _together([part for _, part in self._frames], "frames", ("time",))["time"]

    def timeline(self) -> Timeline:
        """Every frame of every recording."""
        parts = [part for _, part in self._frames]
        bags = np.repeat([n for n, _ in self._frames], [len(p["frames.time"]) for p in parts])
        bags = bags.astype(np.int64)
        frames = _together(parts, "frames", ("time", "stamp", "fate", "has_truth", "confidence"))
        shown = self._shown()
        quality = np.full(len(bags), np.nan)
        quality[np.flatnonzero(frames["has_truth"])] = self.evaluation.quality()
        objects = np.zeros((len(bags), len(self.classes.things)), np.int64)
        np.add.at(objects, (shown["frame"], shown["label"]), 1)
        starts = {n: frames["time"][bags == n].min() for n in np.unique(bags).tolist()}
        return Timeline(
            bags=tuple(_names(self.recordings)),
            things=self.classes.things,
            fates=FATES,
            bag=bags,
            time=(frames["time"] - np.array([starts[n] for n in bags.tolist()], np.int64)) / 1e9,
            stamp=frames["stamp"],
            fate=np.array([FATES.index(fate) for fate in frames["fate"].tolist()], np.int64),
            quality=quality,
            confidence=frames["confidence"],
            flicker=flicker(bags, frames["fate"] == PROCESSED, **shown),
            latency_ms=np.full(len(bags), np.nan),
            objects=objects,
        )

    def document(self, timeline: Timeline) -> dict:
        """The numbers, the same however many processes found them."""
        scored = len(self.evaluation)
        unpaired = len(self._seen - self._used)
        table = self.evaluation.table() if scored else {}
        return {
            "recordings": [self._facts(n, r, timeline) for n, r in enumerate(self.recordings)],
            "frames": len(timeline),
            "frames_damaged": int((timeline.fate == FATES.index(DAMAGED)).sum()),
            "frames_with_annotation": scored,
            "annotations_without_frame": unpaired,
            "annotated_objects_of_unknown_classes": dict(sorted(self.unknown.items())),
            "windows_failed": self.failed,
            "losses": self.losses,
            "metrics": _plain(self.evaluation.metrics) if scored else {},
            "classes": {name: _plain(row) for name, row in table.items()},
            "over_time": self.over_time,
            "flicker": known_or_none(mean(timeline.flicker)),
            "confidence": known_or_none(mean(timeline.confidence)),
            "objects_per_frame": {
                name: known_or_none(mean(timeline.objects[:, k].astype(float)))
                for k, name in enumerate(self.classes.things)
            },
        }

    def _lose(self, told: Iterable[str]) -> None:
        self.losses += [one for one in told if one not in self.losses]

    def _row(self, number: int, found: Part, own: Evaluation) -> dict[str, float | int | None]:
        times = found["frames.time"]
        first = self._first.setdefault(number, int(times.min()))
        start, end = ((int(t) - first) / 1e9 for t in (times.min(), times.max()))
        scores = own.metrics
        return {
            "bag": number,
            "start": start,
            "end": end,
            "frames": len(own),
            **{name: known_or_none(scores[name]) for name in OVER_TIME if name in scores},
        }

    def _shown(self) -> dict[str, np.ndarray]:
        """Every object that is shown, with the number of its frame among all."""
        parts = [part for _, part in self._frames]
        firsts = np.cumsum([0, *(len(part["frames.time"]) for part in parts)])
        moved = [
            {**_below(part, "shown"), "frame": part["shown.frame"] + first}
            for part, first in zip(parts, firsts.tolist(), strict=False)
        ]
        names = ("frame", "label", "box")
        if not moved:
            return {"frame": np.zeros(0, int), "label": np.zeros(0, int), "box": np.zeros((0, 4))}
        return {name: np.concatenate([part[name] for part in moved]) for name in names}

    def _facts(self, number: int, recording: Recording, timeline: Timeline) -> dict:
        mine = timeline.bag == number
        duration = float(timeline.time[mine].max()) if mine.any() else 0.0
        gaps = np.diff(timeline.time[mine])
        return {
            "name": timeline.bags[number],
            "topic": recording.topic,
            "frames": int(mine.sum()),
            "duration_s": round(duration, 3),
            "rate_hz": round(1 / float(np.median(gaps)), 3)
            if len(gaps) and np.median(gaps)
            else None,
            "longest_gap_s": round(float(gaps.max()), 3) if len(gaps) else None,
            "stamps_going_back": int((np.diff(timeline.stamp[mine]) < 0).sum()),
        }


def _names(recordings: Sequence[Recording]) -> list[str]:
    """Names of the recordings, with as much of their folders as tells them apart."""
    names = [r.path.name for r in recordings]
    if len(set(names)) == len(names):
        return names
    return [str(r.path) for r in recordings]


def _below(part: Part, name: str) -> Part:
    prefix = f"{name}."
    return {k[len(prefix) :]: v for k, v in part.items() if k.startswith(prefix)}


def _together(parts: Sequence[Part], name: str, columns: Sequence[str]) -> Part:
    return {c: np.concatenate([p[f"{name}.{c}"] for p in parts] or [np.zeros(0)]) for c in columns}


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else float(value) for name, value in numbers.items()}
