"""RoIAlign as a sum of cells gives what torchvision's kernel gives."""

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from jointseg_core.roi_align import _region_levels, roi_align

SIZE = (96, 160)


def pyramid(batch=2, channels=3):
    torch.manual_seed(0)
    return [torch.randn(batch, channels, SIZE[0] // s, SIZE[1] // s) for s in (4, 8, 16, 32)]


def regions_of(count, seed):
    generator = torch.Generator().manual_seed(seed)
    width, height = SIZE[1], SIZE[0]
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    side = torch.rand(count, 2, generator=generator) ** 3 * torch.tensor([width, height])
    return torch.cat([corner, corner + side], 1)  # many reach beyond the image


def test_it_equals_torchvision_over_levels_and_images():
    features, regions = pyramid(), [regions_of(50, 1), regions_of(30, 2)]
    oracle = MultiScaleRoIAlign(list("2345"), 7, 2, canonical_scale=56, canonical_level=4)
    wanted = oracle(dict(zip("2345", features, strict=True)), regions, [SIZE] * 2)
    pooled = roi_align(features, regions, canonical_size=56)
    torch.testing.assert_close(pooled, wanted.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_gradients_equal_torchvisions():
    regions = [regions_of(20, 3), regions_of(20, 4)]
    oracle = MultiScaleRoIAlign(list("2345"), 7, 2, canonical_scale=56, canonical_level=4)
    ours, theirs = pyramid(), pyramid()
    for feature in (*ours, *theirs):
        feature.requires_grad_()
    roi_align(ours, regions, 56).square().sum().backward()
    oracle(dict(zip("2345", theirs, strict=True)), regions, [SIZE] * 2).square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-3, rtol=1e-4)


def test_a_constant_map_pools_to_its_constant_and_no_regions_to_nothing():
    features = [torch.full_like(level, 2.5) for level in pyramid(batch=1)]
    pooled = roi_align(features, [torch.tensor([[8.0, 8.0, 40.0, 64.0]])], 224)
    torch.testing.assert_close(pooled, torch.full((1, 49, 3), 2.5))
    assert roi_align(features, [torch.zeros(0, 4)], 224).shape == (0, 49, 3)


@pytest.mark.parametrize(
    ("side", "level"), [(1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (448, 3), (4000, 3)]
)
def test_twice_the_side_is_one_level_higher(side, level):
    assert _region_levels(torch.tensor([[0.0, 0.0, side, side]]), 224).tolist() == [level]
