"""The demo's report: how every node did, and the worst frames beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from demo.models import result_topic
from demo.replay import Replay
from demo.synchroniser import Synchronised
from demo.top_view import TopView
from jointseg_core.checkpoint import shipped_weights
from jointseg_core.classes import CITYSCAPES
from jointseg_eval.bag_evaluation.examples import choose, drawn
from jointseg_eval.bag_evaluation.headline import Run
from jointseg_eval.bag_evaluation.online import Online, evaluate_node
from jointseg_eval.bag_evaluation.report import Example, write_bag_report
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.bag_evaluation.windows import common_truth, survey
from jointseg_eval.metrics.columns import means
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.report import HEADLINES

OVER_TIME = ("box_ap", "mask_ap", "miou")
"""What the timeline shows of each model that has it."""
WINDOW_S, MOST_WINDOWS = 1.0, 60


class DemoReport:
    """Collects what the report shows: how each node did, then the worst frames as they pass."""

    def __init__(self, online: Mapping[str, Online]) -> None:
        self._online = online
        self._worst = _all(online)
        self._wanted = set(choose(self._worst))
        self._examples: list[Example] = []

    @classmethod
    def of(
        cls,
        inputs: Path,
        outputs: Path,
        replays: Mapping[str, Replay],
        progress: Callable[[int], None] = lambda models: None,
    ) -> DemoReport:
        """Evaluate what the nodes published, recorded into `outputs`, while `inputs` was played.

        progress is told how many models have been evaluated.
        """
        recording, online = survey(inputs), {}
        with BagReader(outputs) as bag:
            for model, replay in replays.items():
                settings = Settings(shipped_weights(model), kinds=common_truth([recording]))
                prefix = result_topic(model, "detections").removesuffix("/detections")
                found = evaluate_node(recording, bag, prefix, settings, CITYSCAPES)
                online[model] = _timed(found, replay.latency_by_stamp(model))
                progress(len(online))
        return cls(online)

    def offer(self, number: int, frame: Synchronised) -> None:
        """Frame `number` of the recording, counted from 0; it is drawn if it is a bad one."""
        if number in self._wanted:
            self._examples.append(self._example(number, frame))

    def write(self, path: Path, facts: Mapping[str, str]) -> None:
        """Write the page; facts as for `write_bag_report`."""
        told = {model: text for model, one in self._online.items() if (text := _fate(one))}
        told |= {
            f"{model} in space": text
            for model, one in self._online.items()
            if (text := _in_space(one))
        }
        runs = [
            Run.of(model, one.timeline, one.processed, one.as_known)
            for model, one in self._online.items()
        ]
        write_bag_report(path, runs, {**facts, **told}, list(self._windows()), self._examples)

    def _example(self, number: int, frame: Synchronised) -> Example:
        found = {model: one for model, one in frame.results.items() if one is not None}
        truth = None if frame.truth is None else frame.truth.as_predictions()
        seen = frame.picture, found, truth, CITYSCAPES
        example = drawn(f"frame {number + 1}", self._worst, number, *seen)
        return replace(example, found={**example.found, **_from_above(frame)})

    def _windows(self) -> Iterator[dict[str, float]]:
        """The scores of each second, or of as many seconds as make sixty windows."""
        length = max(WINDOW_S, self._worst.duration() / MOST_WINDOWS)
        gap = self._worst.duration() / len(self._worst)
        place = (self._worst.time // length).astype(int)
        for k in np.unique(place).tolist():
            times = self._worst.time[place == k]
            scores = {
                f"{model} {HEADLINES[name]}": value
                for model, one in self._online.items()
                for name, value in _scores(one, place == k).items()
            }
            if scores:
                yield {
                    "bag": 0,
                    "start": float(times.min()),
                    "end": float(times.max() + gap),
                    **scores,
                }


def _from_above(frame: Synchronised) -> dict[str, np.ndarray]:
    """A plan for each model that placed objects in space."""
    plans = {}
    for model, objects in frame.space.items():
        view = TopView(frame.picture.shape[:2])
        if frame.true_space is not None:
            view.add_truth(frame.true_space)
        view.add_found(objects, CITYSCAPES)
        plans[f"{model} from above"] = view.picture
    return plans


def _in_space(online: Online) -> str:
    """How well a node placed objects, where it did."""
    error = online.positions.get("position_error_up_to_40_m", np.nan)
    if np.isnan(error):
        return ""
    placed = online.positions["placed_up_to_40_m"]
    told = f"positions up to 40 m are off by {error:.1%} of the distance (median)"
    return f"{told}; {placed:.0%} of the true objects have one"


def _timed(online: Online, latency_ms: Mapping[int, float]) -> Online:
    """With latencies on the steady clock of the replay, finer than that of the recording."""
    stamps = online.timeline.stamp.tolist()
    known = np.array([latency_ms.get(stamp, np.nan) for stamp in stamps])
    return replace(online, timeline=replace(online.timeline, latency_ms=known))


def _scores(online: Online, frames: np.ndarray) -> dict[str, float]:
    """Of the frames for which `frames`, bool [F], is true; none where none of them was scored."""
    numbers = np.flatnonzero(frames[online.scored]).tolist()
    if not numbers:
        return {}
    found = online.processed.score(numbers)
    return {name: found[name] for name in OVER_TIME if name in found}


def _all(online: Mapping[str, Online]) -> Timeline:
    """How bad each frame was for all models together; known where each has a result, if it can."""
    lines = [one.timeline for one in online.values()]
    fate = np.max([line.fate for line in lines], 0)  # 0: processed
    if fate.all():
        fate = np.min([line.fate for line in lines], 0)
    return replace(
        lines[0],
        fate=fate,
        quality=np.where(fate == 0, means([line.quality for line in lines]), np.nan),
        confidence=means([line.confidence for line in lines]),
        flicker=means([line.flicker for line in lines]),
    )


def _fate(online: Online) -> str:
    """Where the frames went that a node has no result for."""
    counts = online.counters
    if not counts:
        return ""
    return (
        f"{counts['frames_received']} of {len(online.timeline)} frames reached the node; it"
        f" processed {counts['frames_processed']} and left out {counts['frames_dropped']} for newer"
        " ones"
    )
