"""Task-aligned assignment: which cells find which object, and the losses of what they find."""

import math

import pytest
import torch

from jointseg_core import Target
from jointseg_core.alignment import (
    align,
    covered,
    mask_losses,
    match,
    overlap_loss,
    quality_focal_loss,
)
from jointseg_core.boxes import AnchorGrid
from jointseg_core.targets import IGNORED

SIDE = 3.0
ANCHORS = torch.cat(AnchorGrid((8, 16), SIDE, ratios=(1.0,))((64, 64), "cpu"))  # 8x8 and 4x4 cells


def target(*boxes, labels=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.long) if labels is None else torch.tensor(labels)
    return Target(boxes, labels, torch.zeros(len(boxes), 64, 64, dtype=torch.bool))


def aligned(wanted, boxes=ANCHORS, scores=None):
    scores = torch.full((len(ANCHORS), 2), 0.1) if scores is None else scores
    return align(scores, boxes, ANCHORS, SIDE, wanted)


def centers(cells):
    return (ANCHORS[cells, :2] + ANCHORS[cells, 2:]) / 2


def test_an_object_gets_the_cells_in_it_at_most_ten():
    found = aligned(target([8, 8, 56, 56]))
    cells = (found.owner == 0).nonzero().flatten()
    assert len(cells) == 10 and ((centers(cells) > 8) & (centers(cells) < 56)).all()
    assert set(found.owner.tolist()) == {0, -1} and (found.quality[found.owner < 0] == 0).all()


def test_the_best_cell_should_score_as_its_box_overlaps_and_others_less():
    found = aligned(target([20, 20, 44, 44]))
    assert found.best.sum() >= 1
    assert found.quality[found.best].max() == found.quality.max()
    exact = ANCHORS.clone()
    exact[27] = torch.tensor([20.0, 20, 44, 44])  # a cell of stride 8 at (28, 28)
    found = aligned(target([20, 20, 44, 44]), exact)
    assert found.best[27] and found.quality[27] == pytest.approx(1.0)
    others = found.quality[(found.owner == 0) & ~found.best]
    assert ((others > 0) & (others < 1)).all()


def test_scores_and_overlaps_decide_together():
    boxes = torch.tensor([20.0, 20, 44, 44]).repeat(len(ANCHORS), 1)  # all overlap alike
    scores = torch.full((len(ANCHORS), 2), 0.1)
    scores[36, 0], scores[27, 1] = 0.9, 0.9  # the other class does not count
    assert aligned(target([20, 20, 44, 44]), boxes, scores).best.nonzero().flatten().tolist() == [
        36
    ]


@pytest.mark.parametrize("corner", [(1, 1), (30, 7), (60, 33)])
def test_the_smallest_object_gets_a_cell_near_it(corner):
    x, y = corner
    found = aligned(target([x, y, x + 2, y + 2]))
    cells = (found.owner == 0).nonzero().flatten()
    assert len(cells) and (centers(cells) - torch.tensor([x + 1.0, y + 1.0])).abs().max() <= 12


def test_a_cell_of_two_objects_goes_to_one():
    found = aligned(target([16, 16, 44, 44], [28, 16, 56, 44], labels=[0, 1]))
    assert {0, 1} <= set(found.owner.tolist())
    assert all((found.quality[found.owner == k] > 0).all() for k in (0, 1))


def test_without_objects_nothing_is_sought():
    found = aligned(target())
    assert (found.owner == -1).all() and not found.quality.any() and not found.best.any()


def test_the_best_cells_of_each_object_are_chosen_and_the_most_certain_others():
    found = aligned(target([0, 0, 40, 40], [40, 40, 64, 64]))
    logits = torch.zeros(len(ANCHORS), 2)
    free = (found.owner < 0).nonzero().flatten()
    logits[free[3], 1] = 5.0
    cells = found.chosen(logits, cells=2, others=1)
    assert found.owner[cells].tolist().count(0) == found.owner[cells].tolist().count(1) == 2
    assert cells[-1] == free[3] and len(cells) == 5
    for k in (0, 1):
        mine = found.quality[found.owner == k].sort(descending=True).values
        assert found.quality[cells[found.owner[cells] == k]].min() >= mine[1]


def test_an_object_is_found_by_the_most_certain_box_of_its_class_that_overlaps_it_by_half():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [0, 0, 10, 10]])
    scores, labels = torch.tensor([0.5, 0.9, 0.95, 0.99]), torch.tensor([0, 0, 0, 1])
    owner, quality = match(boxes, scores, labels, target([0, 0, 10, 10]))
    assert owner.tolist() == [-1, 0, -1, -1]
    assert quality.tolist() == pytest.approx([0, 0.9, 0, 0])


@pytest.mark.parametrize("some", [0, 2])
def test_nothing_is_matched_with_nothing(some):
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(some, 1)
    owner, quality = match(boxes, torch.ones(some), torch.zeros(some).long(), target())
    assert owner.tolist() == [-1] * some and quality.tolist() == [0] * some


def test_scores_that_are_the_qualities_cost_nothing():
    owner, quality = torch.tensor([0, 1, -1]), torch.tensor([0.6, 0.3, 0.0])
    labels = torch.tensor([1, 0])
    wanted = torch.tensor([[0, 0.6], [0.3, 0], [0, 0]])
    right = quality_focal_loss(wanted.logit(eps=1e-6), owner, quality, labels)
    wrong = quality_focal_loss(torch.zeros(3, 2), owner, quality, labels)
    assert right < 1e-4 < 0.5 < wrong


def test_boxes_are_pulled_together_by_their_quality():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]], requires_grad=True)
    wanted = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    loss = overlap_loss(boxes, wanted, torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(0.5 * (1 + 1 / 3))  # apart: 1 - GIoU is 1 + 100 / 300
    loss.backward()
    assert boxes.grad[1, 2] < 0  # its right side wants to move to the right


def test_cells_at_an_edge_are_covered_in_part():
    masks = torch.zeros(2, 10, 6, dtype=torch.bool)  # 2.5 x 1.5 cells
    masks[0, :6, :4] = True
    assert covered(masks, (3, 2))[0].tolist() == [[1, 0], [0.5, 0], [0, 0]]
    assert covered(masks[:0], (3, 2)).shape == (0, 3, 2)


def test_masks_are_counted_in_their_windows_alone():
    shares, windows = torch.zeros(2, 4, 4), torch.ones(2, 4, 4)
    shares[:, 1:3, 1:3] = 1
    right = 20 * (2 * shares - 1)
    assert mask_losses(right, shares, windows).tolist() == pytest.approx([0, 0], abs=1e-6)
    undecided = mask_losses(torch.zeros_like(right), shares, windows)[0]
    # dice: 4 of the shares and 16 / 4 of what was found, of which half of 4 both
    assert float(undecided) == pytest.approx(math.log(2) + 1 - (2 * 2 + 1) / (4 + 4 + 1))
    beside = right.clone()
    beside[0, 0, 0] = 20
    windows[:, 0, 0] = 0
    assert mask_losses(beside, shares, windows)[0] < 1e-6
    windows[:, 0, 0] = 1
    assert mask_losses(beside, shares, windows)[0] > 1
    assert mask_losses(right[:0], shares[:0], windows[:0]).shape == (0,)


def test_half_covered_cells_want_a_probability_of_a_half():
    logits = torch.zeros(1, 2, 2, requires_grad=True)
    shares, windows = torch.full((1, 2, 2), 0.5), torch.ones(1, 2, 2)
    mask_losses(logits, shares, windows).sum().backward()
    assert logits.grad.abs().max() < 1e-6


def with_groups(wanted):
    """The same with a group from 0 to 20 and another from 20 to 40, from row 8 to 16."""
    groups = torch.zeros(2, 64, 64, dtype=torch.bool)
    groups[0, 8:16, 0:20] = groups[1, 8:16, 20:40] = True
    count = len(wanted.labels)
    return Target(
        torch.cat([wanted.boxes, torch.tensor([[0.0, 8, 20, 16], [20, 8, 40, 16]])]),
        torch.cat([wanted.labels, torch.zeros(2, dtype=torch.long)]),
        torch.cat([wanted.masks, groups]),
        crowd=torch.tensor([False] * count + [True] * 2),
    )


def test_what_is_found_in_a_group_is_not_asked_for():
    boxes = torch.tensor([[2.0, 8, 38, 16], [2, 4, 38, 24], [2, 9, 8, 14], [-9, 8, 70, 17]])
    scores, labels = torch.ones(4), torch.zeros(4, dtype=torch.long)
    wanted = target([2, 9, 8, 14])
    owner = match(boxes, scores, labels, with_groups(wanted))[0]
    # covered whole, by less than half, an object's, by half
    assert owner.tolist() == [IGNORED, -1, 0, IGNORED]
    assert match(boxes, scores, labels, wanted)[0].tolist() == [-1, -1, 0, -1]
    assert match(boxes, scores, labels, with_groups(target()))[0].tolist()[0] == IGNORED
    logits, quality = torch.full((4, 2), 3.0), torch.zeros(4)
    asked = quality_focal_loss(logits, owner.clamp(min=-1), quality, torch.tensor([1]))
    assert quality_focal_loss(logits, owner, quality, torch.tensor([1])) == pytest.approx(
        float(asked) / 2
    )


def test_cells_in_groups_find_nothing_and_objects_keep_theirs():
    wanted = target([0, 0, 40, 40])
    middles = centers(slice(None))
    boxes = torch.cat([middles - 2, middles + 2], 1)
    alone, among = aligned(wanted, boxes), aligned(with_groups(wanted), boxes)
    taken = alone.owner >= 0
    assert torch.equal(among.owner[taken], alone.owner[taken])
    assert IGNORED in among.owner
    nothing = aligned(with_groups(target()), boxes).owner
    assert (nothing == IGNORED).sum() == 5  # cells of stride 8, 12 pixels down


def test_cells_in_groups_train_no_second_look():
    found = aligned(target([0, 0, 40, 40]))
    free = (found.owner < 0).nonzero().flatten()
    owner = found.owner.clone()
    owner[free[:5]] = IGNORED
    logits = torch.zeros(len(ANCHORS), 2)
    logits[free[:6]] = 5.0
    chosen = found._replace(owner=owner).chosen(logits, cells=1, others=1)
    assert chosen.tolist()[-1] == free[5]
