"""Results to messages, without a node.

The header of every message is the camera's, unchanged. Large fields are filled with bytes or
array.array, see jointseg_core/messages.py.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jointseg_msgs.msg import InstanceMaskArray, PanopticSegment, PanopticSegmentArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionClass

from jointseg_core import messages
from jointseg_core.classes import Classes
from jointseg_core.panoptic import VOID
from jointseg_core.predictions import Masks, Predictions
from jointseg_core.visualize import colorize, instance_colors
from jointseg_ros.parameters import Settings
from jointseg_ros.places import Space
from jointseg_ros.serialized import message_class


@dataclass(frozen=True, eq=False)
class Result:
    """One processed frame."""

    header: Header
    image: np.ndarray  # uint8 [H, W, 3] RGB
    predictions: Predictions
    classes: Classes
    settings: Settings
    tracks: np.ndarray | None = None  # int64 [N], 0 for an object without; None: nothing tracks
    space: Space | None = None  # None: the camera has neither depth nor a height

    def track_ids(self) -> list[str]:
        """The track of each object as messages have it, empty for none."""
        tracks = [0] * len(self.predictions) if self.tracks is None else self.tracks.tolist()
        return [str(track) if track else "" for track in tracks]


def without_nan(predictions: Predictions) -> Predictions:
    """The same results less the objects with a box or score that is not a number."""
    finite = torch.isfinite(predictions.boxes).all(1) & torch.isfinite(predictions.scores)
    return predictions if bool(finite.all()) else predictions[finite]


def class_names(result: Result) -> list[str]:
    """The class of each object as detections have it: its name or number, as the settings say."""
    labels, things = result.predictions.labels.tolist(), result.classes.things
    named = result.settings.class_id_format == "name"
    return [things[n] if named else str(n) for n in labels]


def detections_message(result: Result) -> Detection2DArray:
    """Boxes, best first, with names or numbers of classes, as the settings say."""
    predictions, names = result.predictions, class_names(result)
    boxes, scores = predictions.boxes.tolist(), predictions.scores.tolist()
    message = messages.detections_message(message_class, result.header, boxes, scores, names)
    for detection, track in zip(message.detections, result.track_ids(), strict=True):
        detection.id = track
    return message


def instance_masks_message(result: Result) -> InstanceMaskArray:
    """Masks in the order of the detections, each as runs or bits of its window: the smaller."""
    predictions = result.predictions
    masks = predictions.masks or Masks.empty()
    labels, scores = predictions.labels.tolist(), predictions.scores.tolist()
    message = messages.masks_message(
        message_class, result.header, predictions.image_size, masks, labels, scores
    )
    for mask, track in zip(message.masks, result.track_ids(), strict=False):  # or no masks at all
        mask.track_id = track
    return message


def semantic_message(result: Result) -> Image:
    """mono8: the class of every pixel, 255 where there is none."""
    return image_message(result.header, result.predictions.semantic.numpy(), "mono8")


def semantic_color_message(result: Result) -> Image:
    """rgb8: the colour of every pixel's class, black where there is none."""
    colors = colorize(result.predictions.semantic.numpy(), result.classes.semantic_colors)
    return image_message(result.header, colors, "rgb8")


def confidence_message(result: Result) -> Image:
    """mono8: the probability of every pixel's class, 0 to 1 as 0 to 255."""
    confidence = torch.nan_to_num(result.predictions.confidence)  # a copy, changed in place
    samples = confidence.clamp_(0, 1).mul_(255).round_().byte()
    return image_message(result.header, samples.numpy(), "mono8")


def foreground_message(result: Result) -> Image:
    """mono8: 1 on pixels of any thing, 0 elsewhere."""
    return image_message(result.header, result.predictions.foreground.byte().numpy(), "mono8")


def instance_labels_message(result: Result) -> Image:
    """mono16: 0 without an object, else its place in the detections plus 1; the best one wins."""
    return image_message(result.header, instance_labels(result.predictions), "mono16")


def instance_labels(predictions: Predictions) -> np.ndarray:
    """uint16 [H, W], see `instance_labels_message`."""
    labels = np.zeros(predictions.image_size, np.uint16)
    masks = predictions.masks or Masks.empty()
    numbered = list(enumerate(zip(masks.windows.tolist(), masks.crops(), strict=True), start=1))
    for number, ((x1, y1, x2, y2), crop) in reversed(numbered):  # worst first
        labels[y1:y2, x1:x2][crop.numpy()] = number
    return labels


def instance_color_message(result: Result) -> Image:
    """rgb8: a colour of its own for every object or track, black where there is none."""
    count, tracks = len(result.predictions), result.tracks
    table = np.array([(0, 0, 0), *_hues(range(count) if tracks is None else tracks)], np.uint8)
    labels = instance_labels(result.predictions)
    if len(table) <= 256:
        labels = labels.astype(np.uint8)  # for which there is a fast way
    return image_message(result.header, colorize(labels, table), "rgb8")


def _hues(numbers: Iterable[int]) -> Iterable[tuple[int, ...]]:
    """Colours far from each other for numbers in a row (steps of the golden angle)."""
    for index in numbers:
        rgb = colorsys.hsv_to_rgb(index * 0.618 % 1, 0.8, 1)
        yield tuple(round(255 * c) for c in rgb)


def panoptic_message(result: Result) -> Image:
    """mono16: the segment of every pixel, 256 * class + number; 65280 where there is none."""
    ids = result.predictions.panoptic.ids.numpy().astype(np.uint16)
    return image_message(result.header, ids, "mono16")


def panoptic_segments_message(result: Result) -> PanopticSegmentArray:
    """What the values of `panoptic_message` stand for; objects refer to the detections."""
    height, width = result.predictions.image_size
    segments = [
        PanopticSegment(
            id=segment.id,
            class_id=segment.label,
            is_thing=segment.is_thing,
            score=segment.score,
            area=segment.area,
            detection_index=segment.object,
        )
        for segment in result.predictions.panoptic.segments
    ]
    return PanopticSegmentArray(header=result.header, height=height, width=width, segments=segments)


def panoptic_color_message(result: Result) -> Image:
    """rgb8: stuff in the colour of its class, objects in shades of it, black elsewhere."""
    predictions, classes = result.predictions, result.classes
    segments = predictions.panoptic.segments
    objects = [segment.object for segment in segments if segment.is_thing]
    colors = classes.semantic_colors[[segment.label for segment in segments]]
    seen = predictions.labels.numpy(), predictions.boxes.numpy()
    shades = instance_colors(*seen, classes, result.tracks)
    colors[: len(objects)] = shades[objects]  # as in the overlay, where it shows the same objects
    few = len(segments) < 256  # for which there is a fast way
    places = np.full(VOID + 1, len(segments), np.uint8 if few else np.uint16)
    places[[segment.id for segment in segments]] = np.arange(len(segments))
    pixels = colorize(places[predictions.panoptic.ids.numpy()], colors)
    return image_message(result.header, pixels, "rgb8")


def image_message(header: Header, pixels: np.ndarray, encoding: str) -> Image:
    """An image of [H, W] or [H, W, 3] samples that fit the encoding, sent little-endian."""
    return messages.image_message(message_class, header, pixels, encoding)


def semantic_png_message(result: Result) -> CompressedImage:
    """The class of every pixel without loss; JPEG would change labels."""
    runs = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    _, data = cv2.imencode(".png", result.predictions.semantic.numpy(), runs)
    return CompressedImage(
        header=result.header, format="mono8; png compressed ", data=data.tobytes()
    )


def jpeg_message(header: Header, rgb: np.ndarray, quality: int = 85) -> CompressedImage:
    """A picture uint8 [H, W, 3] RGB to look at."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=data.tobytes())


def label_info_message(header: Header, names: tuple[str, ...], threshold: float) -> LabelInfo:
    """What the numbers of classes mean; objects with scores below the threshold are left out."""
    class_map = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(names)]
    return LabelInfo(header=header, class_map=class_map, threshold=threshold)
