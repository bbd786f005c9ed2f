"""What a CUDA graph captures, computed on the CPU: pictures in, what the predictor gives out."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jointseg_core import Predictor, shipped_weights
from jointseg_core.cuda import graph as cuda_graph
from jointseg_core.cuda import rdsnet as rdsnet_fixed
from jointseg_core.cuda.graph import Replayer


def noise(seed, *size):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def blobs(seed, *size):
    return noise(seed, size[0] // 16, size[1] // 16).repeat(16, 0).repeat(16, 1)


@pytest.fixture(params=["rdsnet", "segrpn", "joint"])
def pair(request):
    """A predictor that finds objects, and the same by graphs that capture nothing."""
    predictor = Predictor.from_file(shipped_weights(request.param), device="cpu")
    predictor.configure(max_detections=8)
    preprocessing = predictor.manifest.preprocessing
    return predictor, Replayer(predictor.model, preprocessing, predictor.device, torch.float32)


def replay(replayer, images):
    with torch.inference_mode():
        frames = replayer._how[1].frames(images)
        return replayer(images, frames)[1]


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.image_size == other.image_size and one.labels.equal(other.labels)
        torch.testing.assert_close(one.scores, other.scores)
        torch.testing.assert_close(one.boxes, other.boxes)
        if other.masks is not None:
            assert one.masks.windows.equal(other.masks.windows)
            differing = (one.masks.pixels != other.masks.pixels).sum()
            assert differing <= 1e-4 * len(other.masks.pixels)
        if other.semantic is not None:
            assert (one.semantic != other.semantic).float().mean() < 1e-3
        assert one.fusion == other.fusion


def test_a_captured_graph_gives_what_the_predictor_gives_for_all_sizes(pair):
    predictor, replayer = pair
    for images in ([blobs(0, 96, 160)], [blobs(1, 64, 160), blobs(2, 128, 128)]):
        wanted = predictor(images)
        assert sum(len(one) for one in wanted)
        assert_same(replay(replayer, images), wanted)
    assert len(replayer._graphs) == 2


def test_thresholds_change_without_a_new_capture(pair):
    predictor, replayer = pair
    image = blobs(0, 96, 160)
    replay(replayer, [image])
    (graph,) = replayer._graphs.values()
    first = graph._numbers.data_ptr()
    for limits in ({"max_detections": 3}, {"score_threshold": 0.1}, {"mask_threshold": 0.8}):
        predictor.configure(**limits)
        assert_same(replay(replayer, [image]), predictor([image]))
    assert list(replayer._graphs.values()) == [graph]
    assert graph._numbers.data_ptr() == first
    predictor.configure(max_detections=20)  # more than there is room for
    replay(replayer, [image])
    assert list(replayer._graphs.values()) != [graph]


def test_results_outlive_the_next_batch(pair):
    _, replayer = pair
    (first,) = replay(replayer, [blobs(0, 96, 160)])
    boxes = first.boxes.clone()
    replay(replayer, [blobs(5, 96, 160)])
    assert first.boxes.equal(boxes)


def test_the_size_that_was_unused_for_longest_makes_room(pair, monkeypatch):
    _, replayer = pair
    monkeypatch.setattr(cuda_graph, "_MOST_GRAPHS", 2)
    for height in (64, 96, 64, 128):
        replay(replayer, [blobs(0, height, 64)])
    assert list(replayer._graphs) == [((64, 64),), ((128, 64),)]


def test_what_does_not_fit_is_decoded_again_and_counted(monkeypatch):
    predictor = Predictor.from_file(shipped_weights("rdsnet"), device="cpu")
    monkeypatch.setattr(rdsnet_fixed, "_space", lambda _: 8)
    preprocessing = predictor.manifest.preprocessing
    replayer = Replayer(predictor.model, preprocessing, predictor.device, torch.float32)
    images = [blobs(0, 96, 160)]
    (found,), (wanted,) = replay(replayer, images), predictor(images)
    assert replayer.redone == 1 and len(found)
    assert found.boxes.equal(wanted.boxes) and found.masks.pixels.equal(wanted.masks.pixels)


def test_where_nothing_can_be_captured_frames_take_the_ordinary_way_after_one_warning(pair):
    predictor, replayer = pair
    replayer.__class__ = type("Failing", (Replayer,), {"_captured": fail})
    predictor._replayer = replayer
    image = blobs(0, 96, 160)
    with pytest.warns(UserWarning, match="no CUDA graph.*: operation not permitted"):
        (found,) = predictor([image])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found.boxes.equal(predictor([image])[0].boxes)


def test_operations_are_counted_where_somebody_counts_them(pair):
    predictor, predictor._replayer = pair[0], fail  # not called
    with FlopCounterMode(display=False) as counter:
        predictor([blobs(0, 96, 160)])
    assert counter.get_total_flops() > 1e6


def fail(self, frames):
    raise RuntimeError("operation not permitted when stream is capturing\nmore of it")
