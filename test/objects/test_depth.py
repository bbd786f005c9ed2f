"""Objects in space, from depth images whose geometry is computed by hand."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointseg_core.errors import BadInput
from jointseg_core.predictions import Masks, Predictions
from jointseg_objects.depth import Intrinsics, Limits, Objects3D, lift, metres

SIZE = (240, 400)
CAMERA = Intrinsics(200.0, 200.0, 199.5, 119.5)  # the axis goes through the picture's middle
CAR, PERSON = 2, 0


def seen(*masks: np.ndarray, labels: tuple[int, ...] = (), size: tuple = SIZE) -> Predictions:
    """One object for each mask, bool [H, W]."""
    bitmaps = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *size).bool()
    found = Masks.from_bitmaps(bitmaps)
    scores = torch.linspace(0.9, 0.5, len(masks))
    labels_ = torch.tensor(labels or [CAR] * len(masks), dtype=torch.int64)
    return Predictions(size, found.windows.float(), scores, labels_, found)


def block(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


MIDDLE = block(slice(100, 140), slice(170, 230))  # 40 x 60 pixels around the axis


def depth_of(mask: np.ndarray, inside: float, outside: float = 50.0) -> np.ndarray:
    return np.where(mask, np.float32(inside), np.float32(outside))


# What is a measurement


def test_millimetres_and_metres_become_metres_and_what_is_no_measurement_0() -> None:
    found = metres(np.array([0, 1500, 65535], np.uint16))
    assert found.dtype == np.float32 and found.tolist() == pytest.approx([0, 1.5, 65.535])
    strange = np.array([2.5, 0, -1, np.nan, np.inf, -np.inf])
    for kind in (np.float32, np.float64):
        assert metres(strange.astype(kind)).tolist() == [2.5, 0, 0, 0, 0, 0]
        assert metres(strange.astype(kind)).dtype == np.float32
    with pytest.raises(BadInput, match="int32"):
        metres(np.zeros((2, 2), np.int32))


def test_an_uncalibrated_camera_is_refused() -> None:
    assert Intrinsics.from_matrix([700, 0, 320, 0, 710, 240, 0, 0, 1]) == Intrinsics(
        700, 710, 320, 240
    )
    for k in ([0.0] * 9, [np.nan, 0, 1, 0, 1, 1, 0, 0, 1], [-5, 0, 1, 0, 5, 1, 0, 0, 1]):
        with pytest.raises(BadInput, match="uncalibrated"):
            Intrinsics.from_matrix(k)
    for absurd in ((1e-30, 700, 320, 240), (700, 1e30, 320, 240), (700, 700, 320, -1e300)):
        with pytest.raises(BadInput, match="uncalibrated"):
            Intrinsics(*absurd)
    with pytest.raises(BadInput, match="4 numbers"):
        Intrinsics.from_matrix([1.0] * 4)


# Where, and how large


@pytest.mark.parametrize("scale", [1, 1000])
def test_a_flat_object_on_the_axis(scale: int) -> None:
    """60 x 40 pixels at 10 m with a focal length of 200: 3 m wide, 2 m high."""
    depth = depth_of(MIDDLE, 10.0)
    found = lift(seen(MIDDLE), depth if scale == 1 else (depth * scale).astype(np.uint16), CAMERA)
    assert found.index.tolist() == [0] and found.without_depth == 0
    assert found.position[0] == pytest.approx([0, 0, 10], abs=0.02)
    assert found.center[0] == pytest.approx([0, 0, 10], abs=1e-5)
    assert found.size[0] == pytest.approx([3, 2, 0], abs=1e-5)
    assert found.distance == pytest.approx([10], abs=0.01)


def test_an_object_aside_lies_where_its_pixels_point() -> None:
    """Columns 300 to 339 have their middle at 319.5: 120 pixels right of the axis, at 20 m 12 m."""
    mask = block(slice(150, 170), slice(300, 340))
    found = lift(seen(mask), depth_of(mask, 20.0), CAMERA)
    assert found.center[0] == pytest.approx([12, 4, 20], abs=1e-4)
    assert found.position[0] == pytest.approx([12, 4, 20], abs=0.05)
    assert found.size[0] == pytest.approx([4, 2, 0], abs=1e-4)


def test_a_slanted_surface_is_as_deep_as_it_is_seen() -> None:
    """From 10 m at the left edge to 13 m at the right one."""
    depth = depth_of(MIDDLE, 0)
    depth[:, 170:230] = np.linspace(10, 13, 60, dtype=np.float32)
    found = lift(seen(MIDDLE), depth, CAMERA, Limits(erode=0.0))
    assert found.position[0, 2] == found.center[0, 2] == pytest.approx(11.5, abs=0.1)
    assert found.size[0, 2] == pytest.approx(3, rel=0.05)


def test_what_is_known_of_a_class_reaches_back_from_what_is_seen() -> None:
    other = block(slice(100, 140), slice(20, 80))
    depth = np.minimum(depth_of(MIDDLE, 10.0), depth_of(other, 10.0))
    limits = Limits(extents=(0.0, 0.0, 4.0))
    found = lift(seen(MIDDLE, other, labels=(CAR, PERSON)), depth, CAMERA, limits)
    assert found.position[:, 2] == pytest.approx([10, 10])
    assert found.center[:, 2] == pytest.approx([12, 10])
    assert found.size[:, 2] == pytest.approx([4, 0])


# Masks that leak, holes, noise


def test_a_mask_that_leaks_is_measured_by_the_object() -> None:
    """As much background on both sides together as object; the background is 5 m behind."""
    wide = block(slice(100, 140), slice(140, 260))
    found = lift(seen(wide), depth_of(MIDDLE, 10.0, 15.0), CAMERA)
    assert found.position[0] == pytest.approx([0, 0, 10], abs=0.05)
    assert found.size[0] == pytest.approx([3, 2, 0], rel=0.1, abs=0.01)


def test_something_small_in_front_is_not_the_object() -> None:
    depth = depth_of(MIDDLE, 10.0)
    depth[:, 190:200] = 4.0  # a pole, a sixth of the mask
    found = lift(seen(MIDDLE), depth, CAMERA)
    assert found.position[0, 2] == pytest.approx(10, abs=0.01)
    assert found.size[0, 0] == pytest.approx(3, abs=0.01)


def test_edges_that_mix_object_and_background_do_not_count() -> None:
    depth = depth_of(MIDDLE, 10.0)
    depth[100:140, 170:173] = depth[100:140, 227:230] = 11.0
    found = lift(seen(MIDDLE), depth, CAMERA)
    assert found.position[0, 2] == 10 and found.size[0, 2] == 0


def test_a_thin_mask_keeps_something_to_measure() -> None:
    pole = block(slice(60, 180), slice(200, 202))
    diagonal = np.eye(*SIZE, k=20, dtype=bool)
    for mask in (pole, diagonal):
        found = lift(seen(mask), depth_of(mask, 7.0), CAMERA)
        assert found.position[0, 2] == pytest.approx(7)


def test_noise_and_holes_leave_two_percent() -> None:
    """5 % of noise and a tenth of holes: the error of the median of hundreds is below 2 %."""
    rng = np.random.default_rng(0)
    for far in (5.0, 20.0, 40.0):
        depth = depth_of(MIDDLE, far, 90.0) * rng.normal(1, 0.05, SIZE).astype(np.float32)
        depth[rng.random(SIZE) < 0.1] = np.nan
        found = lift(seen(MIDDLE), depth, CAMERA)
        assert found.position[0, 2] == pytest.approx(far, rel=0.02)
        deviation = np.sqrt(found.covariance[0, 2, 2])
        assert 0.05 * far / 4 < deviation < 0.05 * far  # about nine times as many as err together


def test_few_measurements_as_of_a_lidar_are_all_read() -> None:
    big = block(slice(20, 220), slice(50, 350))
    rng, depth = np.random.default_rng(0), depth_of(big, 12.0)
    depth[rng.random(SIZE) > 0.004] = 0  # 240 on the object
    found = lift(seen(big), depth, CAMERA)
    inner = big[36:204, 74:326].sum() * 0.004  # less the eroded edges
    assert found.position[0, 2] == pytest.approx(12)
    assert found.pixels[0] == pytest.approx(inner, rel=0.25)


def test_objects_without_depth_are_left_out_and_counted() -> None:
    one = block(slice(10, 40), slice(10, 40))
    two = block(slice(10, 40), slice(100, 140))
    three = block(slice(10, 40), slice(200, 240))
    depth = np.zeros(SIZE, np.float32)
    depth[two] = 8.0
    depth[three] = 500.0  # farther than anything counts
    nothing = np.zeros(SIZE, bool)
    found = lift(seen(one, two, three, nothing), depth, CAMERA)
    assert found.index.tolist() == [1] and found.without_depth == 3
    for depth in (np.zeros(SIZE, np.uint16), np.full(SIZE, np.nan, np.float32)):
        found = lift(seen(one, two), depth, CAMERA)
        assert len(found) == 0 and found.without_depth == 2
    assert len(lift(seen(), depth, CAMERA)) == lift(seen(), depth, CAMERA).without_depth == 0
    assert lift(seen(nothing), depth, CAMERA).without_depth == 1


def test_the_covariance_is_the_spread_over_what_errs_alone() -> None:
    """A flat surface 3 m wide spreads by 3 / sqrt(12) across; all its pixels err together."""
    depth = depth_of(MIDDLE, 10.0)
    together = lift(seen(MIDDLE), depth, CAMERA, Limits(erode=0.0, correlated=1e9))
    alone = lift(seen(MIDDLE), depth, CAMERA, Limits(erode=0.0, correlated=24.0))
    across, down, along = np.diag(together.covariance[0])
    assert np.sqrt([across, down]) == pytest.approx(np.array([3, 2]) / np.sqrt(12), rel=0.02)
    assert along == pytest.approx(1e-4, rel=0.01)  # a centimetre
    assert alone.pixels.tolist() == [2400]
    assert alone.covariance[0, 0, 0] == pytest.approx(across / 100, rel=0.02)


def test_depth_of_another_size_and_results_without_masks_are_refused() -> None:
    with pytest.raises(BadInput, match=r"depth is \(120, 400\)"):
        lift(seen(MIDDLE), np.zeros((120, 400), np.float32), CAMERA)
    boxes = torch.zeros(1, 4)
    with pytest.raises(ValueError, match="no masks"):
        found = Predictions(SIZE, boxes, torch.ones(1), torch.zeros(1).long())
        lift(found, np.zeros(SIZE, np.float32), CAMERA)


def test_what_one_way_does_not_find_another_may() -> None:
    other = block(slice(10, 40), slice(100, 140))
    both = seen(other, MIDDLE)
    near, far = (lift(both, depth_of(m, 9.0, 0.0), CAMERA) for m in (MIDDLE, other))
    joined = near.or_else(far)
    assert near.index.tolist() == [1] and far.index.tolist() == [0]
    assert joined.index.tolist() == [0, 1] and joined.without_depth == 0
    assert near.or_else(near).index.tolist() == [1]
    assert Objects3D.empty(2).or_else(near).without_depth == 1
    with pytest.raises(ValueError, match=r"size is \[0, 3\]"):
        none = Objects3D.empty()
        replace(near, size=none.size)


def test_thirty_objects_at_1080p_take_less_than_5_ms() -> None:
    size, rng = (1080, 1920), np.random.default_rng(0)
    places = [(120 + 300 * (k // 10), 30 + 190 * (k % 10)) for k in range(30)]
    masks = [block(slice(y, y + 220), slice(x, x + 180), size) for y, x in places]
    found, depth = seen(*masks, size=size), rng.uniform(1e3, 6e4, size).astype(np.uint16)
    took = []
    for _ in range(7):
        start = time.process_time()
        assert len(lift(found, depth, CAMERA)) == 30
        took.append(time.process_time() - start)
    assert min(took) < 5e-3
