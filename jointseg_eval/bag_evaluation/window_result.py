"""One window of a recording, evaluated: what a process does, and what it hands back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from jointseg_core.classes import Classes
from jointseg_core.files import completed
from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.settings import Settings
from jointseg_eval.bag_evaluation.timeline import FrameColumns
from jointseg_eval.bag_evaluation.tracks import TrackColumns
from jointseg_eval.bag_evaluation.truth import (
    Annotation,
    BadTruth,
    CocoTruth,
    Pairing,
    TopicTruth,
    Truth,
)
from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.evaluation import Evaluation
from jointseg_eval.metrics.columns import Columns, as_one
from jointseg_eval.models import Models, asked_for_all
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.pictures import pictures

WindowResult = Columns
"""`frames.*` as FrameColumns has them, `evaluation.*` as Evaluation, `tracks.*` as TrackColumns,
`truth.*`, losses, seconds."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a recording: times in ns, picture RGB [H, W, 3] (None: damaged), annotation."""

    time: int
    stamp: int
    image: np.ndarray | None
    truth: Annotation | None


def evaluate_window(window: Window, settings: Settings, models: Models) -> WindowResult:
    """Every frame of a window seen by the models; the same for the same arguments, but `seconds`.

    Raises BadBag when nothing of the window can be read, or, if strict, not all.
    """
    classes = models.predictor.classes
    columns, evaluation, tracks = FrameColumns(), Evaluation(classes), TrackColumns()
    losses: Counter[str] = Counter()
    times = [time.perf_counter()]
    with _opened(window, settings, classes) as (bag, truth), asked_for_all(models.predictor):
        frames = _frames(bag, window, settings, truth, losses)
        while group := list(islice(frames, max(1, settings.batch))):
            times.append(time.perf_counter())
            seen = [frame for frame in group if frame.image is not None]
            found = iter(models([frame.image for frame in seen]))
            times.append(time.perf_counter())
            for frame in group:
                number = columns.add(frame.time, frame.stamp, frame.truth is not None)
                result = next(found)[0] if frame.image is not None else None
                tracks.add(frame.stamp, result, frame.truth)
                if result is not None:
                    columns.process(number, result)
                    score(evaluation, window, frame, result, settings)
            times.append(time.perf_counter())
        losses.update(bag.defects())
        told = [one if n == 1 else f"{one} ({n} times)" for one, n in sorted(losses.items())]
    pairing = truth.pairing if truth else Pairing()
    return {
        **as_one(
            {
                "frames": columns.arrays(),
                "evaluation": evaluation.columns(),
                "tracks": tracks.columns(),
            }
        ),
        "truth.seen": np.array(pairing.seen, np.int64),
        "truth.used": np.array(pairing.used, np.int64),
        "truth.unknown": np.array([*pairing.unknown.elements()], str),
        "losses": np.array(told, str),
        "seconds": np.diff(times).reshape(-1, 3).sum(0),  # reading, network, scoring
    }


def frames_of(window: Window, settings: Settings, classes: Classes) -> Iterator[Frame]:
    """The frames of a window as they are evaluated."""
    with _opened(window, settings, classes) as (bag, truth):
        yield from _frames(bag, window, settings, truth, Counter())


def score(
    evaluation: Evaluation, window: Window, frame: Frame, found: Predictions, settings: Settings
) -> None:
    """Add what was found in a frame, if its annotation is known."""
    if frame.truth is None:
        return
    if settings.truth == "topics" and "masks" not in settings.kinds:
        found = replace(found, masks=None)  # boxes alone are annotated
    name = f"{window.recording.path.name} at {frame.stamp} ns"
    known = frame.truth.target, frame.truth.areas, None, frame.truth.distances
    evaluation.add(Sample(name, frame.stamp, frame.image, *known), found)


def save(result: WindowResult, path: Path) -> None:
    """Write a result under its name when it is complete."""
    with completed(path) as file:
        np.savez_compressed(file, **result)


def load(path: Path) -> WindowResult | None:
    """A saved result; None where there is none or it is damaged, and has to be made again."""
    try:
        with np.load(path, allow_pickle=False) as columns:
            return dict(columns)
    except Exception:  # zipfile, zlib, numpy and the system raise what they stumble over
        return None


def _frames(
    bag: BagReader,
    window: Window,
    settings: Settings,
    truth: Truth | None,
    losses: Counter[str],
) -> Iterator[Frame]:
    span = window.start, window.stop
    for one in pictures(bag, window.recording.topic, *span, settings.bits):
        known = None
        if one.word:
            losses[one.word] += 1
        if one.pixels is not None and truth:
            try:
                known = truth.at(one.time, one.stamp, one.pixels.shape[:2])
            except BadTruth as error:
                losses[str(error)] += 1
        yield Frame(one.time, one.stamp, one.pixels, known)


@contextmanager
def _opened(
    window: Window, settings: Settings, classes: Classes
) -> Iterator[tuple[BagReader, Truth | None]]:
    """The recording and what is known of it; annotations are read beside the frames, not after."""
    recording, tolerance = window.recording, settings.tolerance
    with BagReader(recording.path, settings.strict) as bag:
        if settings.truth not in ("topics", "none"):
            yield bag, CocoTruth(Path(settings.truth), window, classes, tolerance)
        elif settings.truth == "topics" and recording.truth:
            yield bag, TopicTruth(bag.beside(), window, settings.kinds, classes, tolerance)
        else:
            yield bag, None
