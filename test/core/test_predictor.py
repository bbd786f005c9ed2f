"""The predictor: camera pixels in and out, whatever the camera's size."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointseg_core import BadCheckpoint, Predictor, Preprocessing, load_model
from jointseg_core.errors import BadConfig
from jointseg_core.predictor import choose_device, choose_precision, precisions_of, prepared


@pytest.fixture
def rdsnet(rdsnet_weights):
    predictor = Predictor.from_file(rdsnet_weights, device="cpu")
    predictor.configure(score_threshold=0.005, max_detections=10)
    return predictor


def noise(seed, *size):
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)


def test_results_are_in_the_pixels_of_each_image(rdsnet):
    small, wide = rdsnet([noise(0, 48, 60), noise(1, 100, 400)])
    assert (small.image_size, wide.image_size) == ((48, 60), (100, 400))
    assert len(small) and len(wide)
    assert (small.boxes[:, 2] <= 60).all() and (small.boxes[:, 3] <= 48).all()
    assert small.masks.bitmaps((48, 60)).shape == (len(small), 48, 60)
    assert (small.scores.diff() <= 0).all()


def test_tall_images_are_seen_as_large_as_wide_ones_where_sides_are_given(rdsnet_weights):
    model, manifest = load_model(rdsnet_weights)
    by_sides = replace(manifest, preprocessing=Preprocessing((64, 107), by_sides=True))
    predictor = Predictor(model, by_sides, device="cpu")
    predictor.configure(score_threshold=0.005, max_detections=10)
    predictor.warm_up()
    wide, tall = predictor([noise(0, 48, 72), noise(1, 72, 48)])
    assert (wide.image_size, tall.image_size) == ((48, 72), (72, 48))
    assert len(wide) and len(tall)
    assert tall.boxes[:, 3].max() > 48 and (tall.boxes <= torch.tensor([48, 72, 48, 72])).all()
    (alone,) = predictor([noise(1, 72, 48)])
    fixed = Predictor(model, replace(manifest, preprocessing=Preprocessing((96, 64))), "cpu")
    fixed.configure(score_threshold=0.005, max_detections=10)
    torch.testing.assert_close(alone.boxes, fixed([noise(1, 72, 48)])[0].boxes)


def test_the_same_network_may_have_a_larger_input(rdsnet_weights):
    own, larger, same = (
        Predictor.from_file(rdsnet_weights, device="cpu", input_size=size)
        for size in ("", "320x512", "256x512")
    )
    assert [p.input_size[0] for p in (own, larger, same)] == [256, 320, 256]
    seen = [p.raw([noise(0, 48, 60)]).class_logits.shape[1] for p in (own, larger, same)]
    assert seen[0] == seen[2] < seen[1]
    assert same.manifest == own.manifest  # the numbers of its self-test as well
    for size in ("96", "96x192x3", "ax2", "97x192", "0x0", "-32x32"):
        with pytest.raises(BadConfig, match=f"the input size '{size}' is none, want 384x768"):
            Predictor.from_file(rdsnet_weights, device="cpu", input_size=size)


def test_an_image_alone_gives_what_it_gives_in_a_batch(rdsnet):
    images = [noise(seed, 64, 128) for seed in range(3)]
    for image, batched in zip(images, rdsnet(images), strict=True):
        (alone,) = rdsnet([image])
        torch.testing.assert_close(alone.scores, batched.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.boxes, batched.boxes, atol=1.0, rtol=0)


def test_limits_change_between_batches(rdsnet):
    assert len(rdsnet([noise(0, 64, 128)])[0]) == 10
    rdsnet.configure(max_detections=3)
    assert len(rdsnet([noise(0, 64, 128)])[0]) == 3
    rdsnet.configure(score_threshold=0.99)
    assert len(rdsnet([noise(0, 64, 128)])[0]) == 0


@pytest.mark.parametrize("weights", ["rdsnet_weights", "segrpn_weights", "joint_weights"])
def test_proposals_come_with_the_results_of_a_call_in_the_pixels_of_each_image(weights, request):
    predictor = Predictor.from_file(request.getfixturevalue(weights), device="cpu")
    predictor.configure(score_threshold=0.005)
    images = [noise(0, 48, 60), noise(1, 100, 400)]
    seen, proposals = predictor.with_proposals(images, limit=50)
    for one, alone in zip(seen, predictor(images), strict=True):
        assert one.boxes.equal(alone.boxes) and one.scores.equal(alone.scores)
    for (boxes, scores), (height, width) in zip(proposals, [(48, 60), (100, 400)], strict=True):
        assert 0 < len(boxes) <= 50 and (scores.diff() <= 0).all()
        assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert predictor.with_proposals([]) == ([], [])


@pytest.mark.parametrize("weights", ["rdsnet_weights", "segrpn_weights", "joint_weights"])
def test_nothing_is_found_in_the_padding(weights, request):
    predictor = Predictor.from_file(request.getfixturevalue(weights), device="cpu")
    predictor.configure(score_threshold=0.005)
    (seen,) = predictor([noise(0, 256, 64)])  # seven eighths of the input are padding
    assert len(seen) and (seen.boxes[:, 2:] > seen.boxes[:, :2]).all()


def test_only_limits_can_be_changed(rdsnet):
    with pytest.raises(ValueError, match="channels cannot be changed"):
        rdsnet.configure(channels=3)


NAN, INF = float("nan"), float("inf")
NO_LIMITS = {
    "score_threshold": [NAN, INF, -INF, -1e-9, 1.1, 2, "0.5", None, True, [0.5], 1j],
    "nms_iou": [NAN, 7, -1, "high", b"0", (0.5,)],
    "mask_threshold": [NAN, INF, 1.5, "0.4", False],
    "max_detections": [NAN, -5, 0, 1001, 1 << 70, 10.0, 10.5, "100", None, True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NO_LIMITS.items() for value in values]
)
def test_a_limit_that_makes_no_sense_is_refused_and_nothing_changes(rdsnet, name, value):
    before = rdsnet.model.config
    with pytest.raises(BadConfig, match=f"{name} is .*; want a"):
        rdsnet.configure(**{"score_threshold": 0.5} | {name: value})
    assert rdsnet.model.config is before


def test_limits_may_come_from_numpy(rdsnet):
    rdsnet.configure(score_threshold=np.float32(0.25), max_detections=np.int64(7))
    assert rdsnet.model.config.max_detections == 7


def test_segrpn_classifies_every_pixel(segrpn_weights):
    predictor = Predictor.from_file(segrpn_weights, device="cpu")
    predictor.configure(mask_threshold=0.3)  # a limit that this model does not have
    (seen,) = predictor([noise(0, 90, 50)])
    assert seen.semantic.shape == seen.foreground.shape == seen.confidence.shape == (90, 50)
    assert seen.semantic.max() < 19 and seen.masks is None


@pytest.mark.skipif(
    "bf16" not in precisions_of(torch.device("cpu")), reason="this CPU does not compute in bf16"
)
def test_bf16_is_close_to_fp32(segrpn_weights):
    image = noise(0, 64, 128)
    maps = [
        Predictor.from_file(segrpn_weights, device="cpu", precision=p)([image])[0].confidence
        for p in ("fp32", "bf16")
    ]
    torch.testing.assert_close(*maps, atol=0.05, rtol=0.1)


def test_precisions_are_known_by_name():
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    assert choose_precision("auto", cpu) in ("fp32", "bf16")
    assert choose_precision("auto", torch.device("cuda")) == "fp32"
    with pytest.raises(ValueError, match="precision 'fp8'; want auto or one of"):
        choose_precision("fp8", cpu)


def test_a_precision_without_units_for_it_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match="'fp16': cpu computes in fp32"):
        choose_precision("fp16", torch.device("cpu"))


def test_half_precision_halves_the_layers_and_spares_the_refinement(rdsnet_weights):
    model = load_model(rdsnet_weights)[0]
    model = prepared(model, torch.device("cpu"), torch.bfloat16)
    layers = {p.dtype for n, p in model.named_parameters() if not n.startswith("refinement")}
    assert layers == {torch.bfloat16}
    assert {p.dtype for p in model.refinement.parameters()} == {torch.float32}


def test_threads_share_a_predictor(rdsnet):
    images = [noise(seed, 64, 128) for seed in range(4)]
    wanted = [rdsnet([image])[0].scores for image in images]
    found = {}

    def work(i):
        for _ in range(3):
            found[i] = rdsnet([images[i]])[0].scores

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], wanted[i]) for i in range(4))


def test_no_images_give_no_results(rdsnet):
    assert rdsnet([]) == []


def test_weights_of_the_other_model_are_refused(segrpn_weights):
    with pytest.raises(BadCheckpoint, match="holds a segrpn model, wanted rdsnet"):
        Predictor.from_file(segrpn_weights, model_type="rdsnet")


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(ValueError, match=f"device '{name}'"):
        choose_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("weights", ["rdsnet_weights", "segrpn_weights", "joint_weights"])
def test_a_gpu_sees_what_the_cpu_sees(weights, request):
    path = request.getfixturevalue(weights)
    results = []
    for device in ("cpu", "cuda"):
        predictor = Predictor.from_file(path, device=device)
        predictor.configure(score_threshold=0.005)
        results.append(predictor([noise(0, 128, 256)])[0])
    cpu, gpu = results
    torch.testing.assert_close(cpu.scores[:5], gpu.scores[:5], atol=1e-3, rtol=1e-3)
