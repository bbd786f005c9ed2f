"""RDSNet: the paper's formulas, and the whole network on one picture."""

import math
from dataclasses import replace

import pytest
import torch

from jointseg_core import Letterbox, Target, build_rdsnet, preset
from jointseg_core.layers import per_anchor
from jointseg_core.targets import NEGATIVE, assign_anchors

TINY = preset("rdsnet", "tiny")
PRINTED = replace(TINY, pixel_level=2, head_groups=0, pixel_groups=8)
SIZE = (64, 128)


def picture():
    """A bright square on black, and what it shows."""
    images = torch.zeros(1, 3, *SIZE)
    images[0, :, 16:48, 40:88] = 2.0
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 16:48, 40:88] = True
    return images, Target(torch.tensor([[40.0, 16, 88, 48]]), torch.tensor([3]), masks)


def nothing():
    return Target(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, *SIZE).bool())


def test_parameters_of_the_papers_network():
    count = sum(p.numel() for p in build_rdsnet(preset("rdsnet", "r50")).parameters())
    assert count == pytest.approx(44.6e6, rel=0.02)


def test_without_representations_it_is_retinanet():
    config = replace(preset("rdsnet", "r50"), filter_size=0, head_groups=0)
    assert sum(p.numel() for p in build_rdsnet(config).parameters()) == pytest.approx(
        37.97e6, rel=1e-3
    )
    ours = set(build_rdsnet(replace(TINY, pixel_level=3)).state_dict())
    theirs = set(build_rdsnet(replace(TINY, filter_size=0, pixel_level=2)).state_dict())
    left_out = ("object_stream.filter", "pixel_stream.")
    assert theirs == {name for name in ours if not name.startswith(left_out)}


def test_retinanet_trains_all_it_has_and_sees_no_masks():
    network = build_rdsnet(replace(TINY, filter_size=0, score_threshold=0.005))
    images, target = picture()
    output = network(images)
    assert output.pixels.shape == (1, 0, 16, 32)
    losses = network.loss(output, [target])
    assert set(losses) == set(network.counts([target], SIZE)) == {"classification", "box"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    (seen,) = network.eval().decode(network(images), [Letterbox(SIZE, SIZE)])
    assert len(seen) > 0 and seen.masks is None


def test_proposals_lie_in_the_picture_best_first():
    network = build_rdsnet(TINY).eval()
    output = network(torch.randn(2, 3, *SIZE))
    for boxes, scores in network.proposals(output, [Letterbox((100, 200), SIZE)] * 2, limit=300):
        assert boxes.shape == (300, 4) and scores.shape == (300,)
        assert (boxes >= 0).all() and (boxes <= torch.tensor([200.0, 100, 200, 100])).all()
        assert (scores.diff() <= 0).all()


def test_the_tiny_network_is_tiny():
    assert sum(p.numel() for p in build_rdsnet(TINY).parameters()) <= 3e6


@pytest.mark.parametrize("config", [replace(TINY, pixel_level=3), PRINTED])
def test_the_forward_pass_has_the_shapes_it_names(config):
    network = build_rdsnet(config).eval()
    output = network(torch.zeros(2, 3, *SIZE))
    anchors = sum(len(level) for level in output.anchors)
    assert anchors == 9 * (8 * 16 + 4 * 8 + 2 * 4 + 1 * 2 + 1 * 1)
    assert output.class_logits.shape == (2, anchors, 8)
    assert output.pixels.shape == (2, 16, 16, 32)


def test_the_printed_variant_has_norms_in_the_pixel_stream_alone_and_starts_at_p2():
    with torch.device("meta"):
        printed = build_rdsnet(preset("rdsnet", "printed"))
    streams = printed.object_stream, printed.pixel_stream
    norms = [[m for m in s.modules() if isinstance(m, torch.nn.GroupNorm)] for s in streams]
    assert not norms[0] and len(norms[1]) == 7  # P2: 1, P3: 1, P4: 2, P5: 3 convolutions
    assert all(norm.num_groups == 32 for norm in norms[1])
    assert len(printed.pyramid.lateral) == 4


def test_boxes_and_representations_at_anchors_equal_the_dense_convolution():
    network = build_rdsnet(TINY).eval()
    image = network(torch.randn(1, 3, *SIZE)).image(0)
    stream, anchors = network.object_stream, torch.tensor([0, 8, 9, 500, 1538])
    dense = per_anchor([stream.box_deltas(f[None]) for f in image.box_features], 4)[0]
    torch.testing.assert_close(stream.deltas_at(image.box_features, anchors), dense[anchors])
    dense = per_anchor([stream.filters(f[None]) for f in image.filter_features], 32)[0]
    representations = stream.representations_at(image.filter_features, anchors)
    torch.testing.assert_close(representations.flatten(1), dense[anchors])


def test_a_fresh_network_expects_one_percent_objects():
    torch.manual_seed(0)
    network = build_rdsnet(replace(TINY, pixel_level=3))
    images, target = picture()
    losses = network.loss(network(images), [target])
    assert set(losses) == {"classification", "box", "mask"}
    assert losses["mask"].item() == pytest.approx(0.693, abs=0.02)  # undecided pixels
    assert network(images).class_logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.002)


def test_focal_loss_of_an_undecided_network():
    network = build_rdsnet(TINY)
    for parameter in network.object_stream.class_logits.parameters():
        torch.nn.init.zeros_(parameter)
    images, target = picture()
    output = network(images)
    assigned = assign_anchors(torch.cat(output.anchors), target.boxes, 0.5, 0.4)
    objects, background = int((assigned >= 0).sum()), int((assigned == NEGATIVE).sum())
    # alpha (1 - p)^2 ln 2: 0.25 * 0.25 ln 2 for an object's class, 0.75 * 0.25 ln 2 for all others
    wanted = objects * (0.0625 + 7 * 0.1875) + background * 8 * 0.1875
    loss = network.loss(output, [target] * len(images))["classification"].item()
    assert loss == pytest.approx(wanted * math.log(2) / objects, rel=1e-5)


def test_a_picture_without_objects_trains_every_parameter():
    network = build_rdsnet(TINY)
    sum(network.loss(network(torch.randn(2, 3, *SIZE)), [nothing()] * 2).values()).backward()
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    assert all(dict(network.named_parameters())[name].grad is not None for name in trained)
    assert not any(name.startswith("refinement") for name in trained)


def test_the_counts_are_positive_anchors_and_those_that_train_masks():
    network = build_rdsnet(replace(TINY, max_masks=2))
    _, target = picture()
    crowd = replace(target, crowd=torch.tensor([True]))
    counts = network.counts([target], SIZE)
    assert counts["classification"] == counts["box"] > counts["mask"] == 2
    for empty in (crowd, nothing()):
        assert network.counts([empty], SIZE) == {"classification": 1, "box": 1, "mask": 0}
    network.config = replace(TINY, min_mask_area=32 * 48)
    assert network.counts([target], SIZE)["mask"] == 0


def test_crowds_are_not_sought():
    network = build_rdsnet(TINY).eval()
    images, target = picture()
    crowd = replace(target, crowd=torch.tensor([True]))
    output = network(images)
    ours, theirs = (network.loss(output, [t]) for t in (crowd, nothing()))
    assert {k: v.item() for k, v in ours.items()} == {k: v.item() for k, v in theirs.items()}


def test_one_picture_is_learnt_by_heart():
    torch.manual_seed(0)
    network = build_rdsnet(replace(TINY, gamma=0.0))
    images, target = picture()
    images = images + 0.1 * torch.randn(4, 3, *SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(60):
        losses = network.loss(network(images), [target] * 4)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    network.eval()
    frame = Letterbox(SIZE, SIZE)
    (seen,) = network.decode(network(images[:1]), [frame])
    assert seen.labels[0] == 3
    assert seen.scores[0] > 0.3
    assert (seen.boxes[0] - target.boxes[0]).abs().max() < 4
    found, true = seen.masks.bitmaps(SIZE)[0], target.masks[0]
    assert (found & true).sum() / (found | true).sum() > 0.8
    # the same frame seen by a camera of twice the size
    (large,) = network.decode(network(images[:1]), [Letterbox((128, 256), SIZE)])
    torch.testing.assert_close(large.boxes[0], seen.boxes[0] * 2)


def test_refinement_learns_without_moving_anything_else():
    network = build_rdsnet(TINY).eval()
    network.requires_grad_(False).refinement.requires_grad_(True)
    images, target = picture()
    network.refinement_loss(network(images), [target]).backward()
    assert network.refinement.kernel.grad.abs().sum() > 0
    assert network.refinement_loss(network(images), [nothing()]).item() == 0


def test_boxes_are_refined_in_network_pixels_whatever_the_camera():
    torch.manual_seed(0)
    network = build_rdsnet(replace(TINY, score_threshold=0.005, max_detections=30)).eval()
    output = network(torch.randn(1, 3, *SIZE))
    (small,) = network.decode(output, [Letterbox(SIZE, SIZE)])
    (large,) = network.decode(output, [Letterbox((3 * SIZE[0], 3 * SIZE[1]), SIZE)])
    assert len(small) and small.boxes.equal(small.boxes.round())
    torch.testing.assert_close(large.boxes, small.boxes * 3)
    assert large.masks.windows[:, 2].max() > SIZE[1]  # masks are as fine as the camera
    network.config = replace(network.config, gamma=0.0)
    (as_regressed,) = network.decode(output, [Letterbox(SIZE, SIZE)])
    assert not as_regressed.boxes.equal(small.boxes)


def test_refined_boxes_stay_inside_an_image_with_padding():
    torch.manual_seed(0)
    network = build_rdsnet(replace(TINY, score_threshold=0.005)).eval()
    frame = Letterbox((3 * SIZE[0], SIZE[1]), SIZE)  # the right of the input is padding
    (seen,) = network.decode(network(torch.randn(1, 3, *SIZE)), [frame])
    assert len(seen) and (seen.boxes[:, 2:] > seen.boxes[:, :2]).all()
    assert (seen.boxes[:, 2] <= SIZE[1]).all() and (seen.boxes[:, 3] <= 3 * SIZE[0]).all()


def test_thresholds_of_zero_and_one_are_thresholds_too():
    network = build_rdsnet(replace(TINY, score_threshold=0.0, mask_threshold=0.0)).eval()
    output, frame = network(torch.zeros(1, 3, *SIZE)), Letterbox(SIZE, SIZE)
    (seen,) = network.decode(output, [frame])
    assert len(seen) == TINY.max_detections and seen.masks.pixels.all()
    network.config = replace(TINY, score_threshold=1.0)
    assert len(network.decode(output, [frame])[0]) == 0


def test_nothing_above_the_threshold_is_an_empty_result():
    network = build_rdsnet(replace(TINY, score_threshold=0.9)).eval()
    (seen,) = network.decode(network(torch.zeros(1, 3, *SIZE)), [Letterbox((100, 150), SIZE)])
    assert (len(seen), len(seen.masks), seen.image_size) == (0, 0, (100, 150))
