"""What a camera saw, what nodes found and what was there, joined by the stamp of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demo.models import MODELS, result_topic
from jointseg_core.classes import CITYSCAPES, Classes
from jointseg_core.messages import read_predictions, stamp_ns
from jointseg_core.predictions import Predictions
from jointseg_core.targets import Target
from jointseg_eval.bag_evaluation.online import PARTS
from jointseg_eval.recordings.bags import BagReader
from jointseg_eval.recordings.messages import read_target, to_rgb
from jointseg_eval.recordings.topics import IMAGE, TRUTH


@dataclass(frozen=True)
class Synchronised:
    """One frame: its picture uint8 RGB [H, W, 3], the truth if known, and for each model what it
    found, or None if the model gave no result for this frame.
    """

    stamp: int
    picture: np.ndarray
    truth: Target | None
    results: dict[str, Predictions | None]


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
        for message in seen.messages([IMAGE]):
            picture, stamp = to_rgb(message.content), stamp_ns(message.content.header)
            size = picture.shape[:2]
            yield Synchronised(
                stamp,
                picture,
                _truth(size, classes, truth, stamp),
                {m: _result(size, classes, c, stamp) for m, c in results.items()},
            )


def _truth(
    size: tuple[int, int], classes: Classes, cursors: dict[str, Cursor], stamp: int
) -> Target | None:
    messages = {name: cursor.at(stamp) for name, cursor in cursors.items()}
    if messages.get("detections") is None or messages.get("masks") is None:
        return None
    return read_target(size, classes, **messages)


def _result(
    size: tuple[int, int], classes: Classes, cursors: dict[str, Cursor], stamp: int
) -> Predictions | None:
    messages = {name: cursor.at(stamp) for name, cursor in cursors.items()}
    needed = (message for name, message in messages.items() if name != "foreground")
    if any(message is None for message in needed):
        return None
    return read_predictions(size, classes, **messages)
