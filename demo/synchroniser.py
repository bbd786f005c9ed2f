"""What a camera saw, what nodes found and what was there, joined by the stamp of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demo.models import DETECTIONS_3D, MODELS, result_topic
from jointseg_core.classes import CITYSCAPES, Classes
from jointseg_core.messages import read_predictions, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.bag_evaluation.online import PARTS
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.messages import read_target, to_rgb
from jointseg_eval.recordings.topics import IMAGE, TRUE_DETECTIONS_3D, TRUTH


@dataclass(frozen=True)
class Synchronised:
    """One frame: its picture uint8 RGB [H, W, 3], the truth if known, and for each model what it
    found, or None if the model gave no result for this frame.

    tracks  of the objects of each model with a result int [N], 0 for one without
    space   Detection3DArray: the objects of each model in space, where it placed them; `true_space`
            the true ones, None if they are not known
    """

    stamp: int
    picture: np.ndarray
    truth: Target | None
    results: dict[str, Predictions | None]
    tracks: dict[str, np.ndarray] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    true_space: Any | None = None


class Cursor:
    """One topic of a recording, read along with growing stamps."""

    def __init__(self, bag: BagReader, topic: str) -> None:
        self._messages = bag.messages([topic])
        self._next = next(self._messages, None)

    def at(self, stamp: int) -> Any | None:
        """The message whose header has this stamp (ns), if there is one; stamps have to grow."""
        while self._next is not None and stamp_ns(self._next.content.header) < stamp:
            self._next = next(self._messages, None)
        if self._next is None or stamp_ns(self._next.content.header) != stamp:
            return None
        return self._next.content


def synchronised(
    inputs: Path, outputs: Path, models: Sequence[str], classes: Classes = CITYSCAPES
) -> Iterator[Synchronised]:
    """Every image of the recording `inputs` with what the recording `outputs` says about it."""
    with ExitStack() as stack:
        seen, found = (stack.enter_context(BagReader(path)) for path in (inputs, outputs))
        truth = {k: Cursor(seen, t) for k, t in TRUTH.items() if t in seen.topics}
        results = {
            model: {
                part: Cursor(found, result_topic(model, topic))
                for part, topic in PARTS.items()
                if topic in MODELS[model].topics
            }
            for model in models
        }
        solid = {m: Cursor(found, result_topic(m, DETECTIONS_3D)) for m in models}
        true_solid = Cursor(seen, TRUE_DETECTIONS_3D)
        for message in seen.messages([IMAGE]):
            picture, stamp = to_rgb(message.content), stamp_ns(message.content.header)
            size = picture.shape[:2]
            told = {m: _messages(cursors, stamp) for m, cursors in results.items()}
            space = {m: cursor.at(stamp) for m, cursor in solid.items()}
            yield Synchronised(
                stamp,
                picture,
                _truth(size, classes, truth, stamp),
                {m: read_predictions(size, classes, **t) if t else None for m, t in told.items()},
                {m: _tracks(t["detections"]) for m, t in told.items() if t},
                {m: objects for m, objects in space.items() if objects is not None},
                true_solid.at(stamp),
            )


def _truth(
    size: tuple[int, int], classes: Classes, cursors: dict[str, Cursor], stamp: int
) -> Target | None:
    messages = {name: cursor.at(stamp) for name, cursor in cursors.items()}
    if messages.get("detections") is None or messages.get("masks") is None:
        return None
    return read_target(size, classes, **messages)


def _messages(cursors: dict[str, Cursor], stamp: int) -> dict[str, Any]:
    """What a model said about a frame; nothing where something is missing."""
    messages = {name: cursor.at(stamp) for name, cursor in cursors.items()}
    needed = (message for name, message in messages.items() if name != "foreground")
    return {} if any(message is None for message in needed) else messages


def _tracks(detections: Any) -> np.ndarray:
    return np.array([int(one.id or 0) for one in detections.detections], np.int64)
