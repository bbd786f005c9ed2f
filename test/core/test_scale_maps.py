"""The level rules of SegRPN's Eq. 1 to 5."""

import pytest
import torch

from jointseg_core import Target
from jointseg_core.scale_maps import true_scale_maps


def maps(boxes, masks, case):
    target = Target(boxes, torch.zeros(len(boxes)).long(), masks)
    return [level[0, 0] for level in true_scale_maps([target], case)]


def square(side):
    return torch.tensor([[0.0, 0, side, side]])


@pytest.mark.parametrize(
    ("case", "sides", "levels"),
    [
        (1, (31.9, 32, 63, 64, 128, 256, 900), (2, 3, 3, 4, 5, 6, 6)),
        (2, (111, 112, 223, 224, 448, 900), (2, 3, 3, 4, 5, 5)),
        (3, (47, 48, 95, 96, 192, 384), (2, 3, 3, 4, 5, 6)),
    ],
)
def test_lower_bounds_are_inclusive(case, sides, levels):
    for side, level in zip(sides, levels, strict=True):
        found = maps(square(side), torch.ones(1, 64, 64).bool(), case)
        assert 2 + [bool(m.any()) for m in found].index(True) == level


def test_scale_maps_put_each_object_on_its_level_without_losing_thin_ones():
    masks = torch.zeros(2, 128, 128, dtype=torch.bool)
    masks[0, 10:30, 17] = True  # one pixel wide
    masks[1, 0:120, 0:120] = True
    boxes = torch.tensor([[17.0, 10, 18, 30], [0, 0, 120, 120]])
    found = maps(boxes, masks, case=1)
    assert [m.shape[0] for m in found] == [32, 16, 8, 4, 2]
    assert [int(m.sum()) for m in found] == [6, 0, 64, 0, 0]
    assert found[0][2:8, 4].all()


def test_case_2_repeats_level_5_on_level_6():
    masks = torch.ones(1, 512, 512, dtype=torch.bool)
    assert [bool(m.any()) for m in maps(square(512), masks, case=2)] == [
        False,
        False,
        False,
        True,
        True,
    ]
