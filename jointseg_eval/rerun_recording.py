"""What was found, as a recording for the viewer of Rerun (`pip install rerun-sdk`).

camera                  the pictures, as JPEG
camera/objects/masks    label + 1 where the mask of an object is, 0 elsewhere
camera/objects/boxes    boxes with names and scores
camera/classes          the class of every pixel
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.errors import BadConfig
from jointseg_core.predictions import Predictions
from jointseg_eval.frames import Frame
from jointseg_eval.input_validation import working_folder

JPEG_QUALITY = 85


class RerunRecording:
    """An .rrd file; use it in a `with` statement.

    It appears under its name when it is complete; after an exception nothing is left. BadInput
    where Rerun is not installed.
    """

    def __init__(self, path: Path, classes: Classes) -> None:
        self._path, self._classes = path.absolute(), classes
        self._frames, self._first = 0, 0
        self._stack = ExitStack()
        try:
            import rerun
        except ImportError as error:
            raise BadConfig(
                "--rerun needs the package rerun-sdk, which is not installed; pip install rerun-sdk"
            ) from error
        self._rerun = rerun

    def __enter__(self) -> RerunRecording:
        folder = self._stack.enter_context(working_folder(self._path))
        self._unfinished = Path(folder) / self._path.name
        self._stream = self._rerun.RecordingStream("jointseg")
        self._stream.save(self._unfinished)
        things = [(0, "", (0, 0, 0, 0)), *_described(self._classes.things, 1)]
        pixels = [*_described(self._classes.semantic, 0), (UNLABELLED, "", (0, 0, 0, 0))]
        self._log("camera/objects", self._rerun.AnnotationContext(things), static=True)
        self._log("camera/classes", self._rerun.AnnotationContext(pixels), static=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            self._stream.disconnect()
            if kind is None:
                os.replace(self._unfinished, self._path)

    def add(self, frame: Frame, found: Predictions) -> None:
        """One more frame, and what was found in it."""
        self._set_time(frame)
        image = self._rerun.Image(frame.picture).compress(jpeg_quality=JPEG_QUALITY)
        self._log("camera", image)
        self._log("camera/objects/boxes", self._boxes(found))
        if found.masks is not None:
            masks = self._rerun.SegmentationImage(_labels(found))
            self._log("camera/objects/masks", masks)
        if found.semantic is not None:
            self._log("camera/classes", self._rerun.SegmentationImage(found.semantic.numpy()))

    def _set_time(self, frame: Frame) -> None:
        """By number, and where frames have times, by seconds from the first one."""
        self._first = self._first or frame.stamp
        self._stream.set_time("frame", sequence=self._frames)
        if not frame.name:
            self._stream.set_time("time", duration=(frame.stamp - self._first) / 1e9)
        self._frames += 1

    def _boxes(self, found: Predictions) -> object:
        labels, scores = found.labels.tolist(), found.scores.tolist()
        names = [self._classes.things[label] for label in labels]
        return self._rerun.Boxes2D(
            array=found.boxes.float().numpy(),
            array_format=self._rerun.Box2DFormat.XYXY,
            labels=[f"{name} {score:.2f}" for name, score in zip(names, scores, strict=True)],
            class_ids=[label + 1 for label in labels],
        )

    def _log(self, entity: str, what: object, static: bool = False) -> None:
        self._stream.log(entity, what, static=static)


def _described(names: tuple[str, ...], first: int) -> list[tuple[int, str, tuple[int, ...]]]:
    """Number, name and colour of each class."""
    colors = Classes(names).thing_colors.tolist()
    return [(k, n, tuple(c)) for k, (n, c) in enumerate(zip(names, colors, strict=True), first)]


def _labels(found: Predictions) -> np.ndarray:
    """label + 1 of the most certain object at every pixel, uint8 [H, W], 0 where there is none."""
    labels = np.zeros(found.image_size, np.uint8)
    windows, crops = found.masks.windows.tolist(), found.masks.crops()
    for k in reversed(range(len(found))):
        x1, y1, x2, y2 = windows[k]
        labels[y1:y2, x1:x2][crops[k].numpy()] = int(found.labels[k]) + 1
    return labels
