"""What a node made of a recording that was played to it, beside what the model makes of it.

Two scores tell what running costs: of the frames that it processed, as if each result had come at
once, and of all frames, each judged by the newest result that had arrived when the frame came
(Li et al., Towards Streaming Perception, 2020). The second is what a planner gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.errors import BadBag
from jointseg_core.messages import DETECTIONS, read_predictions, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.flicker import flicker
from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.part import Frame, Settings, frames_of, score
from jointseg_eval.bag_evaluation.timeline import PROCESSED, Timeline
from jointseg_eval.bag_evaluation.windows import Recording, Window
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.scores import known_or_none, percentiles

NO_RESULT = "no result"
FATES = (PROCESSED, NO_RESULT)
PATIENCE_NS = 10_000_000_000
"""A result that comes later than this counts as none."""
PARTS = {
    "detections": "detections",
    "masks": "instance_masks",
    "semantic": "semantic/image",
    "foreground": "foreground/image",
}
STATS = "jointseg_ros/msg/InferenceStats"


@dataclass(frozen=True)
class Result:
    """What a node published about the image with this stamp, complete at `arrived` (ns)."""

    stamp: int
    arrived: int
    messages: dict[str, Any]

    def predictions(self, size: tuple[int, int], classes: Classes) -> Predictions:
        """The same for an image of this size; ValueError where it does not fit."""
        return read_predictions(size, classes, **self.messages)


@dataclass
class Online:
    """How a node did.

    timeline   of the frames, with what was found in those that were processed and when
    processed  the scores of the frames that were processed
    as_known   the scores of all frames by what was known when they came; those before the first
               result, `too_early`, are left out
    judged     the numbers of the frames in `processed`
    counters   the last frame counters of the node's statistics, none where they were not recorded
    """

    timeline: Timeline
    processed: Evaluation
    as_known: Evaluation
    too_early: int
    judged: list[int]
    counters: dict[str, int] = field(default_factory=dict)

    def run(self, name: str) -> Run:
        """The same for a report."""
        return Run(name, self.timeline, _known(self.processed), _known(self.as_known))

    def document(self) -> dict:
        """The numbers for metrics.json."""
        latencies = self.timeline.latency_ms
        return {
            "frames_processed": int((self.timeline.fate == 0).sum()),
            "frames_without_result": int((self.timeline.fate == 1).sum()),
            "frames_before_the_first_result": self.too_early,
            "latency_ms": percentiles(latencies[~np.isnan(latencies)]),
            "metrics_of_processed_frames": _numbers(self.processed),
            "metrics_as_known_when_a_frame_came": _numbers(self.as_known),
            "node": self.counters,
        }


def judge_online(
    recording: Recording,
    outputs: Path,
    settings: Settings,
    classes: Classes,
    node: str | None = None,
    rate: float = 1.0,
) -> Online:
    """Judge what a node published, recorded into `outputs`, while `recording` was played.

    node: the start of its topics, as in /joint/camera; needed where there are several. rate: at
    which it was played. The recorder has to have used the recording's own time (use_sim_time), as
    a result's age is measured in it. BadBag for outputs without results.
    """
    with BagReader(outputs, settings.strict) as bag:
        return judge_node(recording, bag, _prefix(bag, node), settings, classes, rate)


def judge_node(
    recording: Recording,
    outputs: BagReader,
    prefix: str,
    settings: Settings,
    classes: Classes,
    rate: float = 1.0,
) -> Online:
    """The same for the node whose topics begin with `prefix`, even if it published nothing."""
    book = _Book(recording, settings, classes, rate)
    results = _results(outputs, prefix)
    following = next(results, None)
    for frame in frames_of(Window(recording), settings, classes):
        book.frame(frame)
        while following is not None and following.arrived <= frame.time:
            book.result(following)
            following = next(results, None)
        book.known(frame)
    while following is not None:
        book.result(following)
        following = next(results, None)
    return book.closed(_counters(outputs, prefix))


class _Book:
    """Frames and results as they came, and what follows from them."""

    def __init__(
        self, recording: Recording, settings: Settings, classes: Classes, rate: float
    ) -> None:
        self._name, self._settings, self._classes = recording.path.name, settings, classes
        self._rate = rate
        self._waiting: dict[int, tuple[int, Frame]] = {}
        self._newest: Result | None = None
        self._too_early = 0
        self._times: list[int] = []
        self._stamps: list[int] = []
        self._latency: dict[int, float] = {}
        self._found: dict[int, _Shown] = {}
        self._judged: list[int] = []
        self._processed, self._as_known = Evaluation(classes), Evaluation(classes)

    def frame(self, frame: Frame) -> None:
        """The next frame of the recording."""
        number = len(self._times)
        self._times.append(frame.time)
        self._stamps.append(frame.stamp)
        old = [s for s, (_, f) in self._waiting.items() if f.time < frame.time - PATIENCE_NS]
        for stamp in old:
            del self._waiting[stamp]
        if frame.image is not None:
            self._waiting[frame.stamp] = number, frame

    def known(self, frame: Frame) -> None:
        """What was known of a frame when it came, after the results that had arrived until then."""
        if frame.image is None or frame.truth is None:
            return
        if self._newest is None:
            self._too_early += 1
            return
        known = self._newest.predictions(frame.image.shape[:2], self._classes)
        score(self._as_known, self._label(frame), frame, known, self._settings)

    def result(self, result: Result) -> None:
        """The next result that arrived."""
        if self._newest is None or result.stamp > self._newest.stamp:
            self._newest = result
        if result.stamp not in self._waiting:
            return
        number, frame = self._waiting.pop(result.stamp)
        # A node takes the newest frame, so that earlier ones have been passed over.
        self._waiting = {s: w for s, w in self._waiting.items() if s > result.stamp}
        found = result.predictions(frame.image.shape[:2], self._classes)
        self._latency[number] = (result.arrived - frame.time) / 1e6 / self._rate
        self._found[number] = _Shown.of(found)
        if frame.truth is not None:
            self._judged.append(number)
            score(self._processed, self._label(frame), frame, found, self._settings)

    def closed(self, counters: dict[str, int]) -> Online:
        """Everything, when there is no more."""
        parts = self._processed, self._as_known, self._too_early, self._judged
        return Online(self._timeline(), *parts, counters)

    def _label(self, frame: Frame) -> str:
        return f"{self._name} at {frame.stamp} ns"

    def _timeline(self) -> Timeline:
        count, things = len(self._times), self._classes.things
        columns = {name: np.full(count, np.nan) for name in ("quality", "confidence", "latency_ms")}
        objects = np.zeros((count, len(things)), np.int64)
        shown = sorted(self._found.items())
        for number, found in shown:
            columns["latency_ms"][number] = self._latency[number]
            columns["confidence"][number] = found.confidence
            objects[number] = np.bincount(found.labels, minlength=len(things))
        columns["quality"][self._judged] = self._processed.quality()
        seen = np.isin(np.arange(count), list(self._found))
        labels = [found.labels for _, found in shown]
        boxes = [found.boxes for _, found in shown]
        times = np.array(self._times, np.int64)
        return Timeline(
            bags=(self._name,),
            things=things,
            fates=FATES,
            bag=np.zeros(count, np.int64),
            time=(times - times.min()) / 1e9 if count else np.zeros(0),
            stamp=np.array(self._stamps, np.int64),
            fate=np.where(seen, 0, 1),
            flicker=flicker(
                np.zeros(count, np.int64),
                seen,
                np.repeat([k for k, _ in shown], [len(some) for some in labels]).astype(int),
                np.concatenate([np.zeros(0, np.int64), *labels]),
                np.concatenate([np.zeros((0, 4)), *boxes]),
            ),
            objects=objects,
            **columns,
        )


@dataclass(frozen=True, eq=False)
class _Shown:
    """What is kept of a result: the objects that a viewer shows."""

    labels: np.ndarray
    boxes: np.ndarray
    confidence: float

    @classmethod
    def of(cls, found: Predictions) -> _Shown:
        shown = found.scores >= MIN_SCORE
        confidence = float(found.scores[shown].mean()) if shown.any() else float("nan")
        return cls(found.labels[shown].numpy(), found.boxes[shown].numpy(), confidence)


def _prefix(bag: BagReader, node: str | None) -> str:
    """The start of a node's topics."""
    found = [
        topic.name.removesuffix("/detections")
        for topic in bag.topics.values()
        if topic.type == DETECTIONS and topic.name.endswith("/detections")
    ]
    where = bag.path.absolute()
    if not found:
        raise BadBag(f"{where} holds no results: no .../detections among {', '.join(bag.topics)}.")
    if node is None and len(found) > 1:
        raise BadBag(f"{where} holds results of several: choose one by --node: {', '.join(found)}.")
    if node is not None and node.rstrip("/") not in found:
        raise BadBag(f"{where} holds no results of {node} but of {', '.join(found)}.")
    return found[0] if node is None else node.rstrip("/")


def _results(bag: BagReader, prefix: str) -> Iterator[Result]:
    """The results of a node, each when its last message had arrived."""
    topics = {f"{prefix}/{name}": part for part, name in PARTS.items()}
    topics = {topic: part for topic, part in topics.items() if topic in bag.topics}
    waiting: dict[int, dict[str, Any]] = {}
    for message in bag.messages(list(topics)) if topics else ():
        stamp = stamp_ns(message.content.header)
        parts = waiting.setdefault(stamp, {})
        parts[topics[message.topic]] = message.content
        if len(parts) == len(topics):
            yield Result(stamp, message.time, waiting.pop(stamp))
            waiting = {other: found for other, found in waiting.items() if other > stamp}


def _counters(bag: BagReader, prefix: str) -> dict[str, int]:
    """The frame counters of a node's last statistics in the recording; its own or all there are."""
    topics = [topic.name for topic in bag.topics.values() if topic.type == STATS]
    own = [name for name in topics if prefix.startswith(f"{name.rsplit('/', 1)[0]}/")]
    topics = own or (topics if len(topics) == 1 else [])
    last = None
    for message in bag.messages(topics) if topics else ():
        last = message.content
    names = ("frames_received", "frames_processed", "frames_dropped")
    return {} if last is None else {name: int(getattr(last, name)) for name in names}


def _known(evaluation: Evaluation) -> dict[str, float]:
    return evaluation.metrics if len(evaluation) else {}


def _numbers(evaluation: Evaluation) -> dict[str, float | None]:
    return {name: known_or_none(value) for name, value in _known(evaluation).items()}
