"""Correlation, cropping and the mask loss of RDSNet, worked out by hand."""

import math

import pytest
import torch

from jointseg_core import Letterbox, Target
from jointseg_core.correlation import (
    _mean_per_object,
    _select_hard_pixels,
    _window_pixels,
    contrast,
    correlate,
    count_mask_samples,
    mask_losses,
    mask_samples,
    sample_masks,
    shrink_masks,
    threshold_masks,
)
from jointseg_core.targets import IGNORED, NEGATIVE


def test_correlation_is_a_product_of_representations():
    representations = torch.tensor([[[1.0, 0], [2, 3]]])  # one object: background, then object
    pixels = torch.tensor([[[1.0, 2]], [[4, 5]]])  # d = 2, 1 x 2 cells
    logits = correlate(representations, pixels)
    assert logits.tolist() == [[[[1, 2]], [[14, 19]]]]
    softmax = logits.softmax(1)[:, 1]
    torch.testing.assert_close(correlate(contrast(representations), pixels).sigmoid(), softmax)


def test_masks_shrink_to_the_middle_of_their_cells():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    masks[0, 1:3, 1:3] = True  # the four pixels around the centre of the first cell
    masks[0, 4:8, 7] = True  # a line at a cell's edge
    assert shrink_masks(masks, 4).tolist() == [[[True, False], [False, False]]]
    assert shrink_masks(masks[:0], 4).shape == (0, 2, 2)


@pytest.mark.parametrize("count", [0, 2])
def test_masks_of_any_size_have_a_cell_for_every_started_stride(count):
    masks = torch.ones(count, 550, 9, dtype=torch.bool)
    assert shrink_masks(masks, 4).shape == (count, 138, 3)


def square(size=(16, 16), box=(4, 4, 12, 12)):
    masks = torch.zeros(1, *size, dtype=torch.bool)
    masks[0, box[1] : box[3], box[0] : box[2]] = True
    return Target(torch.tensor([box], dtype=torch.float32), torch.tensor([0]), masks)


def test_the_mask_loss_is_the_mean_over_the_crop():
    logits = torch.arange(16.0).view(1, 4, 4)  # of 4 x 4 cells, of which 2 x 2 are the object
    target = square()
    representations, none = torch.ones(1, 1), torch.zeros(1).long()
    exact = mask_losses(representations, logits, target, none, margin=0.0, hard_ratio=math.inf)
    inside = torch.nn.functional.softplus(-torch.tensor([5.0, 6, 9, 10]))
    torch.testing.assert_close(exact, inside.mean()[None])
    wide = mask_losses(representations, logits, target, none, margin=0.25, hard_ratio=math.inf)
    outside = torch.nn.functional.softplus(
        torch.tensor([0.0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 14, 15])
    )
    torch.testing.assert_close(wide, ((inside.sum() + outside.sum()) / 16)[None])
    hard = mask_losses(representations, logits, target, none, margin=0.25, hard_ratio=1.0)
    torch.testing.assert_close(hard, ((inside.sum() + outside[-4:].sum()) / 8)[None])


def test_masks_come_from_positive_anchors_of_large_objects():
    target = square()
    assigned = torch.tensor([0, NEGATIVE, 0, IGNORED, 0])
    assert mask_samples(target, assigned, min_area=63, limit=9).tolist() == [0, 2, 4]
    assert mask_samples(target, assigned, min_area=64, limit=9).tolist() == []
    assert len(mask_samples(target, assigned, min_area=0, limit=2)) == 2
    found = [(target, assigned), (target[[]], torch.full((5,), NEGATIVE))]
    for limits in ((63, 9), (64, 9), (0, 2)):
        chosen = sum(len(mask_samples(*image, *limits)) for image in found)
        assert count_mask_samples(found, *limits) == chosen


def test_masks_are_cut_at_the_camera_s_pixels():
    frame = Letterbox((32, 32), (16, 16))  # a cell is 8 camera pixels
    pixels = torch.full((1, 4, 4), 2.0)
    boxes = torch.tensor([[8.0, 8, 24, 24]])
    crops, windows = sample_masks(pixels, boxes, 0.0, frame)
    assert windows.tolist() == [[8, 8, 24, 24]]
    assert crops[0].shape == (16, 16) and (crops[0] == 2).all()
    grown = sample_masks(pixels, boxes, 0.1, frame)[1]
    assert grown.tolist() == [[0, 0, 32, 32]]  # at least a cell
    assert threshold_masks(crops, windows, 0.88).pixels.all()  # sigmoid(2) = 0.881
    assert not threshold_masks(crops, windows, 0.89).pixels.any()


OWNER = torch.tensor([0, 0, 0, 0, 1, 1, 1])
IS_OBJECT = torch.tensor([True, False, False, False, True, True, False])
LOSSES = torch.tensor([0.1, 0.5, 2.0, 0.7, 1.0, 3.0, 0.2])


def test_as_many_of_the_hardest_background_pixels_count_as_object_pixels():
    keep = _select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=1.0)
    assert keep.tolist() == [True, False, True, False, True, True, True]


def test_the_ratio_multiplies_and_infinity_keeps_everything():
    twice = _select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=2.0)
    assert twice.tolist() == [True, False, True, True, True, True, True]
    assert _select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=math.inf).all()
    none = _select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=0.0)
    assert none.tolist() == IS_OBJECT.tolist()


def test_an_object_without_pixels_in_its_crop_counts_nothing():
    keep = _select_hard_pixels(LOSSES, torch.zeros(7, dtype=torch.bool), OWNER, ratio=1.0)
    assert not keep.any()


def test_the_mask_loss_is_a_mean_over_pixels_then_objects():
    keep = _select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=1.0)
    means = _mean_per_object(LOSSES, keep, OWNER, 2)
    assert means.tolist() == pytest.approx([(0.1 + 2.0) / 2, (1.0 + 3.0 + 0.2) / 3])


def test_no_pixels_at_all_lose_nothing():
    none = torch.zeros(0)
    keep = _select_hard_pixels(none, none.bool(), none.long(), 1.0)
    assert _mean_per_object(none, keep, none.long(), 0).sum() == 0


def test_window_pixels_are_listed_row_by_row():
    owner, x, y = _window_pixels(torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0], [5, 5, 6, 6]]))
    assert owner.tolist() == [0, 0, 0, 0, 2]
    assert x.tolist() == [1, 2, 1, 2, 5]
    assert y.tolist() == [2, 2, 3, 3, 5]
