"""With ROS and without, the same results make the same messages, byte by byte, and read back."""

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from rclpy.serialization import deserialize_message, serialize_message

from jointseg_core import CITYSCAPES, Masks, Predictions
from jointseg_core import messages as builders
from jointseg_core.messages import DETECTIONS, MASKS, read_predictions, stamp_ns
from jointseg_eval.recordings.messages import builder, header_message
from jointseg_eval.recordings.types import message_types, new
from jointseg_ros import conversions
from jointseg_ros.conversions import Result
from jointseg_ros.parameters import Settings
from jointseg_ros.serialized import message_class

SIZE = (20, 30)
IMAGE, STAMP = "sensor_msgs/msg/Image", 12_345_678_901
HERE, THERE = header_message(STAMP, "camera"), message_class("std_msgs/msg/Header")()
THERE.stamp.sec, THERE.stamp.nanosec, THERE.frame_id = 12, 345_678_901, "camera"


def seen(count: int = 4) -> Predictions:
    """Objects of which some masks are stored as runs and some as bits, on a map of classes."""
    generator = torch.Generator().manual_seed(2)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[k : k + 9, 2 * k : 2 * k + 12] = torch.rand(9, 12, generator=generator) > 0.5 * (k % 2)
    boxes = torch.rand(count, 4, generator=generator).cumsum(1) * 7
    labels, scores = torch.arange(count) * 3 % 8, torch.linspace(0.9, 0.3, count)
    planes = torch.arange(SIZE[0] * SIZE[1]).view(SIZE)
    maps = {"semantic": (planes % 19).byte(), "foreground": planes % 3 > 0}
    return Predictions(SIZE, boxes, scores, labels, Masks.from_bitmaps(masks), **maps)


def without_ros(predictions: Predictions) -> dict[str, Any]:
    p, size = predictions, predictions.image_size
    names = [CITYSCAPES.things[label] for label in p.labels.tolist()]
    scores, labels = p.scores.tolist(), p.labels.tolist()
    return {
        "detections": builders.detections_message(builder, HERE, p.boxes.tolist(), scores, names),
        "masks": builders.masks_message(builder, HERE, size, p.masks, labels, scores),
        "semantic": builders.image_message(builder, HERE, p.semantic.numpy(), "mono8"),
        "foreground": builders.image_message(builder, HERE, p.foreground.byte().numpy(), "mono8"),
    }


def with_ros(predictions: Predictions) -> dict[str, Any]:
    image = np.zeros((*SIZE, 3), np.uint8)
    result = Result(THERE, image, predictions, CITYSCAPES, Settings())
    return {
        "detections": conversions.detections_message(result),
        "masks": conversions.instance_masks_message(result),
        "semantic": conversions.semantic_message(result),
        "foreground": conversions.foreground_message(result),
    }


KINDS = {"detections": DETECTIONS, "masks": MASKS, "semantic": IMAGE, "foreground": IMAGE}


def serialised(message: Any, kind: str) -> bytes:
    """CDR with zeros as padding, which rclpy leaves to chance."""
    store = message_types()
    if not hasattr(message, "__msgtype__"):
        message = store.deserialize_cdr(serialize_message(message), kind)
    return bytes(store.serialize_cdr(message, kind))


@pytest.mark.parametrize("count", [0, 4])
@pytest.mark.parametrize("name", KINDS)
def test_both_libraries_fill_the_same_fields(name: str, count: int) -> None:
    ours, theirs = without_ros(seen(count))[name], with_ros(seen(count))[name]
    kind = KINDS[name]
    assert serialised(ours, kind) == serialised(theirs, kind)
    assert deserialize_message(serialised(ours, kind), message_class(kind)) == theirs


@pytest.mark.parametrize("count", [0, 4])
def test_what_was_seen_is_read_back_from_the_messages_of_both(count: int) -> None:
    for made in (without_ros(seen(count)), with_ros(seen(count))):
        found, expected = read_predictions(SIZE, CITYSCAPES, **made), seen(count)
        assert torch.allclose(found.boxes.float(), expected.boxes, atol=1e-5)
        assert torch.equal(found.scores.float(), expected.scores)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.masks.bitmaps(SIZE), expected.masks.bitmaps(SIZE))
        assert torch.equal(found.semantic, expected.semantic)
        assert torch.equal(found.foreground, expected.foreground)
        assert stamp_ns(made["masks"].header) == STAMP


def test_both_ways_to_store_a_mask_are_tried_above() -> None:
    assert {mask.encoding for mask in with_ros(seen())["masks"].masks} == {0, 1}


def test_16_bits_a_pixel_are_sent_little_endian_by_both() -> None:
    pixels = np.arange(600).reshape(SIZE)
    for order in "<>":
        samples = pixels.astype(f"{order}u2")
        ours = builders.image_message(builder, HERE, samples, "mono16")
        theirs = conversions.image_message(THERE, samples, "mono16")
        assert serialised(ours, IMAGE) == serialised(theirs, IMAGE)
        assert bytes(ours.data) == pixels.astype("<u2").tobytes()


@pytest.mark.parametrize(
    "kind",
    [
        "sensor_msgs/msg/CameraInfo",
        "vision_msgs/msg/Detection2D",
        "jointseg_msgs/msg/InferenceStats",
        "vision_msgs/msg/LabelInfo",
        DETECTIONS,
        IMAGE,
        MASKS,
    ],
)
def test_fields_that_nobody_filled_have_the_defaults_of_ros(kind: str) -> None:
    assert serialised(new(kind), kind) == serialised(message_class(kind)(), kind)
