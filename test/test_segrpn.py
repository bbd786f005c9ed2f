"""SegRPN: the paper's formulas, and the whole network on one picture."""

from dataclasses import replace

import pytest
import torch

from jointseg_core import Letterbox, Target, build_segrpn, preset
from jointseg_core.regions import assign_regions
from jointseg_core.segrpn import fuse_features, fuse_scores, sum_at_finest

TINY = preset("segrpn", "tiny")
SIZE = (64, 128)


def picture():
    """A bright car (thing 2) on a road under a grey sky."""
    images = torch.zeros(1, 3, *SIZE)
    images[0, :, :20] = 1.0
    images[0, 0, 16:48, 40:88] = 3.0
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[0, 16:48, 40:88] = True
    semantic = torch.zeros(SIZE, dtype=torch.long)
    semantic[:20] = 10
    semantic[masks[0]] = 13
    semantic[60:] = 255
    return images, Target(torch.tensor([[40.0, 16, 88, 48]]), torch.tensor([2]), masks, semantic)


def nothing():
    semantic = torch.full(SIZE, 255)
    return Target(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, *SIZE).bool(), semantic)


def test_parameters_of_the_papers_network():
    count = sum(p.numel() for p in build_segrpn(preset("segrpn", "r50")).parameters())
    assert count == pytest.approx(45.7e6, rel=0.02)


def test_the_tiny_network_is_tiny():
    assert sum(p.numel() for p in build_segrpn(TINY).parameters()) <= 3e6


def test_features_are_fused_by_product_and_sum():
    fused = fuse_features([torch.tensor([2.0, 3])], [torch.tensor([0.0, 0.5])])
    assert fused[0].tolist() == [2.0, 4.5]


def test_scores_are_fused_before_the_sigmoid():
    assert fuse_scores(torch.tensor([1.0]), torch.tensor([-3.0])).tolist() == [-2.0]


def test_levels_are_summed_at_the_finest():
    summed = sum_at_finest([torch.ones(1, 1, 4, 8), torch.full((1, 1, 2, 4), 2.0)])
    torch.testing.assert_close(summed, torch.full((1, 1, 4, 8), 3.0))


def test_regions_take_the_object_they_half_cover():
    regions = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4]])
    assert assign_regions(regions, regions[:1]).tolist() == [0, 0, -1]
    assert assign_regions(regions, regions[:0]).tolist() == [-1, -1, -1]


def test_the_forward_pass_has_the_shapes_it_names():
    output = build_segrpn(TINY).eval()(torch.zeros(2, 3, *SIZE))
    anchors = sum(len(level) for level in output.anchors)
    assert anchors == 3 * (16 * 32 + 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2)
    assert output.objectness.shape == output.mask_objectness.shape == (2, anchors)
    assert output.box_deltas.shape == (2, anchors, 4)
    assert output.semantic_logits.shape == (2, 19, 16, 32)
    assert output.background_logits.shape == (2, 1, 16, 32)


def test_each_fusion_has_its_switch_for_training_and_for_inference():
    torch.manual_seed(0)
    network = build_segrpn(TINY)
    images = torch.randn(1, 3, *SIZE)
    for mode, training in (("train", True), ("test", False)):
        network.train(training)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        results = {}
        for features in (True, False):
            for scores in (True, False):
                switches = {f"fuse_features_{mode}": features, f"fuse_scores_{mode}": scores}
                network.config = replace(TINY, **switches)
                output = network(images)
                results[features, scores] = output, network.propose(output)[0]
        fused, plain = results[True, False][0], results[False, False][0]
        assert not torch.equal(fused.objectness, plain.objectness)
        assert torch.equal(fused.semantic_logits, plain.semantic_logits)  # mIoU cannot change
        assert torch.equal(fused.mask_objectness, plain.mask_objectness)
        first, second = results[True, True][1], results[True, False][1]
        assert first.shape != second.shape or not torch.equal(first, second)


def test_the_losses_are_the_papers_eight():
    network = build_segrpn(TINY)
    images, target = picture()
    losses = network.loss(network(images), [target])
    assert set(losses) == {
        "proposal", "proposal_box", "mask_proposal", "mask_proposal_box",
        "region", "region_box", "semantic", "agnostic",
    }  # fmt: skip
    assert losses["proposal"].item() == pytest.approx(0.693, abs=0.05)
    assert losses["region"].item() == pytest.approx(torch.tensor(9.0).log().item(), abs=0.1)


def test_unlabelled_pictures_train_every_parameter_without_a_nan():
    network = build_segrpn(TINY)
    losses = network.loss(network(torch.randn(2, 3, *SIZE)), [nothing()] * 2)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["semantic"].item() == losses["agnostic"].item() == 0
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_proposals_lie_in_the_picture_best_first():
    network = build_segrpn(TINY).eval()
    (boxes,) = network.propose(network(torch.randn(1, 3, *SIZE)))
    assert 0 < len(boxes) <= TINY.proposals_test
    assert (boxes >= 0).all() and (boxes <= torch.tensor([128.0, 64, 128, 64])).all()


def test_one_picture_is_learnt_by_heart():
    torch.manual_seed(0)
    network = build_segrpn(TINY)
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
    assert seen.labels[0] == 2
    assert seen.scores[0] > 0.5
    assert (seen.boxes[0] - target.boxes[0]).abs().max() < 4
    labelled = target.semantic != 255
    assert (seen.semantic == target.semantic)[labelled].float().mean() > 0.9
    assert (seen.foreground == target.masks[0])[labelled].float().mean() > 0.9
    assert seen.semantic.dtype == torch.uint8
    assert ((seen.confidence >= 0) & (seen.confidence <= 1)).all()
