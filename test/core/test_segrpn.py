"""SegRPN: the paper's formulas, and the whole network on one picture."""

from dataclasses import replace

import pytest
import torch
from one_car import SIZE, picture

from jointseg_core import Letterbox, Target, build_segrpn, preset
from jointseg_core.regions import _assign_regions
from jointseg_core.rpn import ScaleMapHead, fuse_features, fuse_scores

TINY = preset("segrpn", "tiny")


def nothing():
    semantic = torch.full(SIZE, 255)
    return Target(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, *SIZE).bool(), semantic)


def test_parameters_of_the_papers_network():
    count = sum(p.numel() for p in build_segrpn(preset("segrpn", "r50")).parameters())
    assert count == pytest.approx(45.7e6, rel=0.02)


def test_parameters_of_the_papers_baseline():
    config = replace(preset("segrpn", "r50"), class_agnostic=False)
    assert sum(p.numel() for p in build_segrpn(config).parameters()) == pytest.approx(
        43.2e6, rel=5e-3
    )


def test_the_baseline_trains_all_it_has_and_takes_things_for_foreground():
    network = build_segrpn(replace(TINY, class_agnostic=False))
    images, target = picture()
    output = network(images)
    losses = network.loss(output, [target])
    wanted = {"proposal", "proposal_box", "region", "region_box", "semantic"}
    assert set(losses) == set(network.counts([target], SIZE)) == wanted
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    (seen,) = network.eval().decode(network(images), [Letterbox(SIZE, SIZE)])
    assert torch.equal(seen.foreground, seen.semantic >= 11)


def test_nothing_is_fused_in_the_baseline():
    network = build_segrpn(replace(TINY, class_agnostic=False)).eval()
    images, _ = picture()
    fused = network(images)
    network.config = replace(network.config, fuse_features_test=False, fuse_scores_test=False)
    plain = network(images)
    assert torch.equal(fused.objectness, plain.objectness)
    assert not fused.mask_objectness.any()


@pytest.mark.parametrize(("case", "level", "canonical"), [(1, 4, 112), (2, 2, 112), (3, 3, 64)])
def test_the_truth_may_say_where_objects_of_each_level_are(case, level, canonical):
    config = TINY.with_true_scale_maps(case)  # anchors of half the paper's size, so are the cases
    assert config.canonical_size == canonical
    network = build_segrpn(config).eval()
    images, target = picture()  # 48 x 32 pixels are 39, or 78 at the paper's size
    maps = network.true_scale_maps([target])
    assert [m.shape[1:] for m in maps] == [(1, 16 >> i, 32 >> i) for i in range(4)] + [(1, 1, 2)]
    assert [bool(m.any()) for m in maps] == [i == level for i in range(2, 7)]
    known, unknown = network(images, maps), network(images, [m * 0 for m in maps])
    start = sum(len(anchors) for anchors in known.anchors[: level - 2])
    inside = maps[level - 2].flatten().repeat_interleave(3).bool()
    rows = start + torch.arange(len(inside))
    assert (known.mask_objectness[0, rows] == inside).all()
    differs = known.objectness[0] != unknown.objectness[0]
    assert differs[rows[inside]].any() and differs.sum() == differs[rows[inside]].sum()
    assert not torch.equal(network.propose(known)[0], network.propose(unknown)[0])


def test_features_are_doubled_where_the_truth_has_an_object():
    features, maps = [torch.tensor([[[[3.0, 5]]]])], [torch.tensor([[[[1.0, 0]]]])]
    assert fuse_features(features, ScaleMapHead(3).features(maps))[0].tolist() == [[[[6, 5]]]]
    objectness, deltas = ScaleMapHead(3)(maps)
    assert objectness.tolist() == [[1, 1, 1, 0, 0, 0]] and deltas.shape == (1, 0, 4)


def test_a_network_that_is_told_the_truth_asks_for_it():
    network = build_segrpn(TINY.with_true_scale_maps(1)).eval()
    images, target = picture()
    with pytest.raises(ValueError, match=r"scale_case=1.*true_scale_maps"):
        network(images)
    off = {"fuse_features_test": False, "fuse_scores_test": False}
    network.config = replace(network.config, **off)  # "w/o both during inference"
    network(images)
    losses = network.train().loss(network(images, network.true_scale_maps([target])), [target])
    assert "mask_proposal" not in losses


def test_pictures_without_classes_of_pixels_train_the_rest():
    network = build_segrpn(TINY).eval()
    images, target = picture()
    bare = replace(target, semantic=None)
    assert network.counts([bare], SIZE)["semantic"] == network.counts([bare], SIZE)["agnostic"] == 0
    losses = network.loss(network(images), [bare])
    assert losses["semantic"].item() == losses["agnostic"].item() == 0 < losses["region"].item()
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_the_counts_are_samples_and_labelled_pixels():
    network = build_segrpn(TINY)
    _, target = picture()
    counts = network.counts([target, nothing()], SIZE)
    assert counts["proposal"] == counts["mask_proposal_box"] == 2 * TINY.proposal_samples
    assert counts["region"] == counts["region_box"] == 2 * TINY.region_samples
    assert counts["semantic"] == counts["agnostic"] == 30 * 64  # of every second row and column


def test_the_tiny_network_is_tiny():
    assert sum(p.numel() for p in build_segrpn(TINY).parameters()) <= 3e6


def test_features_are_fused_by_product_and_sum():
    fused = fuse_features([torch.tensor([2.0, 3])], [torch.tensor([0.0, 0.5])])
    assert fused[0].tolist() == [2.0, 4.5]


def test_scores_are_fused_before_the_sigmoid():
    assert fuse_scores(torch.tensor([1.0]), torch.tensor([-3.0])).tolist() == [-2.0]


def test_regions_take_the_object_they_half_cover():
    regions = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4]])
    assert _assign_regions(regions, regions[:1]).tolist() == [0, 0, -1]
    assert _assign_regions(regions, regions[:0]).tolist() == [-1, -1, -1]


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


def test_proposals_for_others_are_in_camera_pixels_and_have_scores():
    network = build_segrpn(TINY).eval()
    output = network(torch.randn(1, 3, *SIZE))
    (ours,) = network.propose(output)
    ((boxes, scores),) = network.proposals(output, [Letterbox((128, 256), SIZE)], limit=50)
    torch.testing.assert_close(boxes, ours[:50] * 2)
    assert (scores.diff() <= 0).all() and ((scores > 0) & (scores < 1)).all()
    ((boxes, _),) = network.proposals(output, [Letterbox((64, 64), SIZE)])  # half is padding
    assert TINY.proposals_test < len(boxes) and (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.slow
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
