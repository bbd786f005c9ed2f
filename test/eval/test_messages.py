from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jointseg_core.classes import CITYSCAPES
from jointseg_core.errors import BadInput
from jointseg_core.messages import (
    _run_lengths,
    read_boxes,
    read_masks,
    read_plane,
    read_predictions,
)
from jointseg_core.predictions import Masks
from jointseg_eval.recordings.messages import (
    detections_message,
    header_message,
    image_message,
    masks_message,
    read_target,
)

SIZE = (20, 30)
HEADER = header_message(5, "camera")


def bitmaps(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    masks = torch.zeros(count, *SIZE, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[k : k + 9, 2 * k : 2 * k + 12] = torch.rand(9, 12, generator=generator) > 0.4
    return masks


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        ([[0, 1, 1], [1, 0, 0]], [1, 3, 2]),
        ([[1, 1], [1, 1]], [0, 4]),
        ([[0, 0]], [2]),
        ([[1, 0, 1]], [0, 1, 1, 1]),
        (np.zeros((0, 5)), []),
    ],
)
def test_run_lengths_alternate_row_by_row_and_begin_with_the_background(mask: list, runs: list):
    assert _run_lengths(np.array(mask, bool)).tolist() == runs


def test_boxes_come_back_to_the_last_bit_with_their_classes():
    boxes = [[0.5, 1.25, 7.75, 9.0], [10.0, 0.0, 30.0, 20.0]]
    message = detections_message(HEADER, boxes, ["car", "person"], ["4", "5"])
    found, scores, labels = read_boxes(message, CITYSCAPES)
    assert found.tolist() == boxes and scores.tolist() == [1, 1] and labels.tolist() == [2, 0]
    assert [d.id for d in message.detections] == ["4", "5"]


def test_classes_may_be_numbers_and_unknown_ones_are_refused():
    message = detections_message(HEADER, [[0, 0, 1, 1]], ["7"], [""])
    assert read_boxes(message, CITYSCAPES)[2].tolist() == [7]
    for name in ("8", "-1", "dragon"):
        with pytest.raises(ValueError, match=name):
            read_boxes(detections_message(HEADER, [[0, 0, 1, 1]], [name], [""]), CITYSCAPES)


def test_masks_come_back_pixel_by_pixel():
    masks = Masks.from_bitmaps(bitmaps())
    message = masks_message(HEADER, SIZE, masks, [2, 0, 7], ["1", "2", "3"])
    found, labels = read_masks(message)
    assert torch.equal(found.bitmaps(SIZE), bitmaps()) and labels.tolist() == [2, 0, 7]
    assert [m.detection_index for m in message.masks] == [0, 1, 2]


def test_masks_that_nobody_wants_are_not_read():
    message = masks_message(HEADER, SIZE, Masks.from_bitmaps(bitmaps()), [2, 0, 7], [""] * 3)
    found, labels = read_masks(message, [True, False, True])
    assert torch.equal(found.bitmaps(SIZE), bitmaps()[[0, 2]]) and labels.tolist() == [2, 7]
    with pytest.raises(IndexError, match="3 masks, expected 2"):
        read_masks(message, [True, False])


def test_bit_packed_masks_are_read_too():
    crop = bitmaps(1)[0, :9, :12].numpy()
    roi = SimpleNamespace(x_offset=4, y_offset=2, width=12, height=9)
    bits = np.packbits(crop.reshape(-1))
    mask = SimpleNamespace(roi=roi, encoding=1, bitmap=bits, rle=[], class_id=3)
    found, _ = read_masks(SimpleNamespace(width=30, height=20, masks=[mask]))
    assert np.array_equal(found.crop(0).numpy(), crop)


def test_masks_that_do_not_fill_their_window_or_leave_the_image_are_refused():
    message = masks_message(HEADER, SIZE, Masks.from_bitmaps(bitmaps(1)), [2], [""])
    message.masks[0].rle = message.masks[0].rle[:-1]
    with pytest.raises(BadInput, match="does not fill its window of"):
        read_masks(message)
    message.width = 5
    with pytest.raises(BadInput, match="the image at"):
        read_masks(message)


def test_a_padded_plane_loses_its_padding():
    rows = np.zeros((4, 8), np.uint8)
    rows[:, :5] = np.arange(20).reshape(4, 5)
    message = SimpleNamespace(height=4, width=5, step=8, data=rows.reshape(-1))
    assert read_plane(message).tolist() == np.arange(20).reshape(4, 5).tolist()


def test_empty_results_are_results():
    nothing = detections_message(HEADER, [], [], [])
    no_masks = masks_message(HEADER, SIZE, Masks.empty(), [], [])
    found = read_predictions(SIZE, CITYSCAPES, nothing, no_masks)
    assert len(found) == 0 and len(found.masks) == 0 and found.semantic is None


def test_a_target_has_its_objects_first_and_then_the_groups_as_crowds():
    masks = bitmaps()
    objects, group = Masks.from_bitmaps(masks[:2]), Masks.from_bitmaps(masks[2:])
    target = read_target(
        SIZE,
        CITYSCAPES,
        detections_message(HEADER, objects.windows.tolist(), ["car", "bus"], ["1", "2"]),
        masks_message(HEADER, SIZE, objects, [2, 4], ["1", "2"]),
        masks_message(HEADER, SIZE, group, [0], ["3"]),
        image_message(np.full(SIZE, 255, np.uint8), HEADER),
    )
    assert target.labels.tolist() == [2, 4, 0] and target.crowd.tolist() == [False, False, True]
    assert torch.equal(target.masks, masks)
    assert target.boxes[2].tolist() == group.windows[0].tolist()
    assert (target.semantic == 255).all()
