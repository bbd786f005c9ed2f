"""Decoding with fixed shapes: exactly what `decode` gives, or a notice, and never a host sync."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import batched_nms

from jointseg_core import Joint, Letterbox, Preprocessing, RDSNet, SegRPN, build_model, preset
from jointseg_core.boxes import logit
from jointseg_core.cuda import fixed_shapes as fixed
from jointseg_core.cuda import graph as cuda_graph
from jointseg_core.cuda import joint as joint_fixed
from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda import segrpn as segrpn_fixed
from jointseg_core.refinement import mask_profiles

SIZE = (64, 128)
DECODERS = {
    RDSNet: rdsnet_fixed.decode_fixed,
    SegRPN: segrpn_fixed.decode_fixed,
    Joint: joint_fixed.decode_fixed,
}


def limits(config):
    mask = logit(getattr(config, "mask_threshold", 0.5))
    values = config.score_threshold, config.nms_iou, config.max_detections, mask
    return fixed.Limits(*torch.tensor(values).unbind())


def decode(model, output, frames, bounds=None):
    """What `decode_fixed` of the model gives."""
    bounds = bounds or limits(model.config)
    return DECODERS[type(model)](model, output, frames, bounds, model.config.max_detections)


# NMS


def survivors(boxes, scores, labels, iou, limit=1000):
    """What `fixed_shapes` keeps of boxes in any order, and whether it vouches for it."""
    order = scores.argsort(descending=True, stable=True)
    count = torch.tensor(len(order))
    bounds = fixed.Limits(*torch.tensor([0.0, iou, limit, 0.0]).unbind())
    kept = fixed.detect(boxes[order], scores[order], labels[order], count, bounds, limit)
    return order[kept.rows[: kept.number]], bool(kept.exact)


@pytest.mark.parametrize("crowding", [0.2, 1.0, 4.0])
def test_nms_keeps_what_torchvision_keeps(crowding):
    generator = torch.Generator().manual_seed(int(crowding * 10))
    exact = 0
    for case in range(80):
        count = int(torch.randint(1, 120, (), generator=generator))
        corner = torch.rand(count, 2, generator=generator) * 100 / crowding
        sides = torch.rand(count, 2, generator=generator) * 40 + 1
        boxes = torch.cat([corner, corner + sides], 1)
        scores = torch.rand(count, generator=generator)
        labels = torch.randint(0, 1 + case % 3, (count,), generator=generator)
        iou = (0.3, 0.5, 0.7)[case % 3]
        kept, vouched = survivors(boxes, scores, labels, iou)
        exact += vouched
        assert not vouched or kept.equal(batched_nms(boxes, scores, labels, iou))
    assert exact >= 75


def chain(count):
    """Boxes of which each overlaps the next by a half and no other by a third."""
    left = torch.arange(count) * 10.0
    boxes = torch.stack([left, torch.zeros(count), left + 30, torch.full((count,), 30.0)], 1)
    return boxes, torch.linspace(1, 0.5, count), torch.zeros(count).long()


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_nms_is_right_about_as_many_boxes_of_a_chain_as_it_takes_steps(steps, monkeypatch):
    monkeypatch.setattr(fixed, "_NMS_STEPS", steps)
    boxes, scores, labels = chain(40)
    wanted = batched_nms(boxes, scores, labels, 0.4)
    assert wanted.tolist() == list(range(0, 40, 2))
    before, kept = fixed.suppress(boxes, torch.ones(40).bool(), 0.4)
    right = torch.zeros(40).bool()
    right[wanted] = True
    assert kept[:steps].equal(right[:steps])
    assert bool((before == kept).all()) == (steps == 40)


def test_a_long_chain_is_not_vouched_for_unless_enough_is_found_before_its_end(monkeypatch):
    boxes, scores, labels = chain(100)
    assert not survivors(boxes, scores, labels, 0.4)[1]
    found, exact = survivors(boxes, scores, labels, 0.4, limit=5)
    assert exact and found.tolist() == [0, 2, 4, 6, 8]
    monkeypatch.setattr(fixed, "_NMS_STEPS", 100)
    found, exact = survivors(boxes, scores, labels, 0.4)
    assert exact and found.equal(batched_nms(boxes, scores, labels, 0.4))


def test_boxes_without_area_suppress_nothing_and_are_not_found():
    boxes = torch.tensor([[0, 0, 0, 9], [0, 0, 9, 9], [0, 0, 9, 9.5], [float("nan"), 0, 9, 9]])
    found, exact = survivors(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.zeros(4), 0.5)
    assert exact and found.tolist() == [1]


def test_pairs_without_a_place_count_only_where_too_little_is_found(monkeypatch):
    monkeypatch.setattr(fixed, "_PAIRS", 2)
    scores = torch.tensor([[0.9, 0.1], [0.4, 0.8]])
    rows, labels, best, found = fixed.best_pairs(scores, torch.tensor(0.3))
    assert (rows.tolist(), labels.tolist(), int(found)) == ([0, 1], [0, 1], 3)
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9]])
    for limit, exact in ((2, True), (3, False)):
        bounds = fixed.Limits(*torch.tensor([0.3, 0.5, limit, 0.0]).unbind())
        assert bool(fixed.detect(boxes, best, labels, found, bounds, 3).exact) == exact


# Results as bytes


def test_bits_come_back():
    bits = torch.rand(800) > 0.5
    assert fixed._unpack_bits(fixed._pack_bits(bits), 797).equal(bits[:797])
    assert len(fixed._unpack_bits(fixed._pack_bits(bits), 0)) == 0


def test_tensors_of_all_types_come_back_from_one_copy():
    tensors = [torch.tensor([True]), torch.rand(3, 2), torch.arange(5), torch.zeros(0, 4).long()]
    for one, other in zip(
        cuda_graph._from_bytes(cuda_graph._to_bytes(tensors), tensors), tensors, strict=True
    ):
        assert one.equal(other) and one.dtype == other.dtype


# Masks


def test_masks_in_a_fixed_space_are_those_of_the_crops():
    torch.manual_seed(0)
    frame = Letterbox((90, 150), SIZE)
    windows = torch.tensor([[0, 0, 150, 90], [140, 80, 150, 90], [3, 5, 4, 60], [0, 0, 0, 0]])
    logits = torch.randn(4, 16, 32)
    crops = frame.sample(logits, 4, windows)
    pixels, *profiles = rdsnet_fixed._crop_masks(logits, windows, frame, torch.tensor(0.2), 16000)
    wanted = torch.cat([crop.flatten() > 0.2 for crop in crops])
    assert pixels[: len(wanted)].equal(wanted) and not pixels[len(wanted) :].any()
    for profile, other in zip(profiles, mask_profiles(crops, windows, (90, 150)), strict=True):
        assert profile.sigmoid().equal(other)


# Whole models


@pytest.fixture(scope="module", params=["rdsnet", "segrpn", "joint"])
def seen(request):
    """A tiny model, its output for two pictures, and how these lie in it."""
    torch.manual_seed(0)
    model = build_model(preset(request.param, "tiny")).eval()
    if request.param == "joint":  # whose scores are otherwise nearly the same
        torch.nn.init.normal_(model.head.class_logits.weight, std=0.3)
    frames = [Letterbox((50, 100), SIZE), Letterbox((96, 40), SIZE)]  # one has padding beside it
    with torch.inference_mode():
        output = model(torch.randn(2, 3, *SIZE))
    return request.param, model, output, frames


CASES = {
    "many": {"score_threshold": 0.005, "max_detections": 6},
    "as many as there are": {"score_threshold": 0.005, "max_detections": 100},
    "none": {"score_threshold": 0.9},
    "all": {"score_threshold": 0.0, "max_detections": 5},
    "all overlaps": {"score_threshold": 0.005, "nms_iou": 0.95, "max_detections": 10},
    "no overlaps": {"score_threshold": 0.005, "nms_iou": 0.05, "max_detections": 20},
}


@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_decode_finds(seen, case, monkeypatch):
    kind, model, output, frames = seen
    monkeypatch.setattr(rdsnet_fixed, "_MASK_SPACE", 100)
    model.config = replace(preset(kind, "tiny"), **CASES[case])
    found = decode(model, output, frames)
    for one, frame, other in zip(found, frames, model.decode(output, frames), strict=True):
        assert_equal(one.to_predictions(frame), other)


def assert_equal(one, other):
    torch.testing.assert_close(one.scores, other.scores)
    torch.testing.assert_close(one.boxes, other.boxes)
    assert one.labels.equal(other.labels)
    assert (one.masks is None, one.semantic is None) == (
        other.masks is None,
        other.semantic is None,
    )
    if other.semantic is not None:
        assert one.foreground.equal(other.foreground)
        assert (one.semantic != other.semantic).float().mean() < 1e-3  # rounding, at ties
        assert one.confidence.equal(other.confidence)
    if other.masks is not None:
        assert one.masks.windows.equal(other.masks.windows)
        assert (one.masks.pixels != other.masks.pixels).sum() <= 1


@pytest.mark.parametrize("classes", [1, 80])
def test_one_class_and_many(classes):
    torch.manual_seed(1)
    config = replace(preset("rdsnet", "tiny"), num_classes=classes, score_threshold=0.01)
    model = build_model(replace(config, max_detections=4)).eval()
    frames = [Letterbox((100, 200), SIZE)]
    with torch.inference_mode():
        output = model(torch.randn(1, 3, *SIZE))
        (found,) = rdsnet_fixed.decode_fixed(
            model, output, frames, limits(model.config), model.config.max_detections
        )
        assert_equal(found.to_predictions(frames[0]), model.decode(output, frames)[0])


def test_retinanet_has_boxes_alone():
    config = replace(preset("rdsnet", "tiny"), filter_size=0, pixel_level=3, score_threshold=0.005)
    model, frames = build_model(config).eval(), [Letterbox(SIZE, SIZE)]
    with torch.inference_mode():
        output = model(torch.randn(1, 3, *SIZE))
        (found,) = rdsnet_fixed.decode_fixed(
            model, output, frames, limits(config), config.max_detections
        )
    found = found.to_predictions(frames[0])
    assert len(found) and found.masks is None


def test_what_does_not_fit_gives_no_result(seen, monkeypatch):
    kind, model, output, frames = seen
    model.config = replace(preset(kind, "tiny"), score_threshold=0.0, nms_iou=0.9)
    monkeypatch.setattr(fixed, "_PAIRS", 50)  # fewer than the 100 objects that there are
    found = decode(model, output, frames)
    assert [one.to_predictions(frame) for one, frame in zip(found, frames, strict=True)] == [
        None,
        None,
    ]


def test_masks_that_do_not_fit_give_no_result(monkeypatch):
    torch.manual_seed(0)
    config = replace(preset("rdsnet", "tiny"), score_threshold=0.0, max_detections=20)
    model, frames = build_model(config).eval(), [Letterbox(SIZE, SIZE)]
    monkeypatch.setattr(rdsnet_fixed, "_space", lambda _: 80)
    with torch.inference_mode():
        output = model(torch.randn(1, 3, *SIZE))
        (found,) = rdsnet_fixed.decode_fixed(
            model, output, frames, limits(config), config.max_detections
        )
    assert found.counts[1] > 8 * len(found.bits) and found.to_predictions(frames[0]) is None


# No host sync


class OnTheDevice(TorchDispatchMode):
    """Fails at operations that make a GPU wait for its host: copies, and lists of unknown length.

    The latter fail by themselves on fake tensors, but for those with boolean indices.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.count += 1
        tensors = [t for t in leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        assert {t.device.type for t in tensors} <= {"cuda"}, f"{function} reads or writes the host"
        if "index" in str(function) and isinstance(args[1], list):
            assert not any(t is not None and t.dtype == torch.bool for t in args[1]), function
        return result


def leaves(tree):
    return torch.utils._pytree.tree_leaves(tree)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rdsnet", "segrpn", "joint"])
def test_nothing_between_picture_and_bytes_waits_for_the_host(kind, monkeypatch):
    monkeypatch.setattr(rdsnet_fixed, "_kernel_works", lambda: False)  # not on fake tensors
    config = preset(kind, "tiny")
    with FakeTensorMode(), torch.device("cuda"):
        model = build_model(config).eval().requires_grad_(False)
        pictures = [torch.empty(s, dtype=torch.uint8) for s in ((50, 100, 3), (96, 40, 3))]
        preprocessing = Preprocessing(SIZE)
        frames = [preprocessing.frame(tuple(p.shape[:2])) for p in pictures]
        bounds = fixed.Limits(*torch.empty(4).unbind())
        model.anchors(SIZE, "cuda")  # made by the first frame
        with OnTheDevice() as watch:
            inputs = preprocessing.inputs(pictures, frames, torch.float32)
            found = decode(model, model(inputs), frames, bounds)
            data = cuda_graph._to_bytes([field for one in found for field in one])
    assert watch.count > 500 and data.device.type == "cuda" and data.ndim == 1


@pytest.mark.parametrize("wait", ["item", "nonzero", "new_tensor", "mask"])
def test_the_watch_sees_waits(wait):
    with (
        FakeTensorMode(),
        OnTheDevice(),
        pytest.raises((AssertionError, DataDependentOutputException, DynamicOutputShapeException)),
    ):
        x = torch.empty(4, device="cuda")
        match wait:
            case "item":
                x.sum().item()
            case "nonzero":
                x.nonzero()
            case "new_tensor":
                x.new_tensor([1.0])
            case "mask":
                x[x > 0] = x[:1]
