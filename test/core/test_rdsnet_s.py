"""RDSNet_s: YOLACT's streams with RDSNet's masks, and YOLACT itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointseg_core import (
    CITYSCAPES,
    Letterbox,
    Predictor,
    Preprocessing,
    Target,
    build_rdsnet_s,
    preset,
    save_model,
)
from jointseg_core.boxes import BOX_WEIGHTS
from jointseg_core.layers import per_anchor
from jointseg_core.rdsnet_s import _class_maps, _mined_cross_entropy, as_yolact

TINY = preset("rdsnet_s", "tiny")
SIZE = (64, 128)
BUILDS = pytest.mark.parametrize("config", [TINY, as_yolact(TINY)], ids=["rdsnet_s", "yolact"])


def picture():
    """A bright square on black, and what it shows."""
    images = torch.zeros(1, 3, *SIZE)
    images[0, :, 16:48, 40:88] = 2.0
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 16:48, 40:88] = True
    return images, Target(torch.tensor([[40.0, 16, 88, 48]]), torch.tensor([3]), masks)


def nothing():
    return Target(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, *SIZE).bool())


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (preset("rdsnet_s", "r101"), 50.4),
        (preset("rdsnet_s", "r50"), 31.4),
        (as_yolact(preset("rdsnet_s", "r101")), 50.1),
    ],
    ids=["r101", "r50", "yolact"],
)
def test_parameters_of_the_papers_networks(config, millions):
    count = sum(p.numel() for p in build_rdsnet_s(config).parameters())
    assert count / 1e6 == pytest.approx(millions, rel=2e-3)


def test_the_tiny_network_is_tiny():
    assert sum(p.numel() for p in build_rdsnet_s(TINY).parameters()) <= 3e6


@pytest.mark.parametrize("size", [SIZE, (50, 70)])
def test_the_forward_pass_has_the_shapes_it_names_at_any_size(size):
    output = build_rdsnet_s(TINY).eval()(torch.zeros(2, 3, *size))
    cells = [[math.ceil(side / 2**i) for side in size] for i in range(3, 8)]
    assert [list(f.shape) for f in output.features] == [[2, 64, h, w] for h, w in cells]
    anchors = [len(level) for level in output.anchors]
    assert anchors == [3 * h * w for h, w in cells]
    assert output.class_logits.shape == (2, sum(anchors), 9)
    assert output.pixels.shape == (2, 16, 2 * cells[0][0], 2 * cells[0][1])
    assert output.finest.shape == (2, 64, *cells[0])


@BUILDS
def test_boxes_and_representations_at_anchors_equal_the_dense_convolution(config):
    network = build_rdsnet_s(config).eval()
    image = network(torch.randn(1, 3, *SIZE)).image(0)
    stream, anchors = network.object_stream, torch.tensor([0, 2, 3, 400, 512])
    dense = per_anchor([stream.box_deltas(f[None]) for f in image.features], 4)[0]
    torch.testing.assert_close(stream.deltas_at(image.features, anchors), dense[anchors])
    values = 16 if config.linear_combination else 32
    dense = per_anchor([stream.filters(f[None]) for f in image.features], values)[0][anchors]
    wanted = dense.tanh() if config.linear_combination else dense[:, 16:] - dense[:, :16]
    torch.testing.assert_close(stream.representations_at(image.features, anchors), wanted)


def test_prototypes_are_rectified_representations_of_pixels_are_not():
    images = torch.randn(1, 3, *SIZE)
    assert (build_rdsnet_s(as_yolact(TINY))(images).pixels >= 0).all()
    assert (build_rdsnet_s(TINY)(images).pixels < 0).any()


def test_boxes_vary_by_a_tenth_and_a_fifth_of_the_anchor():
    network = build_rdsnet_s(TINY).eval()
    output = network(torch.zeros(1, 3, *SIZE)).image(0)
    with torch.no_grad():
        network.object_stream.box_deltas.weight.zero_()
        network.object_stream.box_deltas.bias.copy_(torch.tensor([1.0, -1, 0, 1] * 3))
    (box,) = network._boxes_at(output, torch.tensor([100]), Letterbox(SIZE, SIZE))
    x1, y1, x2, y2 = torch.cat(output.anchors)[100]
    middle = (x1 + x2) / 2 + 0.1 * (x2 - x1), (y1 + y2) / 2 - 0.1 * (y2 - y1)
    sides = x2 - x1, (y2 - y1) * math.exp(0.2)
    corners = [middle[0] - sides[0] / 2, middle[1] - sides[1] / 2]
    corners += [middle[0] + sides[0] / 2, middle[1] + sides[1] / 2]
    torch.testing.assert_close(box, torch.stack(corners).clamp(min=0))
    assert BOX_WEIGHTS == (10, 10, 5, 5)


def test_maps_of_classes_join_the_objects_of_a_class():
    masks = torch.zeros(3, 16, 32, dtype=torch.bool)
    masks[0, :8, :8] = masks[1, :8, 4:16] = masks[2, 8:, 8:] = True
    target = Target(torch.zeros(3, 4), torch.tensor([1, 1, 0]), masks)
    assert _class_maps(target, 3).tolist() == [
        [[0, 0, 0, 0], [0, 1, 1, 1]],
        [[1, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]


def test_three_hard_background_anchors_count_for_an_object():
    logits = torch.zeros(6, 2)
    logits[1:, 0] = torch.tensor([1.0, 5, 2, 4, 3])  # how much the background looks like an object
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    background = torch.nn.functional.softplus(logits[1:, 0])
    loss = _mined_cross_entropy(logits, labels, 3)
    torch.testing.assert_close(loss, math.log(2) + background[[1, 3, 4]].sum())
    torch.testing.assert_close(
        _mined_cross_entropy(logits[1:], labels[1:], 3), background[[1, 3, 4]].sum()
    )
    torch.testing.assert_close(
        _mined_cross_entropy(logits[:1], labels[:1], 3), torch.tensor(math.log(2))
    )


@BUILDS
def test_losses_of_a_network_that_knows_nothing(config):
    network = build_rdsnet_s(replace(config, num_classes=8))
    images, target = picture()
    with torch.no_grad():
        for layer in (network.object_stream.class_logits, network.segmentation):
            layer.weight.zero_(), layer.bias.zero_()
        network.object_stream.filters.weight.zero_(), network.object_stream.filters.bias.zero_()
    losses = {k: v.item() for k, v in network.loss(network(images), [target]).items()}
    assert set(losses) == {"classification", "box", "mask", "segmentation"}
    assert losses["classification"] == pytest.approx(4 * math.log(9))  # each object and 3 others
    assert losses["mask"] == pytest.approx(6.125 * math.log(2), rel=1e-5)
    assert losses["segmentation"] == pytest.approx(8 * math.log(2))  # a mean over pixels alone


@BUILDS
@pytest.mark.parametrize("shows", [picture()[1], nothing()], ids=["object", "nothing"])
def test_every_parameter_trains_also_without_objects(config, shows):
    network = build_rdsnet_s(config)
    losses = network.loss(network(torch.randn(2, 3, *SIZE)), [shows] * 2)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("side", [100, 124, 127])  # 700, as YOLACT has too, leaves 4 of 8 as well
def test_an_object_in_the_last_pixels_trains_at_any_size(side):
    """Twice the cells of P3 are more than the cells of masks where a side leaves 1 to 4 of 8."""
    masks = torch.zeros(1, side, side, dtype=torch.bool)
    masks[0, side - 40 :, side - 50 :] = True
    box = torch.tensor([[side - 50.0, side - 40, side, side]])
    network = build_rdsnet_s(TINY)
    losses = network.loss(
        network(torch.zeros(1, 3, side, side)), [Target(box, torch.tensor([3]), masks)]
    )
    assert losses["mask"] > 0 and all(loss.isfinite() for loss in losses.values())


def test_the_counts_are_positive_anchors_mask_samples_and_cells():
    network = build_rdsnet_s(replace(TINY, max_masks=2))
    _, target = picture()
    counts = network.counts([target, nothing()], SIZE)
    assert counts["classification"] == counts["box"] > 3
    assert (counts["mask"], counts["segmentation"]) == (2, 2 * 8 * 16)
    crowd = replace(target, crowd=torch.tensor([True]))
    assert network.counts([crowd], SIZE) == network.counts([nothing()], SIZE)


def test_proposals_lie_in_the_picture_best_first():
    network = build_rdsnet_s(TINY).eval()
    output = network(torch.randn(2, 3, *SIZE))
    for boxes, scores in network.proposals(output, [Letterbox((100, 200), SIZE)] * 2, limit=100):
        assert boxes.shape == (100, 4) and scores.shape == (100,)
        assert (boxes >= 0).all() and (boxes <= torch.tensor([200.0, 100, 200, 100])).all()
        assert (scores.diff() <= 0).all()


@BUILDS
def test_one_picture_is_learnt_by_heart(config):
    torch.manual_seed(0)
    network = build_rdsnet_s(config)
    images, target = picture()
    images = images + 0.1 * torch.randn(4, 3, *SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(60):
        losses = network.loss(network(images), [target] * 4)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    network.eval()
    (seen,) = network.decode(network(images[:1]), [Letterbox(SIZE, SIZE)])
    assert seen.labels[0] == 3
    assert seen.scores[0] > 0.5
    assert (seen.boxes[0] - target.boxes[0]).abs().max() < 4
    found, true = seen.masks.bitmaps(SIZE)[0], target.masks[0]
    assert (found & true).sum() / (found | true).sum() > 0.8
    # the same frame seen by a camera of twice the height and half the width
    stretched = Letterbox((128, 64), SIZE, keep_ratio=False)
    (other,) = network.decode(network(images[:1]), [stretched])
    torch.testing.assert_close(other.boxes[0], seen.boxes[0] * torch.tensor([0.5, 2, 0.5, 2]))
    true = true[:, ::2].repeat_interleave(2, 0)
    found = other.masks.bitmaps((128, 64))[0]
    assert (found & true).sum() / (found | true).sum() > 0.8


def test_a_predictor_runs_it_on_stretched_pictures(tmp_path):
    network = build_rdsnet_s(replace(TINY, score_threshold=0.01))
    preprocessing = Preprocessing((70, 70), keep_ratio=False)
    save_model(network, tmp_path / "weights.safetensors", CITYSCAPES, preprocessing)
    predictor = Predictor.from_file(tmp_path / "weights.safetensors", "cpu", model_type="rdsnet_s")
    pictures = [np.zeros((90, 50, 3), np.uint8), np.full((40, 200, 3), 255, np.uint8)]
    for picture, seen in zip(pictures, predictor(pictures), strict=True):
        assert seen.image_size == picture.shape[:2]
        assert 0 < len(seen) == len(seen.masks) <= 100
        assert (seen.boxes <= torch.tensor([*picture.shape[1::-1]] * 2)).all()
    predictor.configure(score_threshold=1.0)
    assert [len(seen) for seen in predictor(pictures)] == [0, 0]
