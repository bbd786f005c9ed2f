"""What a node made of a recording that was played to it, beside what the model makes of it.

Two scores tell what running costs: of the frames that it processed, as if each result had come at
once, and of all frames, each scored by the newest result that had arrived when the frame came
(Li et al., Towards Streaming Perception, 2020). The second is what a planner gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.errors import BadBag
from jointseg_core.messages import DETECTIONS, read_predictions, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.placed import placed_in_recordings
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.timeline import FrameColumns, Timeline, joined
from jointseg_eval.bag_evaluation.window_result import Frame, frames_of, score
from jointseg_eval.bag_evaluation.windows import Recording, Window
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.scores import percentiles, rounded

NO_RESULT = "no result"
PATIENCE_NS = 10_000_000_000
"""A result that comes later than this counts as none."""
OTHER_CLOCK_NS = 3_600_000_000_000
"""Results of which the first comes so long after the last frame are on another clock."""
PARTS = {
    "detections": "detections",
    "masks": "instance_masks",
    "semantic": "semantic/image",
    "foreground": "foreground/image",
}
STATS = "jointseg_msgs/msg/InferenceStats"


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
    scored     the numbers of the frames in `processed`
    counters   the last frame counters of the node's statistics, none where they were not recorded
    positions  how well objects were placed in space, where the node did and the truth is known
    """

    timeline: Timeline
    processed: Evaluation
    as_known: Evaluation
    too_early: int
    scored: list[int]
    counters: dict[str, int] = field(default_factory=dict)
    positions: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict:
        """The numbers for metrics.json."""
        latencies = self.timeline.latency_ms
        processed, known = (
            rounded(one.metrics) if len(one) else {} for one in (self.processed, self.as_known)
        )
        return {
            "frames_processed": int(self.timeline.processed.sum()),
            "frames_without_result": self.timeline.count_of(NO_RESULT),
            "frames_before_the_first_result": self.too_early,
            "latency_ms": percentiles(latencies[~np.isnan(latencies)]),
            "metrics_of_processed_frames": processed,
            "metrics_as_known_when_a_frame_came": known,
            "positions": rounded(self.positions),
            "node": self.counters,
        }


def evaluate_online(
    recording: Recording,
    outputs: Path,
    settings: Settings,
    classes: Classes,
    node: str | None = None,
    rate: float = 1.0,
) -> Online:
    """Evaluate what a node published, recorded into `outputs`, while `recording` was played.

    node: the start of its topics, as in /joint/camera; needed where there are several. rate: at
    which it was played. The recorder has to have used the recording's own time (use_sim_time), as
    a result's age is measured in it. BadBag for outputs without results.
    """
    with BagReader(outputs, settings.strict) as bag:
        return evaluate_node(recording, bag, _prefix(bag, node), settings, classes, rate)


def evaluate_node(
    recording: Recording,
    outputs: BagReader,
    prefix: str,
    settings: Settings,
    classes: Classes,
    rate: float = 1.0,
) -> Online:
    """The same for the node whose topics begin with `prefix`, even if it published nothing."""
    run = _Run(Window(recording), settings, classes, rate)
    results = _results(outputs, prefix)
    first = following = next(results, None)
    for frame in frames_of(run.window, settings, classes):
        run.add_frame(frame)
        while following is not None and following.arrived <= frame.time:
            run.add_result(following)
            following = next(results, None)
        run.score_what_was_known(frame)
    if first is not None and following is first and first.arrived - frame.time > OTHER_CLOCK_NS:
        raise BadBag(
            f"{outputs.path.absolute()} is on another clock than the drive: its first result came "
            f"{(first.arrived - frame.time) / 3.6e12:.0f} h after the last frame; "
            "record with use_sim_time."
        )
    while following is not None:
        run.add_result(following)
        following = next(results, None)
    with BagReader(recording.path) as bag:
        placed = placed_in_recordings(bag, outputs, prefix, recording.topic, classes)
    positions = placed.score() if len(placed) else {}
    return replace(run.online(_counters(outputs, prefix)), positions=positions)


class _Run:
    """Frames and results as they came, and what follows from them."""

    def __init__(self, window: Window, settings: Settings, classes: Classes, rate: float) -> None:
        self.window = window
        self._settings, self._classes, self._rate = settings, classes, rate
        self._columns = FrameColumns()
        self._waiting: dict[int, tuple[int, Frame]] = {}
        self._newest: Result | None = None
        self._too_early = 0
        self._scored: list[int] = []
        self._processed, self._as_known = Evaluation(classes), Evaluation(classes)

    def add_frame(self, frame: Frame) -> None:
        """The next frame of the recording."""
        number = self._columns.add(frame.time, frame.stamp, frame.truth is not None)
        oldest = frame.time - PATIENCE_NS
        self._waiting = {s: w for s, w in self._waiting.items() if w[1].time >= oldest}
        if frame.image is not None:
            self._waiting[frame.stamp] = number, frame

    def score_what_was_known(self, frame: Frame) -> None:
        """When a frame came, after the results that had arrived until then."""
        if frame.truth is None:
            return
        if self._newest is None:
            self._too_early += 1
            return
        known = self._newest.predictions(frame.image.shape[:2], self._classes)
        score(self._as_known, self.window, frame, known, self._settings)

    def add_result(self, result: Result) -> None:
        """The next result that arrived."""
        if self._newest is None or result.stamp > self._newest.stamp:
            self._newest = result
        if result.stamp not in self._waiting:
            return
        number, frame = self._waiting.pop(result.stamp)
        # A node takes the newest frame, so that earlier ones have been passed over.
        self._waiting = {s: w for s, w in self._waiting.items() if s > result.stamp}
        found = result.predictions(frame.image.shape[:2], self._classes)
        self._columns.process(number, found, (result.arrived - frame.time) / 1e6 / self._rate)
        if frame.truth is not None:
            self._scored.append(number)
            score(self._processed, self.window, frame, found, self._settings)

    def online(self, counters: dict[str, int]) -> Online:
        """Everything, when there is no more."""
        frames = joined([(0, self._columns.arrays())])
        quality = np.full(len(frames["time"]), np.nan)
        quality[self._scored] = self._processed.quality()
        name, things = self.window.recording.path.name, self._classes.things
        timeline = Timeline.of([name], things, NO_RESULT, frames, quality)
        scores = self._processed, self._as_known, self._too_early, self._scored
        return Online(timeline, *scores, counters)


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
