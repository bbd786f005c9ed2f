"""Anchors: how many, where, how large."""

import pytest
import torch

from jointseg_core import build_rdsnet, build_rdsnet_s, build_segrpn, preset
from jointseg_core.anchors import AnchorGrid


def test_a_cell_has_anchors_of_equal_area_around_its_centre():
    grid = AnchorGrid((8,), 4.0)
    (anchors,) = grid((16, 24), "cpu")
    assert anchors.shape == (2 * 3 * 3, 4)
    wide, square, tall = anchors[3:6]  # second cell of the first row
    torch.testing.assert_close(square, torch.tensor([12.0 - 16, 4 - 16, 12 + 16, 4 + 16]))
    for anchor, ratio in ((wide, 0.5), (tall, 2.0)):
        width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
        torch.testing.assert_close(width * height, torch.tensor(1024.0))
        torch.testing.assert_close(height / width, torch.tensor(ratio))


def test_the_small_network_has_yolacts_anchors_on_every_started_cell():
    anchors = build_rdsnet_s(preset("rdsnet_s", "r50")).anchors((550, 550), "cpu")
    assert [len(level) for level in anchors] == [3 * n**2 for n in (69, 35, 18, 9, 5)]
    assert sum(len(level) for level in anchors) == 19_248
    sizes = [(level[:, 2:] - level[:, :2]).prod(1).sqrt().max().item() for level in anchors]
    assert sizes == pytest.approx([24, 48, 96, 192, 384], rel=1e-4)


@pytest.mark.parametrize(
    ("build", "model", "count"),
    [(build_rdsnet, "rdsnet", 98_208), (build_segrpn, "segrpn", 130_944)],
)
def test_the_papers_models_have_the_papers_anchors(build, model, count):
    anchors = build(preset(model, "r50")).anchors((512, 1024), "cpu")
    assert sum(len(level) for level in anchors) == count
    sizes = [(level[:, 2:] - level[:, :2]).prod(1).sqrt().min().item() for level in anchors]
    assert sizes == pytest.approx([32, 64, 128, 256, 512], rel=1e-4)
