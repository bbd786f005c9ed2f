"""Folded batch norms: the same outputs, and none left."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from jointseg_core import build_model, preset
from jointseg_core.backbone import build_backbone
from jointseg_core.runtime.folding import fold_batch_norms

NORMS = nn.BatchNorm2d | FrozenBatchNorm2d


def with_statistics(network):
    """In evaluation mode, every norm with statistics, scale and shift of its own."""
    for norm in network.modules():
        if isinstance(norm, NORMS):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return network.eval()


def norms(network):
    return [module for module in network.modules() if isinstance(module, NORMS)]


def check(network, images, see=None):
    see = see or (lambda x: [network(x)])
    wanted = see(images)
    fold_batch_norms(network)
    assert not norms(network)
    for found, expected in zip(see(images), wanted, strict=True):
        scale = expected.abs().max()
        torch.testing.assert_close(found / scale, expected / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["fixed", "fixed_statistics", "trainable"])
@pytest.mark.parametrize("name", ["tiny", "r50", "lite0"])
@torch.no_grad()
def test_backbones_compute_the_same(name, norm):
    torch.manual_seed(0)
    network = with_statistics(build_backbone(name, norm))
    check(network, torch.randn(1, 3, 64, 96), network)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
@torch.no_grad()
def test_so_do_networks_of_torchvision(norm):
    torch.manual_seed(0)
    check(with_statistics(resnet18(norm_layer=norm)), torch.randn(1, 3, 64, 64))


@torch.no_grad()
def test_heads_compute_the_same_also_with_bias_groups_and_stride():
    torch.manual_seed(0)
    head = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 5, stride=2, groups=8, bias=False), nn.BatchNorm2d(8)),
        nn.Conv2d(8, 3, 1),
    )
    check(with_statistics(head), torch.randn(2, 4, 12, 12))


@torch.no_grad()
def test_a_convolution_that_levels_share_becomes_one_for_each_of_their_norms():
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    levels = nn.ModuleList(nn.Sequential(shared, nn.BatchNorm2d(4)) for _ in range(3))
    weight = shared.weight.clone()
    images = torch.randn(1, 4, 8, 8)
    check(with_statistics(levels), images, lambda x: [level(x) for level in levels])
    assert torch.equal(shared.weight, weight)
    assert len({id(level[0]) for level in levels}) == 3


@torch.no_grad()
def test_a_network_in_training_is_folded_as_it_evaluates():
    torch.manual_seed(0)
    network = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    images = torch.randn(2, 3, 8, 8)
    wanted = network(images)
    fold_batch_norms(network.train())
    torch.testing.assert_close(network(images), wanted)


def test_norms_that_follow_something_else_stay():
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
    fold_batch_norms(network)
    assert len(norms(network)) == 1


@torch.no_grad()
def test_folding_twice_is_folding_once():
    model = with_statistics(build_model(preset("joint", "tiny")).eval())
    fold_batch_norms(model)
    images = torch.randn(1, 3, 64, 64)
    once = model(images).class_logits
    fold_batch_norms(model)
    assert torch.equal(model(images).class_logits, once)
