"""One window of a recording, evaluated: what a process does, and what it hands back."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from jointseg_core.classes import Classes
from jointseg_core.errors import BadImage
from jointseg_core.messages import stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_eval.bag_evaluation.timeline import PROCESSED
from jointseg_eval.bag_evaluation.truth import (
    Annotation,
    BadTruth,
    CocoTruth,
    NoTruth,
    TopicTruth,
    Truth,
)
from jointseg_eval.bag_evaluation.windows import Window
from jointseg_eval.datasets.sample import Sample
from jointseg_eval.evaluation import Evaluation, Models, asked_for_all, open_predictor
from jointseg_eval.metrics.confusion_matrix import MIN_SCORE
from jointseg_eval.provenance import code_digest
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.messages import to_rgb

Part = dict[str, np.ndarray]
"""Columns of a window: `frames.*`, `shown.*`, `evaluation.*`, `truth.*`, `losses`, `seconds`."""

DAMAGED = "damaged image"


@dataclass(frozen=True)
class Settings:
    """What decides the result of a window, beside the window.

    truth      "topics", "none" or the path of a COCO JSON
    kinds      of annotation that count, see `TopicTruth`
    tolerance  between the stamps of a frame and of its annotation, ns
    batch      frames that go through the network together
    strict     whether damage of a recording is an error
    """

    weights: Path
    other: Path | None = None
    device: str = "cpu"
    precision: str = "fp32"
    backend: str = "torch"
    truth: str = "topics"
    kinds: tuple[str, ...] = ()
    tolerance: int = 10_000_000
    batch: int = 4
    strict: bool = False

    def models(self) -> Models:
        """The model, or two; BadInput for what cannot be loaded.

        On one thread, so that the number of workers decides nothing.
        """
        torch.set_num_threads(1)
        first, second = (
            open_predictor(path, self.device, self.precision, self.backend) if path else None
            for path in (self.weights, self.other)
        )
        return Models.between(first.classes, "the recording", first, second)

    def key(self, window: Window, sha256: str) -> str:
        """The name of a finished window: another one for whatever could change its result.

        sha256: of the weights.
        """
        facts = {k: str(v) for k, v in vars(self).items() if k not in ("weights", "other")}
        truth = Path(self.truth)
        facts["annotations"] = _digest_of(truth) if truth.is_file() else self.truth
        where = window.recording.fingerprint, window.recording.topic, window.recording.truth
        known = [
            facts,
            sha256,
            str(where),
            window.start,
            window.stop,
            code_digest("jointseg_core", "jointseg_eval"),
        ]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a recording: times in ns, picture RGB [H, W, 3] (None: damaged), annotation."""

    time: int
    stamp: int
    image: np.ndarray | None
    truth: Annotation | None


def evaluate_window(window: Window, settings: Settings, models: Models) -> Part:
    """Every frame of a window seen by the models; the same for the same arguments, but `seconds`.

    Raises BadBag when nothing of the window can be read, or, if strict, not all.
    """
    classes = models.predictor.classes
    columns, evaluation, clock = _Columns(), Evaluation(classes), _Clock()
    losses: Counter[str] = Counter()
    with _opened(window, settings, classes) as (bag, truth), asked_for_all(models.predictor):
        for group in _groups(_frames(bag, window, truth, losses), settings.batch):
            clock.lap("reading")
            seen = [frame for frame in group if frame.image is not None]
            found = iter(models([frame.image for frame in seen]))
            clock.lap("network")
            for frame in group:
                result = next(found)[0] if frame.image is not None else None
                columns.add(frame, result)
                if result is not None and frame.truth is not None:
                    name = f"{window.recording.path.name} at {frame.stamp} ns"
                    score(evaluation, name, frame, result, settings)
            clock.lap("scoring")
        losses.update(bag.defects())
        told = [one if n == 1 else f"{one} ({n} times)" for one, n in sorted(losses.items())]
    return {
        **columns.arrays(),
        **{f"evaluation.{k}": v for k, v in evaluation.columns().items()},
        **_pairing_columns(truth),
        "losses": np.array(told, str),
        "seconds": np.array([clock.spent[name] for name in ("reading", "network", "scoring")]),
    }


def frames_of(window: Window, settings: Settings, classes: Classes) -> Iterator[Frame]:
    """The frames of a window as they are evaluated."""
    with _opened(window, settings, classes) as (bag, truth):
        yield from _frames(bag, window, truth, Counter())


def save(part: Part, path: Path) -> None:
    """Write a part under its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **part)
    unfinished.replace(path)


def load(path: Path) -> Part | None:
    """A saved part; None where there is none or it is damaged, and has to be done again."""
    try:
        with np.load(path, allow_pickle=False) as columns:
            return dict(columns)
    except Exception:  # zipfile, zlib, numpy and the system raise what they stumble over
        return None


class _Columns:
    """What is kept of every frame."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, str, bool, float]] = []
        self._shown: list[np.ndarray] = []

    def add(self, frame: Frame, found: Predictions | None) -> None:
        confidence = float("nan")
        if found is not None:
            shown = found.scores >= MIN_SCORE
            labels, boxes = found.labels[shown, None], found.boxes[shown]
            number = np.full((len(labels), 1), len(self._rows), np.float64)
            columns = [np.asarray(c, np.float64) for c in (number, labels, boxes)]
            self._shown.append(np.concatenate(columns, 1))
            if len(labels):
                confidence = float(found.scores[shown].double().mean())
        fate = DAMAGED if found is None else PROCESSED
        self._rows.append((frame.time, frame.stamp, fate, frame.truth is not None, confidence))

    def arrays(self) -> Part:
        times, stamps, fates, known, confidence = (
            zip(*self._rows, strict=True) if self._rows else [[]] * 5
        )
        shown = np.concatenate([np.zeros((0, 6)), *self._shown])
        return {
            "frames.time": np.array(times, np.int64),
            "frames.stamp": np.array(stamps, np.int64),
            "frames.fate": np.array(fates, str),
            "frames.has_truth": np.array(known, bool),
            "frames.confidence": np.array(confidence, np.float64),
            "shown.frame": shown[:, 0].astype(np.int64),
            "shown.label": shown[:, 1].astype(np.int64),
            "shown.box": shown[:, 2:6],
        }


class _Clock:
    """Where the time goes."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Everything since the last time was spent on this."""
        now = time.perf_counter()
        self.spent[name] += now - self._last
        self._last = now


def _frames(bag: BagReader, window: Window, truth: Truth, losses: Counter[str]) -> Iterator[Frame]:
    for message in bag.messages([window.recording.topic], window.start, window.stop):
        stamp = stamp_ns(message.content.header) or message.time
        try:
            image = to_rgb(message.content)
        except BadImage as error:
            losses[str(error)] += 1
            yield Frame(message.time, stamp, None, None)
            continue
        try:
            known = truth.at(message.time, stamp, image.shape[:2])
        except BadTruth as error:
            losses[str(error)] += 1
            known = None
        yield Frame(message.time, stamp, image, known)


def _groups(frames: Iterator[Frame], batch: int) -> Iterator[list[Frame]]:
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) == batch:
            yield group
            group = []
    if group:
        yield group


def score(
    evaluation: Evaluation, name: str, frame: Frame, found: Predictions, settings: Settings
) -> None:
    """Add what was found in a frame whose annotation is known."""
    truth = frame.truth
    if settings.truth == "topics" and "masks" not in settings.kinds:
        found = replace(found, masks=None)  # boxes alone are annotated
    known = truth.target, truth.areas, None, truth.distances
    evaluation.add(Sample(name, frame.stamp, frame.image, *known), found)


@contextmanager
def _opened(
    window: Window, settings: Settings, classes: Classes
) -> Iterator[tuple[BagReader, Truth]]:
    """The recording and what is known of it; annotations are read beside the frames, not after."""
    path = window.recording.path
    with ExitStack() as stack:
        bag = stack.enter_context(BagReader(path, settings.strict))
        if settings.truth not in ("topics", "none"):
            truth = CocoTruth(Path(settings.truth), window, classes, settings.tolerance)
        elif settings.truth == "topics" and window.recording.truth:
            truth = TopicTruth(bag.beside(), window, settings.kinds, classes, settings.tolerance)
        else:
            truth = NoTruth()
        yield bag, truth


def _pairing_columns(truth: Truth) -> Part:
    pairing = truth.pairing
    names = sorted(pairing.unknown)
    return {
        "truth.seen": np.array(pairing.seen, np.int64),
        "truth.used": np.array(pairing.used, np.int64),
        "truth.unknown": np.array(names, str),
        "truth.unknown_count": np.array([pairing.unknown[name] for name in names], np.int64),
    }


@cache
def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
