"""Boxes: anchors, round trips of deltas, windows and the choice, worked out by hand."""

import pytest
import torch

from jointseg_core import build_rdsnet, build_rdsnet_s, build_segrpn, preset
from jointseg_core.boxes import (
    AnchorGrid,
    best_of_levels,
    box_loss,
    crop_windows,
    decode_boxes,
    detect,
    encode_boxes,
    has_area,
    of_any_class,
)

ANCHORS = torch.tensor([[0.0, 0, 10, 20], [5, 5, 15, 10]])
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [5, 5, 5, 9]])


# Anchors


def test_a_cell_has_anchors_of_equal_area_around_its_centre():
    grid = AnchorGrid((8,), 4.0)
    (anchors,) = grid((16, 24), "cpu")
    assert anchors.shape == (2 * 3 * 3, 4)
    wide, square, tall = anchors[3:6]  # second cell of the first row
    torch.testing.assert_close(square, torch.tensor([12.0 - 16, 4 - 16, 12 + 16, 4 + 16]))
    for anchor, ratio in ((wide, 0.5), (tall, 2.0)):
        width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
        torch.testing.assert_close(width * height, torch.tensor(1024.0))
        torch.testing.assert_close(height / width, torch.tensor(ratio))


def test_the_small_network_has_yolacts_anchors_on_every_started_cell():
    anchors = build_rdsnet_s(preset("rdsnet_s", "r50")).anchors((550, 550), "cpu")
    assert [len(level) for level in anchors] == [3 * n**2 for n in (69, 35, 18, 9, 5)]
    assert sum(len(level) for level in anchors) == 19_248
    sizes = [(level[:, 2:] - level[:, :2]).prod(1).sqrt().max().item() for level in anchors]
    assert sizes == pytest.approx([24, 48, 96, 192, 384], rel=1e-4)


@pytest.mark.parametrize(
    ("build", "model", "count"),
    [(build_rdsnet, "rdsnet", 98_208), (build_segrpn, "segrpn", 130_944)],
)
def test_the_papers_models_have_the_papers_anchors(build, model, count):
    anchors = build(preset(model, "r50")).anchors((512, 1024), "cpu")
    assert sum(len(level) for level in anchors) == count
    sizes = [(level[:, 2:] - level[:, :2]).prod(1).sqrt().min().item() for level in anchors]
    assert sizes == pytest.approx([32, 64, 128, 256, 512], rel=1e-4)


# Deltas and windows


def test_decoding_undoes_encoding():
    boxes = torch.tensor([[1.0, 2, 9, 30], [4, 4, 20, 12]])
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, ANCHORS), ANCHORS), boxes)


def test_deltas_are_in_units_of_the_anchor():
    boxes = torch.tensor([[5.0, 0, 15, 40]])  # centre (10, 20), 10 x 40; anchor (5, 10), 10 x 20
    wanted = torch.tensor([[0.5, 0.5, 0.0, torch.tensor(2.0).log()]])
    torch.testing.assert_close(encode_boxes(boxes, ANCHORS[:1]), wanted)


def test_box_loss_is_quadratic_below_beta_and_linear_above():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.tensor([[0.05, 1.0, 0.0, 0.0]])
    loss = box_loss(deltas, anchors, anchors, beta=0.1)
    assert loss.item() == pytest.approx(0.5 * 0.05**2 / 0.1 + (1.0 - 0.05), rel=1e-6)


def test_no_delta_makes_a_box_infinite():
    boxes = decode_boxes(torch.full((1, 4), 1000.0), ANCHORS[:1])
    assert (boxes[:, 2:] - boxes[:, :2] <= 62.6 * torch.tensor([10.0, 20.0])).all()


def test_boxes_without_area_are_known():
    boxes = torch.tensor([[0.0, 0, 1, 1], [3, 3, 3, 5], [5, 5, 4, 9], [0, float("nan"), 1, 1]])
    assert has_area(boxes).tolist() == [True, False, False, False]


def test_a_window_holds_the_pixels_whose_centres_are_inside():
    boxes = torch.tensor([[1.4, 1.6, 3.5, 3.6]])  # centres 1.5, 2.5 across; 2.5, 3.5 down
    assert crop_windows(boxes, 0.0, (10, 10)).tolist() == [[1, 2, 3, 4]]


def test_a_margin_pads_by_a_share_but_at_least_a_pixel_and_stops_at_the_image():
    boxes = torch.tensor([[10.0, 10, 18, 12], [0, 0, 20, 20]])
    windows = crop_windows(boxes, 0.25, (20, 24))
    assert windows.tolist() == [[8, 9, 20, 13], [0, 0, 24, 20]]


# The choice


def test_every_level_sends_its_best():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.2, 0.8])
    index, level = best_of_levels(scores, (3, 2, 1), limit=2)
    assert index.tolist() == [1, 2, 3, 4, 5]
    assert level.tolist() == [0, 0, 1, 1, 2]
    assert best_of_levels(scores, (3, 2, 1), 2, threshold=0.3)[0].tolist() == [1, 2, 5]


def test_boxes_compete_within_their_class_and_those_without_area_are_none():
    scores = torch.tensor([[0.9, 0.2], [0.8, 0.7], [0.3, 0.1], [1.0, 1.0]])
    rows, labels = detect(BOXES, scores, threshold=0.15, nms_iou=0.5, limit=10)
    assert list(zip(rows.tolist(), labels.tolist(), strict=True)) == [(0, 0), (1, 1), (2, 0)]
    assert detect(BOXES, scores, 0.15, 0.5, limit=2)[0].tolist() == [0, 1]
    assert len(detect(BOXES, scores, 1.0, 0.5, 10)[0]) == 0


def test_every_class_may_have_boxes_of_its_own():
    boxes = torch.stack([BOXES, BOXES.flip(0)], 1)  # the second class sees them the other way round
    rows, labels = detect(boxes, torch.tensor([[0.0, 0.9]]).repeat(4, 1), 0.5, 0.5, 10)
    assert set(rows.tolist()) <= {1, 2, 3} and set(labels.tolist()) == {1}


def test_what_overlaps_does_not_depend_on_the_number_of_the_class():
    box = torch.tensor([1500.0, 900, 1540, 940])
    near = box + torch.tensor([13.3331, 0, 13.3331, 0])  # IoU 0.500005
    boxes, scores = torch.stack([box, near]), torch.zeros(2, 80)
    for label in range(80):
        certain = scores.clone()
        certain[:, label] = torch.tensor([0.9, 0.8])
        assert detect(boxes, certain, 0.5, 0.5, 10)[0].tolist() == [0]


def test_proposals_compete_whatever_their_class_and_overlap_more():
    boxes, scores = of_any_class(BOXES, torch.tensor([0.5, 0.6, 0.1, 0.9]), 10)
    assert boxes.tolist() == BOXES[[1, 2]].tolist()  # IoU 0.8; the last has no area
    torch.testing.assert_close(scores, torch.tensor([0.6, 0.1]))
    apart = BOXES[[0, 1]] * torch.tensor([1.0, 1, 1, 0.85])
    apart[0, 3] = 10.0  # IoU 0.68
    assert len(of_any_class(apart, torch.tensor([0.5, 0.6]), 10)[0]) == 2
    assert len(of_any_class(BOXES[:0], torch.zeros(0), 10)[0]) == 0
