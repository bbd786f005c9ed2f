"""The demo's pictures: a video of what was found, and a sheet of frames beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from demo.models import MODELS
from demo.synchroniser import Synchronised
from jointseg_core.classes import Classes
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.visualize import draw

TRUTH = "truth"
MIN_SCORE = 0.3
PANEL_WIDTH = 960
CELL_WIDTH = 512
SHEET_ROWS = 6
NO_RESULT = "no result for this frame"


class Panels:
    """What each model found, one picture above the other.

    A model without a result for a frame goes on showing the last frame for which it has one.
    """

    def __init__(self, models: Sequence[str], classes: Classes) -> None:
        self._models = models
        self._classes = classes
        self._last: dict[str, np.ndarray] = {}

    def of(self, frame: Synchronised) -> np.ndarray:
        """The picture for this frame, uint8 RGB [H, W, 3]."""
        for model in self._models:
            found = frame.results[model]
            if found is not None or model not in self._last:
                title = MODELS[model].title
                seen, tracks = self._classes, frame.tracks.get(model)
                self._last[model] = _drawn(frame, found, seen, title, PANEL_WIDTH, tracks)
        return _stacked([self._last[model] for model in self._models])


def sheet(frames: Sequence[Synchronised], models: Sequence[str], classes: Classes) -> np.ndarray:
    """Frames in rows: the picture, the truth if it is known, and what each model found."""
    return _stacked([np.concatenate(list(_row(frame, models, classes)), 1) for frame in frames])


class SheetRows:
    """Chooses the frames for a sheet while they come by.

    One from each of `rows` equally long stretches, so that they come from different streets: the
    one nearest to the middle of those with results of every model.
    """

    def __init__(self, frames: int, rows: int = SHEET_ROWS) -> None:
        self._frames = frames
        self._rows = max(1, min(rows, frames))
        self._best: dict[int, tuple[tuple[int, float], Synchronised]] = {}

    def offer(self, number: int, frame: Synchronised) -> None:
        """Consider frame `number`, counted from 0."""
        stretch = number * self._rows // self._frames
        middle = (stretch + 0.5) * self._frames / self._rows - 0.5
        missing = sum(found is None for found in frame.results.values())
        cost = (missing, abs(number - middle))
        if stretch not in self._best or cost < self._best[stretch][0]:
            self._best[stretch] = (cost, frame)

    def chosen(self) -> list[Synchronised]:
        """The chosen frames in the order of time."""
        return [self._best[stretch][1] for stretch in sorted(self._best)]


def _row(frame: Synchronised, models: Sequence[str], classes: Classes) -> Iterator[np.ndarray]:
    yield _drawn(frame, Predictions.empty(frame.picture.shape[:2]), classes, "camera", CELL_WIDTH)
    if frame.truth is not None:
        yield _drawn(frame, frame.truth.as_predictions(), classes, TRUTH, CELL_WIDTH)
    for model in models:
        yield _drawn(frame, frame.results[model], classes, MODELS[model].title, CELL_WIDTH)


def _drawn(
    frame: Synchronised,
    found: Predictions | None,
    classes: Classes,
    title: str,
    width: int,
    tracks: np.ndarray | None = None,
) -> np.ndarray:
    """The picture of a frame, about `width` pixels wide, with what was found and a title.

    tracks: int [N], by which objects keep their colours.
    """
    size = _size_for(frame.picture.shape[:2], width)
    enlarge = size[0] > frame.picture.shape[0]
    method = cv2.INTER_CUBIC if enlarge else cv2.INTER_AREA
    picture = cv2.resize(frame.picture, size[::-1], interpolation=method)
    if found is None:
        return _titled(picture, f"{title}: {NO_RESULT}")
    certain = found.scores >= MIN_SCORE
    shown, scores = resized(found[certain], size), title != TRUTH
    known = None if tracks is None else tracks[certain.numpy()]
    drawn = draw(picture, shown, classes, min_score=0, show_scores=scores, tracks=known)
    return _titled(drawn, title)


def _size_for(size: tuple[int, int], width: int) -> tuple[int, int]:
    """(height, width) to draw an image of this size at: a whole multiple of it, or smaller."""
    scale = width / size[1]
    if scale >= 1:
        return size[0] * round(scale), size[1] * round(scale)
    return max(1, round(size[0] * scale)), width


def resized(found: Predictions, size: tuple[int, int]) -> Predictions:
    """The same results for an image of another (height, width), so that lines stay fine there."""
    y, x = (new / old for new, old in zip(size, found.image_size, strict=True))
    scale = torch.tensor([x, y, x, y], dtype=torch.float64)
    masks = found.masks
    if masks is not None:
        windows = (masks.windows * scale).round().long()
        windows[:, 2:] = torch.maximum(windows[:, 2:], windows[:, :2] + 1)
        sides = (windows[:, 2:] - windows[:, :2]).tolist()
        crops = [_nearest(crop, side) for crop, side in zip(masks.crops(), sides, strict=True)]
        masks = Masks.from_crops(windows, crops)
    semantic = None if found.semantic is None else _nearest(found.semantic, size[::-1])
    boxes = found.boxes * scale
    return Predictions(size, boxes, found.scores, found.labels, masks, semantic)


def _nearest(plane: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """A plane of bool or uint8 at another (width, height)."""
    if not plane.numel():
        return plane.new_zeros(size[1], size[0])
    values = plane.to(torch.uint8).numpy()
    values = cv2.resize(values, tuple(size), interpolation=cv2.INTER_NEAREST_EXACT)
    return torch.from_numpy(values).to(plane.dtype)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    """The picture below a black line that says what it is."""
    height = 22
    line = Image.new("RGB", (picture.shape[1], height))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(line).text((6, 2), title, fill=(255, 255, 255), font=font)
    return np.concatenate([np.asarray(line), picture])


def _stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """One above the other, black beside the narrower ones."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate(
        [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0))) for one in pictures]
    )
