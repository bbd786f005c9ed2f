"""From scores to boxes, with numbers small enough to see what should remain."""

import torch

from jointseg_core.postprocessing import best_of_levels, detect, of_any_class

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [5, 5, 5, 9]])


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
