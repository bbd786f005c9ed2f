"""Frames to look at: the worst ones of an evaluation, seen once more and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.predictions import Predictions
from jointseg_core.visualize import draw
from jointseg_eval.bag_evaluation.bag_result import BagResult
from jointseg_eval.bag_evaluation.report import Example
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.timeline import Timeline
from jointseg_eval.bag_evaluation.window_result import Frame, frames_of
from jointseg_eval.bag_evaluation.windows import Recording, Window
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.models import Models, asked_for_all

MOST, APART_S = 32, 1.0
"""So many frames, and of one recording none so close to a worse one: they would look the same."""


def choose(timeline: Timeline, most: int = MOST) -> list[int]:
    """Numbers of the frames to show, the worst first.

    By their quality; where that is not known, those that flicker most, then those of the least
    confidence.
    """
    if np.isnan(timeline.quality).all():
        badness = np.nan_to_num(timeline.flicker) - 1e-3 * np.nan_to_num(timeline.confidence, nan=1)
        usable = timeline.processed
    else:
        badness, usable = -timeline.quality, ~np.isnan(timeline.quality)
    candidates = np.flatnonzero(usable)
    chosen: list[int] = []
    for k in candidates[np.argsort(-badness[candidates], kind="stable")].tolist():
        same = [j for j in chosen if timeline.bag[j] == timeline.bag[k]]
        if all(abs(timeline.time[j] - timeline.time[k]) >= APART_S for j in same):
            chosen.append(k)
        if len(chosen) == most:
            break
    return chosen


def examples(
    result: BagResult, timeline: Timeline, settings: Settings, models: Models
) -> Iterator[Example]:
    """The chosen frames, drawn."""
    classes = models.predictor.classes
    wanted = {(int(timeline.bag[k]), int(timeline.stamp[k])): k for k in choose(timeline)}
    times = result.reception_times()
    with asked_for_all(models.predictor):
        for number, recording in enumerate(result.recordings):
            mine = {k for (bag, _), k in wanted.items() if bag == number}
            for frame in _frames(recording, sorted(times[k] for k in mine), settings, classes):
                k = wanted.get((number, frame.stamp))
                if k is not None and frame.image is not None:
                    ((found, _),) = models([frame.image])
                    truth = frame.truth and frame.truth.target.as_predictions(found)
                    seconds, nanoseconds = divmod(frame.stamp, 10**9)
                    seen = frame.image, {"found": found}, truth, classes
                    yield drawn(f"stamp {seconds}.{nanoseconds:09}", timeline, k, *seen)


def _frames(
    recording: Recording, times: list[int], settings: Settings, classes: Classes
) -> Iterator[Frame]:
    if recording.start is not None:
        for time in times:
            yield from frames_of(Window(recording, time, time + 1), settings, classes)
    elif times:
        yield from frames_of(Window(recording), settings, classes)


def drawn(
    name: str,
    timeline: Timeline,
    number: int,
    picture: np.ndarray,
    found: Mapping[str, Predictions],
    truth: Predictions | None,
    classes: Classes,
) -> Example:
    """Frame `number` of a timeline, its picture RGB [H, W, 3] with what each model found in it."""
    shown = {who: one[one.scores >= MIN_SCORE] for who, one in found.items()}
    known = [*shown.values(), *([] if truth is None else [truth])]
    labels = {label for one in known for label in one.labels.tolist()}
    return Example(
        name=name,
        bag=int(timeline.bag[number]),
        time=float(timeline.time[number]),
        quality=float(timeline.quality[number]),
        picture=picture,
        found={who: draw(picture, one, classes) for who, one in shown.items()},
        truth=None if truth is None else draw(picture, truth, classes, show_scores=False),
        classes=tuple(classes.things[label] for label in sorted(labels)),
    )
