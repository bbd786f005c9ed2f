"""Convolutions with half of the multiplications see what the others see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jointseg_core import Predictor, load_model
from jointseg_core.checkpoint import build_model
from jointseg_core.layers import CellConv2d
from jointseg_core.predictor import winograd_saves_time
from jointseg_core.runtime.winograd import WinogradConv2d, _fits


def both(conv, maps, dtype):
    """What the layer gives in that number format, and what it gives in fp64."""
    wanted = nn.functional.conv2d(
        maps.to(dtype).double(),
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        padding=1,
    )
    maps = maps.to(dtype).contiguous(memory_format=torch.channels_last)
    return WinogradConv2d(conv, dtype)(maps), wanted


def error(found, wanted):
    return float((found - wanted).pow(2).mean().sqrt() / wanted.std())


@torch.inference_mode()
@pytest.mark.parametrize("size", [(8, 16), (7, 13), (1, 1), (5, 2), (3, 30)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_gives_what_the_convolution_gives_on_maps_of_any_size(size, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 10, 3, padding=1, bias=bias)
    found, wanted = both(conv, torch.randn(3, 24, *size), torch.float32)
    assert found.shape == wanted.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert error(found, wanted) < 5e-6


@torch.inference_mode()
@pytest.mark.parametrize("strip", [1, 5000])  # one row at a time, some rows
def test_strips_of_large_maps_give_what_the_whole_gives(monkeypatch, strip):
    torch.manual_seed(0)
    conv, maps = nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 8, 13, 24)
    whole, _ = both(conv, maps, torch.float32)
    monkeypatch.setattr("jointseg_core.runtime.winograd._STRIP", strip)
    strips, _ = both(conv, maps, torch.float32)
    torch.testing.assert_close(strips, whole)


@torch.inference_mode()
def test_half_precision_costs_three_times_the_rounding_of_the_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    maps = torch.randn(1, 256, 16, 32)
    found, wanted = both(conv, maps, torch.bfloat16)
    direct = conv.to(torch.bfloat16)(maps.to(torch.bfloat16))
    assert error(direct, wanted) < error(found, wanted) < 3.5 * error(direct, wanted) < 0.01


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3, stride=2, padding=1),
        nn.Conv2d(256, 256, 3),
        nn.Conv2d(256, 256, 3, padding=1, groups=2),
        nn.Conv2d(256, 256, 3, padding=2, dilation=2),
        nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 256, 3, padding=1),
        nn.Conv2d(256, 36, 3, padding=1),
        CellConv2d(256, 576),
    ],
)
def test_other_layers_stay(other):
    assert _fits(nn.Conv2d(256, 720, 3, padding=1))
    assert not _fits(other)


@pytest.fixture
def wide(rdsnet_weights):
    """A network whose head is wide enough, and its manifest."""
    manifest = load_model(rdsnet_weights)[1]
    torch.manual_seed(0)
    return build_model(replace(load_model(rdsnet_weights)[0].config, channels=256)), manifest


def layers(model):
    return sum(isinstance(module, WinogradConv2d) for module in model.modules())


def test_a_network_on_a_cpu_uses_them_and_finds_the_same(wide):
    model, manifest = wide
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    seen = []
    for winograd in (False, True):
        predictor = Predictor(model, manifest, "cpu", winograd=winograd)
        assert (layers(predictor.model) > 0) == winograd
        assert not layers(predictor.model.backbone.stages[-1])
        predictor.configure(score_threshold=0.0, max_detections=20)
        seen += predictor([image])
    torch.testing.assert_close(seen[0].scores, seen[1].scores, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen[0].boxes, seen[1].boxes, atol=0.01, rtol=0)


@pytest.mark.parametrize("amx", [True, False])
def test_where_bf16_is_multiplied_in_tiles_they_would_cost_more_than_they_save(monkeypatch, amx):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    cpu = torch.device("cpu")
    assert winograd_saves_time(cpu, torch.bfloat16) != amx
    assert winograd_saves_time(cpu, torch.float32)
    assert not winograd_saves_time(torch.device("cuda"), torch.bfloat16)
