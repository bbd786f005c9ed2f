"""Backbones: torchvision's weights, the papers' norms, pyramids."""

import pytest
import torch
import torchvision

from jointseg_core.backbone import (
    FeaturePyramid,
    StridedConvLevels,
    SubsampledLevel,
    build_backbone,
)
from jointseg_core.checkpoint import _load_backbone


def disturb_statistics(module):
    for norm in module.modules():
        if hasattr(norm, "running_mean"):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias, std=0.1)


@pytest.mark.parametrize("norm", ["fixed", "fixed_statistics", "trainable"])
def test_a_torchvision_file_gives_torchvisions_features(tmp_path, norm):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).eval()
    disturb_statistics(theirs)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = build_backbone("r18", norm).eval()
    _load_backbone(ours, tmp_path / "resnet18.pth")
    images = torch.randn(1, 3, 64, 96)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    for stage, feature in zip((1, 2, 3, 4), ours(images), strict=True):
        x = getattr(theirs, f"layer{stage}")(x)
        torch.testing.assert_close(feature, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["r50", "r101"])
def test_deep_networks_know_every_key_of_torchvisions_files(tmp_path, name):
    theirs = getattr(torchvision.models, name.replace("r", "resnet"))(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    _load_backbone(build_backbone(name, "fixed"), tmp_path / "weights.pth")


def test_a_file_for_another_network_is_refused_by_name(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth lacks"):
        _load_backbone(build_backbone("r18", "fixed"), tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(ValueError, match="not a file of a published backbone"):
        _load_backbone(build_backbone("r18", "fixed"), tmp_path / "text.pth")


def test_fixed_statistics_stay_fixed_while_scale_and_shift_train():
    network = build_backbone("tiny", "fixed_statistics").train()
    before = network.bn1.running_mean.clone()
    network(torch.randn(2, 3, 64, 64))[-1].sum().backward()
    assert torch.equal(network.bn1.running_mean, before)
    assert network.bn1.weight.grad is not None


def test_frozen_stages_do_not_train():
    network = build_backbone("tiny", "fixed_statistics", frozen_stages=2)
    frozen = {n.split(".")[0] for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}


def test_the_pyramid_adds_coarser_levels_as_each_paper_does():
    features = [torch.zeros(1, width, side, side) for width, side in ((4, 8), (6, 4), (8, 2))]
    rdsnet = FeaturePyramid([4, 6, 8], 16, StridedConvLevels(8, 16))(features)
    assert [level.shape[-1] for level in rdsnet] == [8, 4, 2, 1, 1]
    segrpn = FeaturePyramid([4, 6, 8], 16, SubsampledLevel())(features)
    assert [level.shape[-1] for level in segrpn] == [8, 4, 2, 1]
    assert torch.equal(segrpn[-1], segrpn[-2][:, :, ::2, ::2])


def test_the_small_pyramid_is_bilinear_and_rectified_and_grows_from_p5():
    features = [torch.randn(1, width, side, side) for width, side in ((4, 9), (6, 5), (8, 3))]
    coarser = StridedConvLevels(None, 16)
    pyramid = FeaturePyramid([4, 6, 8], 16, coarser, "bilinear", torch.nn.ReLU())
    levels = pyramid(features)
    assert [level.shape[-1] for level in levels] == [9, 5, 3, 2, 1]
    assert all((level >= 0).all() for level in levels[:3])
    torch.testing.assert_close(levels[3], coarser.p6(levels[2]))
    torch.testing.assert_close(levels[4], coarser.p7(levels[3]))
    c4, c5 = (conv(f) for conv, f in zip(pyramid.lateral[1:], features[1:], strict=True))
    p4 = c4 + torch.nn.functional.interpolate(c5, size=(5, 5), mode="bilinear")
    torch.testing.assert_close(levels[1], pyramid.output[1](p4).relu())
