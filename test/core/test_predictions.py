"""Masks as crops, and the result type that everything reads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jointseg_core import Masks, Predictions


def random_bitmaps(seed: int, count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator) > 0.8


@given(st.integers(0, 99), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9))
def test_crops_hold_exactly_the_bitmaps(seed, count, height, width):
    bitmaps = random_bitmaps(seed, count, height, width)
    masks = Masks.from_bitmaps(bitmaps)
    assert torch.equal(masks.bitmaps((height, width)), bitmaps)
    assert [masks.crop(i).sum().item() for i in range(count)] == bitmaps.sum((1, 2)).tolist()


def test_masks_are_chosen_by_slice_flag_or_index():
    bitmaps = random_bitmaps(1, 4, 6, 7)
    masks = Masks.from_bitmaps(bitmaps)
    for keep in (slice(1, 3), torch.tensor([True, False, False, True]), torch.tensor([3, 0, 0])):
        assert torch.equal(masks[keep].bitmaps((6, 7)), bitmaps[keep])
    with pytest.raises(IndexError):
        masks[torch.tensor(1)]


def test_pixels_have_to_fill_the_windows():
    with pytest.raises(ValueError, match=r"pixels is \[3\], expected \[4\]"):
        Masks(torch.tensor([[0, 0, 2, 2]]), torch.zeros(3, dtype=torch.bool))


def test_predictions_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"boxes is \[2, 5\], expected \[2, 4\]"):
        Predictions((4, 4), torch.zeros(2, 5), torch.zeros(2), torch.zeros(2).long())
    with pytest.raises(ValueError, match="semantic"):
        Predictions(
            (4, 4),
            torch.zeros(0, 4),
            torch.zeros(0),
            torch.zeros(0).long(),
            semantic=torch.zeros(4, 5),
        )


def test_indexing_keeps_the_per_pixel_results():
    seen = Predictions(
        (4, 4),
        torch.zeros(2, 4),
        torch.tensor([0.9, 0.2]),
        torch.tensor([1, 0]),
        Masks.from_bitmaps(torch.ones(2, 4, 4, dtype=torch.bool)),
        semantic=torch.ones(4, 4, dtype=torch.uint8),
    )
    sure = seen[seen.scores > 0.5]
    assert (len(sure), len(sure.masks), sure.labels.tolist()) == (1, 1, [1])
    assert sure.semantic is seen.semantic


def test_nothing_seen_is_a_valid_result():
    nothing = Predictions.empty((3, 5))
    assert len(nothing) == 0
    assert nothing.masks.bitmaps((3, 5)).shape == (0, 3, 5)
    assert len(nothing[nothing.scores > 0.5]) == 0
