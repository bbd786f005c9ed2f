"""Results survive the trip through their messages."""

import array
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from jointseg_msgs.msg import InstanceMask, PanopticSegmentArray
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from jointseg_core import CITYSCAPES, Masks, PanopticFusion, Predictions
from jointseg_core.images import message_to_rgb
from jointseg_core.messages import read_masks
from jointseg_core.visualize import instance_colors
from jointseg_ros import conversions
from jointseg_ros.conversions import Result
from jointseg_ros.parameters import Settings

HEADER = Header(frame_id="camera_optical")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 345678901


def predictions(masks: list[np.ndarray], size: tuple[int, int] = (6, 8)) -> Predictions:
    """Objects with these full-size masks, best first, and a semantic map."""
    count = len(masks)
    bitmaps = torch.from_numpy(np.stack(masks)) if count else torch.zeros(0, *size).bool()
    return Predictions(
        size,
        boxes=torch.tensor([[1.0, 2.0, 5.0, 4.5]]).repeat(count, 1),
        scores=torch.linspace(0.9, 0.5, count),
        labels=torch.arange(count) % 8,
        masks=Masks.from_bitmaps(bitmaps),
        semantic=torch.arange(48).view(6, 8).byte() % 19 if size == (6, 8) else None,
        confidence=torch.linspace(0, 1, 48).view(6, 8) if size == (6, 8) else None,
        foreground=torch.arange(48).view(6, 8) > 24 if size == (6, 8) else None,
    )


def result(seen: Predictions, **settings: Any) -> Result:
    """These predictions as the node hands them over."""
    image = np.zeros((*seen.image_size, 3), np.uint8)
    return Result(HEADER, image, seen, CITYSCAPES, Settings(**settings))


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((6, 8), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def test_detections_say_what_was_seen() -> None:
    sent = conversions.detections_message(result(predictions([rectangle(1, 2, 5, 4)])))
    [detection] = sent.detections
    center = detection.bbox.center.position
    assert sent.header == HEADER and detection.header == HEADER
    assert (center.x, center.y, detection.bbox.size_x, detection.bbox.size_y) == (3, 3.25, 4, 2.5)
    assert detection.results[0].hypothesis.class_id == "person"
    assert detection.results[0].hypothesis.score == pytest.approx(0.9)
    assert detection.id == ""


def test_the_class_can_be_a_number() -> None:
    seen = predictions([rectangle(1, 2, 5, 4)])
    sent = conversions.detections_message(result(seen, class_id_format="id"))
    assert sent.detections[0].results[0].hypothesis.class_id == "0"


def test_nothing_seen_gives_empty_messages_with_the_header() -> None:
    nothing = predictions([])
    detections = conversions.detections_message(result(nothing))
    masks = conversions.instance_masks_message(result(nothing))
    assert detections.header == masks.header == HEADER
    assert len(detections.detections) == len(masks.masks) == 0
    assert (masks.height, masks.width) == (6, 8)
    assert not np.any(np.frombuffer(conversions.instance_labels_message(result(nothing)).data))


def test_a_noisy_mask_is_sent_as_bits_and_a_smooth_one_as_runs() -> None:
    noisy = np.indices((40, 40)).sum(0) % 2 == 0
    smooth = np.ones((40, 40), bool)
    sent = conversions.instance_masks_message(result(predictions([noisy, smooth], (40, 40))))
    assert sent.masks[0].encoding == InstanceMask.ENCODING_BITMAP
    assert len(sent.masks[0].bitmap) == 200 and not sent.masks[0].rle
    assert sent.masks[0].bitmap[0] == 0b10101010
    assert sent.masks[1].encoding == InstanceMask.ENCODING_RLE
    assert list(sent.masks[1].rle) == [0, 1600] and not sent.masks[1].bitmap


@settings(max_examples=200, deadline=None)
@given(
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=20).flatmap(
        lambda shape: arrays(bool, (shape[0] % 4, *shape[1:]))
    )
)
def test_masks_survive_the_trip_bit_by_bit(bitmaps: np.ndarray) -> None:
    size = bitmaps.shape[1:]
    sent = conversions.instance_masks_message(result(predictions(list(bitmaps), size)))
    received, _ = read_masks(sent)
    assert np.array_equal(received.bitmaps(size).numpy(), bitmaps)
    for mask in sent.masks:
        roi = mask.roi
        assert 4 * len(mask.rle) + len(mask.bitmap) <= (roi.height * roi.width + 7) // 8


def test_masks_point_at_their_detections() -> None:
    seen = predictions([rectangle(0, 0, 3, 3), rectangle(2, 2, 8, 6)])
    sent = conversions.instance_masks_message(result(seen))
    assert [mask.detection_index for mask in sent.masks] == [0, 1]
    assert [mask.class_id for mask in sent.masks] == [0, 1]
    roi = sent.masks[1].roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (2, 2, 6, 4)


@pytest.mark.parametrize(
    "damage",
    [
        {"rle": array.array("I", [1, 2])},
        {"rle": array.array("I", [2**32 - 1, 13])},
        {"encoding": InstanceMask.ENCODING_BITMAP, "bitmap": b"\0"},
        {"rle": array.array("I", [])},
    ],
)
def test_runs_or_bits_that_do_not_fill_the_window_are_refused(damage: dict) -> None:
    sent = conversions.instance_masks_message(result(predictions([rectangle(1, 1, 5, 4)])))
    sent.masks[0].encoding, sent.masks[0].rle = InstanceMask.ENCODING_RLE, array.array("I", [0, 12])
    read_masks(sent)
    for name, value in damage.items():
        setattr(sent.masks[0], name, value)
    with pytest.raises(ValueError, match="does not fill its window of 3 x 4"):
        read_masks(sent)


def test_a_window_outside_the_image_is_refused() -> None:
    sent = conversions.instance_masks_message(result(predictions([rectangle(1, 1, 5, 4)])))
    sent.width = 4
    with pytest.raises(ValueError, match="the image at"):
        read_masks(sent)


def pixels(image: Image) -> np.ndarray:
    """The samples of a message, read by the book."""
    kind = {"mono8": "u1", "mono16": "<u2", "rgb8": "u1"}[image.encoding]
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    return np.squeeze(rows.view(kind).reshape(image.height, image.width, -1))


def test_where_masks_overlap_the_best_object_wins() -> None:
    seen = predictions([rectangle(2, 2, 6, 5), rectangle(0, 0, 4, 4)])
    labels = pixels(conversions.instance_labels_message(result(seen)))
    assert labels[3, 3] == 1 and labels[0, 0] == 2 and labels[5, 7] == 0
    colors = pixels(conversions.instance_color_message(result(seen)))
    assert not colors[5, 7].any() and colors[3, 3].any()
    assert not np.array_equal(colors[3, 3], colors[0, 0])


THINGS = tuple(CITYSCAPES.thing_to_semantic)
ROAD, PERSON = (CITYSCAPES.semantic.index(name) for name in ("road", "person"))


def street(masks: list[np.ndarray]) -> Predictions:
    """Persons with these masks on a road that begins in row 2; above it nothing is known."""
    semantic = torch.full((6, 8), 255, dtype=torch.uint8)
    semantic[2:] = ROAD
    persons = torch.zeros(len(masks), dtype=torch.int64)
    half = torch.full((6, 8), 0.5)
    fusion = PanopticFusion(THINGS)
    seen = replace(predictions(masks), labels=persons, semantic=semantic, confidence=half)
    return replace(seen, fusion=fusion)


def test_the_panoptic_image_has_the_class_in_its_high_byte_and_the_instance_in_its_low_one() -> (
    None
):
    seen = street([rectangle(0, 0, 3, 4), rectangle(2, 1, 6, 4)])
    image = conversions.panoptic_message(result(seen))
    assert (image.header, image.encoding, image.step) == (HEADER, "mono16", 16)
    classes, numbers = np.divmod(pixels(image), 256)
    assert set(classes[:2, 6:].flat) == {255} and set(numbers[:2, 6:].flat) == {0}
    assert set(classes[4:].flat) == {ROAD} and set(numbers[4:].flat) == {0}
    assert (classes[3, 2], numbers[3, 2]) == (PERSON, 1)  # the better of the two
    assert (classes[3, 3], numbers[3, 3]) == (PERSON, 2)
    [first, second, stuff] = conversions.panoptic_segments_message(result(seen)).segments
    assert [s.id for s in (first, second, stuff)] == [256 * PERSON + 1, 256 * PERSON + 2, 0]
    assert [s.class_id for s in (first, second, stuff)] == [PERSON, PERSON, ROAD]
    assert [s.is_thing for s in (first, second, stuff)] == [True, True, False]
    assert [s.detection_index for s in (first, second, stuff)] == [0, 1, -1]
    assert [s.area for s in (first, second, stuff)] == [12, 9, 32 - 6 - 6]
    assert [s.score for s in (first, second, stuff)] == pytest.approx([0.9, 0.5, 0.5])


def test_every_object_has_a_colour_of_its_own_and_stuff_that_of_its_class() -> None:
    seen = street([rectangle(x, y, x + 1, y + 1) for x in range(4) for y in range(6)])
    ids = pixels(conversions.panoptic_message(result(seen)))
    colors = pixels(conversions.panoptic_color_message(result(seen)))
    shades = {int(i): {tuple(c) for c in colors[ids == i].tolist()} for i in np.unique(ids)}
    assert all(len(shade) == 1 for shade in shades.values())
    assert len(set().union(*shades.values())) == len(shades)
    assert shades[256 * ROAD] == {tuple(CITYSCAPES.semantic_colors[ROAD].tolist())}
    assert shades[PanopticSegmentArray.VOID] == {(0, 0, 0)}


def test_more_objects_than_a_byte_can_count_have_their_colours() -> None:
    bitmaps = np.eye(400, dtype=bool)[:300].reshape(300, 20, 20)
    seen = replace(predictions(list(bitmaps), (20, 20)), fusion=PanopticFusion(THINGS))
    colors = pixels(conversions.panoptic_color_message(result(seen))).reshape(400, 3)
    assert colors[:300].any(1).all() and not colors[300:].any()
    shades = instance_colors(seen.labels.numpy(), seen.boxes.numpy(), CITYSCAPES)
    assert np.array_equal(colors[:300], shades)


@pytest.mark.parametrize("things", [True, False])
@pytest.mark.parametrize("stuff", [True, False])
def test_without_things_or_stuff_the_panoptic_messages_are_valid(things: bool, stuff: bool) -> None:
    seen = street([rectangle(0, 0, 8, 2)] if things else [])
    seen.semantic[:] = seen.semantic if stuff else 255
    ids = pixels(conversions.panoptic_message(result(seen)))
    expected = 256 * PERSON + 1 if things else PanopticSegmentArray.VOID
    assert (ids[:2] == expected).all()
    assert (ids[2:] == (256 * ROAD if stuff else PanopticSegmentArray.VOID)).all()
    sent = conversions.panoptic_segments_message(result(seen))
    assert (sent.header, sent.height, sent.width) == (HEADER, 6, 8)
    assert len(sent.segments) == things + stuff
    colors = pixels(conversions.panoptic_color_message(result(seen)))
    assert colors[0].any() == things and colors[3].any() == stuff


def test_the_segments_of_filtered_objects_refer_to_the_detections_that_are_left() -> None:
    seen = street([rectangle(0, 0, 3, 4), rectangle(4, 0, 7, 4)])
    assert seen.panoptic.segments  # of all of them, which must not be remembered
    [only, _] = conversions.panoptic_segments_message(result(seen[1:])).segments
    assert (only.detection_index, only.score, only.area) == (0, 0.5, 12)


def test_maps_are_published_at_the_size_of_the_image() -> None:
    seen = predictions([])
    semantic = pixels(conversions.semantic_message(result(seen)))
    assert np.array_equal(semantic, seen.semantic.numpy())
    confidence = pixels(conversions.confidence_message(result(seen)))
    assert confidence[0, 0] == 0 and confidence[-1, -1] == 255 and confidence[3, 0] == 130
    foreground = pixels(conversions.foreground_message(result(seen)))
    assert np.array_equal(foreground, seen.foreground.numpy())
    color = pixels(conversions.semantic_color_message(result(seen)))
    assert np.array_equal(color, CITYSCAPES.semantic_colors[semantic])


def test_unlabelled_pixels_are_black() -> None:
    seen = predictions([])
    seen.semantic[0, 0] = 255
    assert not pixels(conversions.semantic_color_message(result(seen)))[0, 0].any()


def test_a_label_image_survives_as_png() -> None:
    nothing = predictions([])
    sent = conversions.semantic_png_message(result(nothing))
    assert sent.header == HEADER and sent.format.startswith("mono8; png compressed")
    assert np.array_equal(np.asarray(Picture.open(io.BytesIO(sent.data))), nothing.semantic.numpy())


def test_a_jpeg_has_its_colours_in_order() -> None:
    red = np.zeros((16, 16, 3), np.uint8) + np.array([250, 10, 10], np.uint8)
    sent = conversions.jpeg_message(HEADER, red)
    assert sent.format == "rgb8; jpeg compressed bgr8"
    assert np.abs(message_to_rgb(sent).astype(int) - red).max() < 6


def test_label_info_names_every_number() -> None:
    info = conversions.label_info_message(HEADER, CITYSCAPES.things, 0.25)
    assert [c.class_id for c in info.class_map] == list(range(8))
    assert [c.class_name for c in info.class_map] == list(CITYSCAPES.things)
    assert info.threshold == 0.25


def test_what_is_not_a_number_is_left_out() -> None:
    seen = predictions([rectangle(0, 0, 2, 2), rectangle(1, 1, 3, 3), rectangle(2, 2, 4, 4)])
    seen.boxes[1, 2], seen.scores[2] = float("nan"), float("inf")
    assert conversions.without_nan(seen).labels.tolist() == [0]
    seen.confidence[0, 0] = float("nan")
    assert pixels(conversions.confidence_message(result(seen)))[0, 0] == 0


def test_large_fields_are_filled_with_bytes_or_arrays_never_with_numpy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[tuple[str, type]] = []
    fields = {Image: ["data"], CompressedImage: ["data"], InstanceMask: ["rle", "bitmap"]}
    for kind, names in fields.items():
        for name in names:
            plain = getattr(kind, name)

            def note(self, value, plain=plain, name=name):
                given.append((name, type(value)))
                plain.fset(self, value)

            monkeypatch.setattr(kind, name, property(plain.fget, note))
    noisy = np.random.default_rng(0).random((6, 8)) > 0.5
    seen = replace(predictions([noisy, rectangle(0, 0, 8, 6)]), fusion=PanopticFusion(THINGS))
    conversions.instance_masks_message(result(seen))
    conversions.panoptic_message(result(seen))
    conversions.panoptic_color_message(result(seen))
    conversions.instance_labels_message(result(seen))
    conversions.instance_color_message(result(seen))
    conversions.semantic_message(result(seen))
    conversions.semantic_color_message(result(seen))
    conversions.confidence_message(result(seen))
    conversions.foreground_message(result(seen))
    conversions.semantic_png_message(result(seen))
    conversions.jpeg_message(HEADER, np.full((7, 12, 3), 90, np.uint8))
    assert {name for name, _ in given} == {"data", "rle", "bitmap"}
    assert {kind for _, kind in given} <= {bytes, array.array, list}
    assert all(kind is not list for name, kind in given if name == "data")
