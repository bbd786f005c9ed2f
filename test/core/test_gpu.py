"""On a GPU: frames go through a captured CUDA graph and show what the CPU sees in them."""

import warnings

import numpy as np
import pytest
import torch

from benchmarks.networks.clock import device_counts
from jointseg_core import Predictor, shipped_weights

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="this machine has no CUDA device"
)


def picture(seed, *size):
    blocks = np.random.default_rng(seed).integers(0, 255, (size[0] // 16, size[1] // 16, 3))
    return blocks.astype(np.uint8).repeat(16, 0).repeat(16, 1)


@pytest.fixture(params=["rdsnet", "segrpn", "joint"])
def pair(request):
    """The shipped weights on the CPU and on the GPU, in fp32 without TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    predictors = [Predictor.from_file(shipped_weights(request.param), d) for d in ("cpu", "cuda")]
    for predictor in predictors:
        predictor.configure(max_detections=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a graph that cannot be captured is a failure here
        yield predictors
    torch.backends.cudnn.allow_tf32 = before


def assert_close(gpu, cpu):
    """Anti-aliased pictures differ by up to one grey level, so results may in the last digits."""
    for one, other in zip(gpu, cpu, strict=True):
        assert one.image_size == other.image_size
        assert len(one) == len(other) > 0 and one.boxes.device.type == "cpu"
        torch.testing.assert_close(one.scores, other.scores, atol=0.02, rtol=0.05)
        assert (one.labels == other.labels).float().mean() > 0.7
        if other.semantic is not None:
            assert (one.semantic == other.semantic).float().mean() > 0.98
            assert (one.foreground == other.foreground).float().mean() > 0.98
        else:
            apart = one.masks.bitmaps(one.image_size) ^ other.masks.bitmaps(other.image_size)
            assert apart.float().mean() < 0.05


def test_frames_of_several_sizes_show_what_the_cpu_sees(pair):
    cpu, gpu = pair
    one, other = picture(0, 256, 512), picture(1, 192, 320)  # the first needs no resize
    for images in ([one], [other], [one, other], [one]):
        assert_close(gpu(images), cpu(images))


def test_frames_differ_from_replay_to_replay(pair):
    _, gpu = pair
    first, second = (gpu([picture(seed, 256, 512)])[0] for seed in (0, 1))
    again = gpu([picture(0, 256, 512)])[0]
    assert first.scores.equal(again.scores) and first.boxes.equal(again.boxes)
    assert not first.scores.equal(second.scores)


def test_thresholds_take_effect_without_a_new_capture(pair):
    _, gpu = pair
    image = picture(0, 256, 512)
    assert len(gpu([image])[0]) == 8
    (before,) = gpu._replayer._graphs.values()
    gpu.configure(max_detections=3)
    assert len(gpu([image])[0]) == 3
    gpu.configure(score_threshold=0.999)
    assert len(gpu([image])[0]) == 0
    assert list(gpu._replayer._graphs.values()) == [before]


def test_a_frame_waits_once_and_needs_few_launches(pair):
    _, gpu = pair
    image = picture(0, 256, 512)
    gpu([image])
    torch.cuda.set_sync_debug_mode("error")  # of waits that nobody asked for
    try:
        gpu([image])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    counts = device_counts(lambda: gpu([image]))
    assert counts["syncs"] <= 2  # one of them is the profiler's own, when it ends
    assert counts["launches"] <= 5
    assert gpu._replayer.redone == 0
