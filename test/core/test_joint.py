"""The joint network: both models' parts on one pyramid."""

from dataclasses import replace

import pytest
import torch
from one_car import SIZE, picture
from torch.utils.flop_counter import FlopCounterMode

from jointseg_core import (
    CITYSCAPES,
    Letterbox,
    build_joint,
    build_model,
    build_rdsnet,
    build_segrpn,
    preset,
)

TINY = preset("joint", "tiny")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_joint(TINY).eval()


def test_it_has_the_parts_of_both_models_under_their_names(network):
    names = {name for name, _ in network.named_parameters()}
    rdsnet = {name for name, _ in build_rdsnet(preset("rdsnet", "tiny")).named_parameters()}
    segrpn = {name for name, _ in build_segrpn(preset("segrpn", "tiny")).named_parameters()}
    assert names == rdsnet | {name for name in segrpn if name.startswith("segmentation.")}


def test_objects_are_those_of_an_rdsnet_with_the_same_weights(network):
    rdsnet = build_rdsnet(preset("rdsnet", "tiny")).eval()
    rdsnet.load_state_dict(network.state_dict(), strict=False)
    images, target = picture()
    joint, alone = network(images), rdsnet(images)
    assert torch.equal(joint.class_logits, alone.class_logits)
    assert torch.equal(joint.pixels, alone.pixels)
    both, objects = network.loss(joint, [target]), rdsnet.loss(alone, [target])
    assert {k: both[k].item() for k in objects} == {k: v.item() for k, v in objects.items()}
    assert set(both) - set(objects) == {"semantic", "agnostic"}


def test_the_pixel_stream_may_begin_coarser_than_the_branches():
    network = build_joint(replace(TINY, pixel_level=3)).eval()
    output = network(torch.zeros(2, 3, *SIZE))
    assert output.pixels.shape == (2, 16, 16, 32)
    assert output.semantic_logits.shape == (2, 19, 16, 32)
    assert output.background_logits.shape == (2, 1, 16, 32)


def test_weights_of_the_pixel_losses_are_factors(network):
    images, target = picture()
    output = network(images)
    plain = network.loss(output, [target])
    weighted = build_joint(replace(TINY, semantic_weight=0.125, agnostic_weight=0.75))
    other = weighted.loss(output, [target])
    assert other["semantic"].item() == pytest.approx(plain["semantic"].item() / 2)
    assert other["agnostic"].item() == pytest.approx(3 * plain["agnostic"].item())


def test_pictures_without_classes_of_pixels_train_the_rest(network):
    images, target = picture()
    bare = replace(target, semantic=None)
    losses = network.loss(network(images), [bare])
    assert losses["semantic"].item() == losses["agnostic"].item() == 0 < losses["box"].item()
    assert network.counts([bare], SIZE)["semantic"] == 0


def test_everything_of_a_picture_comes_in_camera_pixels(network):
    output = network(picture()[0])
    network.config = replace(TINY, score_threshold=0.0, panoptic_score=0.0)
    (found,) = network.decode(output, [Letterbox((32, 60), SIZE)])
    network.config = TINY
    assert len(found) == len(found.masks) == 100
    for plane in (found.semantic, found.confidence, found.foreground, found.panoptic.ids):
        assert plane.shape == (32, 60)
    assert found.fusion.min_score == 0.0 and found.fusion.things == CITYSCAPES.thing_to_semantic
    assert found.panoptic.segments[0].is_thing


@pytest.mark.slow
def test_one_picture_is_learned_by_heart():
    torch.manual_seed(0)
    network = build_joint(TINY).train()
    images, target = picture()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    history = []
    for _ in range(40):
        losses = network.loss(network(images), [target])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    assert all(history[-1][name] < value / 2 for name, value in history[0].items())
    (found,) = network.eval().decode(network(images), [Letterbox(SIZE, SIZE)])
    assert found.labels[0] == 2 and found.scores[0] > 0.5
    wanted = target.masks[0]
    mask = found.masks[:1].bitmaps(SIZE)[0]
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.8
    known = target.semantic != 255
    assert (found.semantic[known] == target.semantic[known]).float().mean() > 0.9
    car = found.panoptic.segments[0]
    assert car.is_thing and car.label == 13 and car.object == 0


# Cost: what both models compute one after the other, and what one pass computes


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
@pytest.mark.parametrize(("name", "size"), [("tiny", (256, 512)), ("r50", (512, 1024))])
def test_one_pass_costs_at_most_seven_tenths_of_both_models(name, size):
    joint, *both = (operations(kind, name, size) for kind in ("joint", "rdsnet", "segrpn"))
    assert joint <= 0.7 * sum(both)
