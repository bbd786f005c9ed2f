"""Pictures for people: results drawn over the camera image, and class maps in colour.

The only file of the core that uses OpenCV and Pillow. Work is done inside each object's window,
so that the time grows with what is seen, not with the number of objects times the image.
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jointseg_core.classes import UNLABELLED, Classes
from jointseg_core.predictions import Predictions

_Color = tuple[int, int, int]  # RGB
_Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2; right and bottom exclusive

_GOLDEN = 0.618034  # the fraction that spreads successive shades most evenly
_LUMA = np.array([0.299, 0.587, 0.114])  # of RGB, as in ITU-R BT.601
_LINE_LUMA = 120
"""Lines are at least so bright: the dark blues of vehicles would be lost on a street."""
_STACKED = 3
"""Captions that have no place beside their boxes go up to so many lines further off."""


def draw(
    image: np.ndarray,
    predictions: Predictions,
    classes: Classes,
    alpha: float = 0.5,
    min_score: float = 0.3,
    show_scores: bool = True,
    tracks: np.ndarray | None = None,
) -> np.ndarray:
    """Draw `predictions` over `image` and return a new picture.

    image        uint8 RGB [H, W, 3], left as it is
    alpha        opacity of the masks and of the class map, 0 to 1
    min_score    objects below it are not shown
    show_scores  whether captions say how certain an object is, beside what it is
    tracks       int [N], numbers by which objects keep their colours; 0 for none

    A pixel shows the mask of its most certain object alone, without the class map below. Lines
    and letters grow with the image. A caption that has no place beside those of more certain
    objects is left out.
    Returns uint8 RGB [H, W, 3]. ValueError when the image is no such array, or when its size is
    not that of the predictions.
    """
    _check(image, predictions)
    image = np.ascontiguousarray(image)
    if predictions.semantic is None:
        canvas = image.copy()
    else:
        semantic = predictions.semantic.cpu().numpy()
        canvas = _blended(image, semantic, classes.semantic_colors, alpha)
    chosen = predictions.scores >= min_score
    shown = predictions[chosen].to("cpu")
    if len(shown):
        known = None if tracks is None else tracks[chosen.cpu().numpy()]
        colors = instance_colors(shown.labels.numpy(), shown.boxes.float().numpy(), classes, known)
        lines = _draw_objects(canvas, image, shown, colors, alpha)
        _draw_captions(canvas, shown, classes, lines, show_scores)
    return canvas


def colorize(labels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Integer `labels` [H, W] in the `colors` of a table, uint8 RGB [K, 3]; beyond it, black.

    Returns uint8 RGB [H, W, 3].
    """
    if labels.ndim != 2 or colors.ndim != 2 or colors.shape[1] != 3:
        shapes = f"labels is {list(labels.shape)} and colors {list(colors.shape)}"
        raise ValueError(f"{shapes}, expected [H, W] and [K, 3]")
    if labels.dtype == np.uint8:
        return cv2.applyColorMap(np.ascontiguousarray(labels), _table(colors))
    known = (labels >= 0) & (labels < len(colors))
    padded = np.vstack([colors, np.zeros((1, 3), np.uint8)]).astype(np.uint8)
    return padded[np.where(known, labels, len(colors))]


def instance_colors(
    labels: np.ndarray, boxes: np.ndarray, classes: Classes, tracks: np.ndarray | None = None
) -> np.ndarray:
    """A colour for each object, uint8 RGB [N, 3]: shades of its class's, counted from the left.

    labels: int [N]; boxes: float [N, 4]. From frame to frame, the order in the image changes less
    than that of the scores. tracks: int [N]; an object whose number is not 0 has the shade of it.
    """
    colors = np.zeros((len(labels), 3), np.uint8)
    seen = [0] * len(classes.things)
    for i in np.argsort(boxes[:, 0], kind="stable"):
        label = int(labels[i])
        number = seen[label] if tracks is None or not tracks[i] else int(tracks[i])
        colors[i] = _shade(tuple(int(c) for c in classes.thing_colors[label]), number)
        seen[label] += 1
    return colors


def line_color(color: _Color) -> _Color:
    """A colour for lines and captions: mixed with white until it is bright enough to be seen."""
    luma = float(_LUMA @ color)
    white = max(0.0, _LINE_LUMA - luma) / (255 - min(luma, _LINE_LUMA))
    red, green, blue = (round(c + white * (255 - c)) for c in color)
    return red, green, blue


def line_width(size: tuple[int, int]) -> int:
    """Of outlines in an image of (height, width), in pixels: 1 at VGA, 2 at 1080 rows, 4 at 4K."""
    return max(1, round(min(size) / 540))


def text_height(size: tuple[int, int]) -> int:
    """Of captions in pixels: 10 on small images, 12 at VGA, 21 at 1080 rows, 38 at 4K."""
    return max(10, round(4 + min(size) / 64))


def _check(image: np.ndarray, predictions: Predictions) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"image is {found}, expected uint8 [H, W, 3] in RGB")
    if tuple(predictions.image_size) != image.shape[:2]:
        expected = tuple(predictions.image_size)
        raise ValueError(f"image is {image.shape[:2]}, but the predictions are for {expected}")


def _table(colors: np.ndarray) -> np.ndarray:
    """`colors` [K, 3] as a look-up table [256, 1, 3] that is black beyond K."""
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colors), 0] = colors
    return table


def _blended(
    image: np.ndarray, semantic: np.ndarray, colors: np.ndarray, alpha: float
) -> np.ndarray:
    """The image under its class map; pixels without a class keep their own colour."""
    semantic = np.ascontiguousarray(semantic)
    canvas = cv2.applyColorMap(semantic, _table(colors))
    cv2.addWeighted(canvas, alpha, image, 1 - alpha, 0, dst=canvas)
    cv2.copyTo(image, cv2.inRange(semantic, UNLABELLED, UNLABELLED), canvas)
    return canvas


def _draw_objects(
    canvas: np.ndarray, image: np.ndarray, shown: Predictions, shades: np.ndarray, alpha: float
) -> list[_Color]:
    """Masks, then boxes, from the least certain object up; returns the colours of their lines."""
    boxes = shown.boxes.float().numpy()
    colors = [tuple(color) for color in shades.tolist()]
    lines = [line_color(color) for color in colors]
    thickness = line_width(canvas.shape[:2])
    upwards = range(len(shown) - 1, -1, -1)
    if shown.masks is not None:
        crops, windows = shown.masks.crops(), shown.masks.windows.tolist()
        for i in upwards:
            mask = np.ascontiguousarray(crops[i].numpy()).view(np.uint8)
            if mask.size:
                _tint(canvas, image, mask, windows[i], colors[i], alpha)
                _outline(canvas, mask, windows[i], lines[i], thickness)
    for i in upwards:
        _draw_box(canvas, boxes[i], lines[i], thickness)
    return lines


def _draw_captions(
    canvas: np.ndarray,
    shown: Predictions,
    classes: Classes,
    colors: list[_Color],
    show_scores: bool,
) -> None:
    """Captions beside the boxes; the most certain objects choose their places first."""
    boxes, labels, scores = shown.boxes.tolist(), shown.labels.tolist(), shown.scores.tolist()
    height = text_height(canvas.shape[:2])
    taken: list[_Rectangle] = []
    for box, label, score, color in zip(boxes, labels, scores, colors, strict=True):
        name = classes.things[label]
        text = f"{name} {score:.2f}" if show_scores else name
        tile = _plate(_letters(text, height), color)
        spot = _free_spot(box, tile.shape[:2], canvas.shape[:2], taken)
        if spot is not None:
            x1, y1, x2, y2 = spot
            canvas[y1:y2, x1:x2] = tile[: y2 - y1, : x2 - x1]
            taken.append(spot)


def _tint(
    canvas: np.ndarray,
    image: np.ndarray,
    mask: np.ndarray,
    window: list[int],
    color: _Color,
    alpha: float,
) -> None:
    """Show the image through a colour where the mask (uint8 [h, w], in `window`) is set."""
    x1, y1, x2, y2 = window
    tinted = cv2.LUT(image[y1:y2, x1:x2], _mixed(color, round(alpha, 3)))
    cv2.copyTo(tinted, mask, canvas[y1:y2, x1:x2])


def _outline(
    canvas: np.ndarray, mask: np.ndarray, window: list[int], color: _Color, thickness: int
) -> None:
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, outlines, -1, color, thickness, offset=window[:2])


def _draw_box(canvas: np.ndarray, box: np.ndarray, color: _Color, thickness: int) -> None:
    """The outermost pixels that belong to the box (right and bottom are exclusive)."""
    x1, y1 = (int(v) for v in np.floor(box[:2]))
    x2, y2 = (int(v) for v in np.ceil(box[2:]) - 1)
    cv2.rectangle(canvas, (x1, y1), (max(x1, x2), max(y1, y2)), color, thickness)


def _free_spot(
    box: list[float],
    tile: tuple[int, int],
    image: tuple[int, int],
    taken: list[_Rectangle],
) -> _Rectangle | None:
    """Where a tile (height, width) fits beside a box without covering another, None if nowhere."""
    height, width = min(tile[0], image[0]), min(tile[1], image[1])
    left, right = math.floor(box[0]), math.ceil(box[2]) - width
    above, below = math.floor(box[1]) - height, math.ceil(box[3])
    places = [(x, y) for y in (above, below) for x in (left, right)]
    places += [(left, above + height), (math.ceil(box[2]), above + height)]
    further = [line * height for line in range(1, _STACKED + 1)]
    places += [(left, y) for d in further for y in (above - d, below + d)]
    spots = (_inside(x, y, width, height, image) for x, y in places)
    return next((s for s in spots if not any(_overlap(s, t) for t in taken)), None)


def _inside(x: int, y: int, width: int, height: int, size: tuple[int, int]) -> _Rectangle:
    x, y = max(0, min(x, size[1] - width)), max(0, min(y, size[0] - height))
    return x, y, x + width, y + height


def _overlap(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=4096)
def _letters(text: str, height: int) -> np.ndarray:
    """How much of every pixel of a caption is ink: float32 [h, w, 1], 0 to 1."""
    font = _font(height)
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ayg0")
    margin = max(1, height // 8)
    size = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    plate = Image.new("L", size)
    ImageDraw.Draw(plate).text((margin - left, margin - top), text, fill=255, font=font)
    ink = np.asarray(plate, np.float32)[..., None] / 255
    ink.flags.writeable = False
    return ink


def _plate(letters: np.ndarray, color: _Color) -> np.ndarray:
    """A caption in black or white on `color`, whichever is read more easily: uint8 [h, w, 3]."""
    ink = 0 if _LUMA @ color > 140 else 255
    paper = np.asarray(color, np.float32)
    mixed: np.ndarray = np.rint(letters * (ink - paper) + paper)
    return mixed.astype(np.uint8)


@lru_cache(maxsize=16)
def _font(height: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font; before Pillow 10.1 it has one size only."""
    try:
        return ImageFont.load_default(height)
    except TypeError:
        return ImageFont.load_default()


@lru_cache(maxsize=512)
def _mixed(color: _Color, alpha: float) -> np.ndarray:
    """Look-up table uint8 [256, 1, 3] that mixes every value with `color`."""
    values = np.arange(256, dtype=np.float32)[:, None, None]
    mixed: np.ndarray = np.rint(values * (1 - alpha) + np.asarray(color, np.float32) * alpha)
    return mixed.astype(np.uint8)


@lru_cache(maxsize=1024)
def _shade(color: _Color, index: int) -> _Color:
    """The index-th shade of a class colour: bright enough to be seen, hue within +-0.06 of it."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in color))
    turn = (index * _GOLDEN) % 1.0
    shifted = (hue + 0.12 * (((index * _GOLDEN + 0.5) % 1.0) - 0.5)) % 1.0
    bright = (1 + value) / 2 if index == 0 else 0.6 + 0.4 * turn
    pale = saturation * (1 - 0.45 * ((2 * turn) % 1.0))
    red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(shifted, pale, bright))
    return red, green, blue
