"""The joint network: objects and pixels that inform each other, in one pass."""

from dataclasses import replace

import pytest
import torch
from one_car import SIZE, picture
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import box_iou

from jointseg_core import CITYSCAPES, Letterbox, Target, build_joint, build_model, preset

TINY = preset("joint", "tiny")
FRAME = Letterbox(SIZE, SIZE)


def lively(config=TINY):
    """A network in which nothing is zero or near it, as if it had been trained."""
    torch.manual_seed(0)
    network = build_joint(config).eval()
    with torch.no_grad():
        for part in (network.modulation, network.exchange.change, network.head.class_logits):
            for parameter in part.parameters():
                parameter.normal_(0, 0.3)
        network.head.regions.weight[4:].normal_(0, 0.5)  # kernels
        network.classes.bias[-1] = 1.0  # more background than not
    return network


def decoded(network):
    network.config = replace(network.config, score_threshold=0.3, mask_threshold=0.5)
    with torch.no_grad():
        return network.decode(network(picture()[0]), [FRAME])[0]


def shaken(network, *names):
    """The same network but for other weights in these parts."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name in names:
            for parameter in network.get_submodule(name).parameters():
                parameter += 0.5 * torch.randn_like(parameter)
    return network


# What the two ways of the exchange promise


@pytest.mark.parametrize("parts", [("classes", "coarse_classes"), ("stream",)])
def test_pixels_inform_instances(parts):
    before, after = decoded(lively()), decoded(shaken(lively(), *parts))
    assert not torch.equal(before.scores, after.scores)
    assert not torch.equal(before.boxes, after.boxes)
    assert not torch.equal(before.masks.pixels, after.masks.pixels)


@pytest.mark.parametrize("part", ["head.class_tower", "head.region_tower"])
def test_instances_inform_pixels(part):
    before, after = decoded(lively()), decoded(shaken(lively(), part))
    assert not torch.equal(before.semantic, after.semantic)
    assert not torch.equal(before.foreground, after.foreground)


def test_the_stream_weighs_the_features_in_which_objects_are_sought():
    images, (one, other) = picture()[0], (lively(), shaken(lively(), "stream.coarse"))
    with torch.no_grad():
        assert not torch.equal(one(images).class_logits, other(images).class_logits)


def test_both_ways_train_the_other_side():
    network, (images, target) = lively().train(), picture()
    losses = network.loss(network(images), [target])
    for loss, part in (("second", network.classes), ("informed", network.head.regions)):
        (gradient,) = torch.autograd.grad(losses[loss], part.weight, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_a_blind_network_of_the_same_size_exchanges_nothing():
    blind = replace(TINY, blind=True)
    size = sum(p.numel() for p in build_joint(blind).parameters())
    assert size == sum(p.numel() for p in build_joint(TINY).parameters())
    before, after = decoded(lively(blind)), decoded(shaken(lively(blind), "classes"))
    assert torch.equal(before.scores, after.scores) and torch.equal(before.boxes, after.boxes)
    other = decoded(shaken(lively(blind), "head"))
    assert torch.equal(before.semantic, other.semantic)
    assert torch.equal(before.foreground, other.foreground)


def test_an_object_adds_its_score_where_its_mask_is():
    network = build_joint(TINY).eval()
    exchange = network.exchange
    shown = torch.zeros(2, 4, 6)
    shown[0, :2], shown[1, 1:3] = 1.0, 0.5
    scores = torch.zeros(2, 8)
    scores[0, 2], scores[1, 2] = 0.8, 0.6
    with torch.no_grad():
        evidence = exchange.evidence(shown, scores)
    assert evidence[2, :, 0].tolist() == pytest.approx([1.6, 2.0, 0.6, 0.0])  # at most 1, times 2
    assert evidence.sum() == evidence[2].sum()


def test_masks_end_at_the_windows_of_boxes():
    exchange = build_joint(TINY).exchange
    shown = exchange.shown(torch.full((1, 16, 32), 9.0), torch.tensor([[16.0, 16, 48, 48]]))
    rows, columns = shown[0].amax(1) > 0, shown[0].amax(0) > 0
    assert rows.nonzero().flatten().tolist() == list(range(3, 13))  # 4..12, a cell to each side
    assert columns.nonzero().flatten().tolist() == list(range(3, 13))


# Training


def test_weights_of_the_pixel_losses_are_factors():
    network, (images, target) = lively(), picture()
    output = network(images)
    plain = network.loss(output, [target])
    weighted = replace(TINY, semantic_weight=0.75, agnostic_weight=1.5, informed_weight=1.0)
    network.config = weighted
    other = network.loss(output, [target])
    assert other["semantic"].item() == pytest.approx(plain["semantic"].item() / 2)
    assert other["agnostic"].item() == pytest.approx(3 * plain["agnostic"].item())
    assert other["informed"].item() == pytest.approx(2 * plain["informed"].item())


def test_pictures_without_classes_of_pixels_train_the_rest():
    network, (images, target) = lively(), picture()
    bare = replace(target, semantic=None)
    losses = network.loss(network(images), [bare])
    assert losses["semantic"].item() == losses["agnostic"].item() == losses["informed"].item() == 0
    assert losses["box"].item() > 0 and network.counts([bare], SIZE)["semantic"] == 0


def test_pictures_without_objects_train_pixels_and_scores():
    network, (images, target) = lively(), picture()
    losses = network.loss(network(images), [target[torch.zeros(1, dtype=torch.bool)]])
    assert losses["box"].item() == losses["mask"].item() == 0
    assert losses["classification"].item() > 0 and losses["semantic"].item() > 0


def test_the_second_stage_trains_the_exchange_on_what_nms_leaves():
    network, (images, target) = lively(), picture()
    network.requires_grad_(False).exchange.requires_grad_(True)
    output, counts = network(images), network.counts([target], SIZE)
    losses = network.exchange_losses(output, [target])
    assert set(losses) == {"second", "mask", "informed"} <= set(counts)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in network.exchange.parameters())
    network.config = replace(TINY, score_threshold=1.0)  # nothing is left
    losses = network.exchange_losses(output, [target])
    assert losses["second"].item() == losses["mask"].item() == 0 < losses["informed"].item()


def test_what_nms_leaves_in_a_group_trains_no_mask_and_no_score():
    network, (images, target) = lively(), picture()
    network.requires_grad_(False).exchange.requires_grad_(True)
    output = network(images)
    everywhere = torch.ones(1, *SIZE, dtype=torch.bool)
    group = Target(
        torch.cat([target.boxes, torch.tensor([[0.0, 0, SIZE[1], SIZE[0]]])]),
        torch.cat([target.labels, target.labels[:1]]),
        torch.cat([target.masks, everywhere]),
        target.semantic,
        crowd=torch.tensor([False] * len(target.labels) + [True]),
    )
    alone = network.exchange_losses(output, [target])
    among = network.exchange_losses(output, [group])
    assert among["second"].item() < alone["second"].item()
    assert among["mask"].item() == alone["mask"].item()
    group = group[group.crowd]  # nothing else to find
    losses = network.exchange_losses(output, [group])
    assert losses["second"].item() == losses["mask"].item() == 0


@pytest.mark.slow
def test_one_picture_is_learned_by_heart():
    torch.manual_seed(0)
    network = build_joint(TINY).train()
    images, target = picture()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    history = []
    for _ in range(60):
        losses = network.loss(network(images), [target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    # scores follow the boxes, which get better meanwhile: their losses need not fall
    falling = ("mask", "semantic", "agnostic", "informed")
    assert all(history[-1][name] < history[0][name] / 2 for name in falling)
    with torch.no_grad():
        (found,) = network.decode(network(images), [FRAME])
    assert found.labels[0] == 2 and found.scores[0] > 0.5
    assert box_iou(found.boxes[:1], target.boxes) > 0.8
    wanted = target.masks[0]
    mask = found.masks[:1].bitmaps(SIZE)[0]
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.8
    known = target.semantic != 255
    assert (found.semantic[known] == target.semantic[known]).float().mean() > 0.9
    car = found.panoptic.segments[0]
    assert car.is_thing and car.label == 13 and car.object == 0


# Results


def test_everything_of_a_picture_comes_in_camera_pixels():
    network = lively(replace(TINY, score_threshold=0.0, panoptic_score=0.0))
    with torch.no_grad():
        (found,) = network.decode(network(picture()[0]), [Letterbox((32, 60), SIZE)])
    assert len(found) == len(found.masks) == 100
    for plane in (found.semantic, found.confidence, found.foreground, found.panoptic.ids):
        assert plane.shape == (32, 60)
    assert found.fusion.min_score == 0.0 and found.fusion.things == CITYSCAPES.thing_to_semantic
    assert (found.scores.diff() <= 0).all() and found.panoptic.segments[0].is_thing


def test_scores_that_a_second_look_lowers_below_the_threshold_are_left_out():
    network = lively()
    with torch.no_grad():
        network.exchange.change.bias[: TINY.num_classes] = -20
    assert not len(decoded(network))


def test_boxes_are_refined_in_the_pixels_of_the_network():
    network = lively(replace(TINY, gamma=0.0))
    plain = decoded(network)
    network.refinement.gamma = 0.05
    refined = decoded(network)
    assert not torch.equal(plain.boxes, refined.boxes)
    assert torch.equal(refined.boxes, refined.boxes.round())  # the camera's are the network's here
    with torch.no_grad():
        (larger,) = network.decode(network(picture()[0]), [Letterbox((128, 256), SIZE)])
    assert torch.equal(larger.boxes, 2 * refined.boxes)


def test_a_box_that_its_mask_would_move_beside_the_image_stays():
    network, frame = lively(), Letterbox((64, 64), SIZE)  # the right half of the input is padding
    shown = torch.zeros(1, 16, 32)
    shown[0, 4:8, 17:20] = 1.0
    boxes = torch.tensor([[62.0, 16, 80, 32]])
    kept = network.refined(shown, boxes, frame)
    assert kept.tolist() == [[62.0, 16, 64, 32]]


def test_profiles_are_the_largest_probabilities_of_columns_and_rows():
    shown = torch.zeros(1, 16, 32)
    shown[0, 4:8, 10:20] = 0.9
    columns, rows = lively().profiles(shown)
    assert columns.shape == (1, 128) and rows.shape == (1, 64)
    assert columns[0, 42:78].tolist() == pytest.approx([0.9] * 36)
    assert rows[0, :14].max() < 1e-3 < 0.89 < rows[0, 20:28].min()


# Cost: what RDSNet and SegRPN compute one after the other, and what one pass computes


def operations(model_type, name, size):
    """Of the dense part for one picture, and of the region head for all its proposals."""
    with torch.device("meta"):
        model = build_model(replace(preset(model_type, name), norm="trainable")).eval()
        model.anchors = lambda size, device: []
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.zeros(1, 3, *size))
            if model_type == "segrpn":
                bins = torch.zeros(model.config.proposals_test, 49, model.config.channels)
                model.region_head.classify(bins)
    return counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "share"), [("tiny", (256, 512), 0.4), ("r50", (512, 1024), 0.5)]
)
def test_one_pass_costs_at_most_half_of_both_models(name, size, share):
    joint, *both = (operations(kind, name, size) for kind in ("joint", "rdsnet", "segrpn"))
    assert joint <= share * sum(both)


@pytest.mark.parametrize(("name", "millions"), [("tiny", 3), ("lite", 6)])
def test_small_presets_are_small(name, millions):
    with torch.device("meta"):
        model = build_joint(preset("joint", name))
    assert sum(p.numel() for p in model.parameters()) <= millions * 1e6
