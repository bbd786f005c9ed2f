"""Box arithmetic: round trips, and windows counted by hand."""

import pytest
import torch

from jointseg_core.boxes import (
    crop_windows,
    decode_boxes,
    encode_boxes,
    expand_boxes,
    has_area,
    window_pixels,
)

ANCHORS = torch.tensor([[0.0, 0, 10, 20], [5, 5, 15, 10]])


def test_decoding_undoes_encoding():
    boxes = torch.tensor([[1.0, 2, 9, 30], [4, 4, 20, 12]])
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, ANCHORS), ANCHORS), boxes)


def test_deltas_are_in_units_of_the_anchor():
    boxes = torch.tensor([[5.0, 0, 15, 40]])  # centre (10, 20), 10 x 40; anchor (5, 10), 10 x 20
    wanted = torch.tensor([[0.5, 0.5, 0.0, torch.tensor(2.0).log()]])
    torch.testing.assert_close(encode_boxes(boxes, ANCHORS[:1]), wanted)


def test_no_delta_makes_a_box_infinite():
    boxes = decode_boxes(torch.full((1, 4), 1000.0), ANCHORS[:1])
    assert (boxes[:, 2:] - boxes[:, :2] <= 62.6 * torch.tensor([10.0, 20.0])).all()


def test_boxes_without_area_are_known():
    boxes = torch.tensor([[0.0, 0, 1, 1], [3, 3, 3, 5], [5, 5, 4, 9], [0, float("nan"), 1, 1]])
    assert has_area(boxes).tolist() == [True, False, False, False]


@pytest.mark.parametrize("factor", [1.0, 1.2, 1.5])
def test_expansion_keeps_the_centre(factor):
    grown = expand_boxes(ANCHORS, factor)
    torch.testing.assert_close(grown[:, :2] + grown[:, 2:], ANCHORS[:, :2] + ANCHORS[:, 2:])
    torch.testing.assert_close(
        grown[:, 2:] - grown[:, :2], (ANCHORS[:, 2:] - ANCHORS[:, :2]) * factor
    )


def test_a_window_holds_the_pixels_whose_centres_are_inside():
    boxes = torch.tensor([[1.4, 1.6, 3.5, 3.6]])  # centres 1.5, 2.5 across; 2.5, 3.5 down
    assert crop_windows(boxes, 0.0, (10, 10)).tolist() == [[1, 2, 3, 4]]


def test_a_margin_pads_by_a_share_but_at_least_a_pixel_and_stops_at_the_image():
    boxes = torch.tensor([[10.0, 10, 18, 12], [0, 0, 20, 20]])
    windows = crop_windows(boxes, 0.25, (20, 24))
    assert windows.tolist() == [[8, 9, 20, 13], [0, 0, 24, 20]]


def test_window_pixels_are_listed_row_by_row():
    owner, x, y = window_pixels(torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0], [5, 5, 6, 6]]))
    assert owner.tolist() == [0, 0, 0, 0, 2]
    assert x.tolist() == [1, 2, 1, 2, 5]
    assert y.tolist() == [2, 2, 3, 3, 5]
