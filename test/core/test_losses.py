"""Losses with values that can be computed on paper."""

import math

import pytest
import torch

from jointseg_core.losses import (
    box_loss,
    divide,
    focal_loss,
    mean_per_object,
    mined_cross_entropy,
    select_hard_pixels,
)


def test_focal_loss_of_an_undecided_network():
    logits = torch.zeros(3, 2)  # one positive of class 1, two background anchors
    loss = focal_loss(logits, torch.tensor([1, 2, 2]))
    # alpha (1 - p)^2 ln 2: 0.25 * 0.25 ln 2 at the positive, 0.75 * 0.25 ln 2 at the other five
    assert loss.item() == pytest.approx((0.0625 + 5 * 0.1875) * math.log(2), rel=1e-6)


def test_box_loss_is_quadratic_below_beta_and_linear_above():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.tensor([[0.05, 1.0, 0.0, 0.0]])
    loss = box_loss(deltas, anchors, anchors, beta=0.1)
    assert loss.item() == pytest.approx(0.5 * 0.05**2 / 0.1 + (1.0 - 0.05), rel=1e-6)


def test_three_hard_background_anchors_count_for_an_object():
    logits = torch.zeros(6, 2)
    logits[1:, 0] = torch.tensor([1.0, 5, 2, 4, 3])  # how much the background looks like an object
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    background = torch.nn.functional.softplus(logits[1:, 0])
    loss = mined_cross_entropy(logits, labels, 3)
    torch.testing.assert_close(loss, math.log(2) + background[[1, 3, 4]].sum())
    torch.testing.assert_close(
        mined_cross_entropy(logits[1:], labels[1:], 3), background[[1, 3, 4]].sum()
    )
    torch.testing.assert_close(
        mined_cross_entropy(logits[:1], labels[:1], 3), torch.tensor(math.log(2))
    )


OWNER = torch.tensor([0, 0, 0, 0, 1, 1, 1])
IS_OBJECT = torch.tensor([True, False, False, False, True, True, False])
LOSSES = torch.tensor([0.1, 0.5, 2.0, 0.7, 1.0, 3.0, 0.2])


def test_as_many_of_the_hardest_background_pixels_count_as_object_pixels():
    keep = select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=1.0)
    assert keep.tolist() == [True, False, True, False, True, True, True]


def test_the_ratio_multiplies_and_infinity_keeps_everything():
    twice = select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=2.0)
    assert twice.tolist() == [True, False, True, True, True, True, True]
    assert select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=math.inf).all()
    none = select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=0.0)
    assert none.tolist() == IS_OBJECT.tolist()


def test_an_object_without_pixels_in_its_crop_counts_nothing():
    keep = select_hard_pixels(LOSSES, torch.zeros(7, dtype=torch.bool), OWNER, ratio=1.0)
    assert not keep.any()


def test_the_mask_loss_is_a_mean_over_pixels_then_objects():
    keep = select_hard_pixels(LOSSES, IS_OBJECT, OWNER, ratio=1.0)
    means = mean_per_object(LOSSES, keep, OWNER, 2)
    assert means.tolist() == pytest.approx([(0.1 + 2.0) / 2, (1.0 + 3.0 + 0.2) / 3])


def test_no_pixels_at_all_lose_nothing():
    none = torch.zeros(0)
    keep = select_hard_pixels(none, none.bool(), none.long(), 1.0)
    assert mean_per_object(none, keep, none.long(), 0).sum() == 0


def test_sums_are_divided_by_their_counts_and_by_one_where_nothing_counts():
    sums = {"box": torch.tensor(6.0), "mask": torch.tensor(0.0)}
    divided = divide(sums, {"box": 4, "mask": 0, "unused": 3})
    assert {name: value.item() for name, value in divided.items()} == {"box": 1.5, "mask": 0}
