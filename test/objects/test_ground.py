"""Distances on flat ground, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jointseg_core.predictions import Predictions
from jointseg_objects.depth import Intrinsics, Limits
from jointseg_objects.ground import from_ground

CAMERA = Intrinsics(1000.0, 1000.0, 639.5, 359.5)


def seen(*boxes: tuple[float, float, float, float]) -> Predictions:
    count = len(boxes)
    corners = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return Predictions((720, 1280), corners, torch.ones(count), torch.zeros(count).long())


def test_a_lower_edge_below_the_horizon_is_at_the_height_over_its_slope() -> None:
    """150 pixels below the horizon at a focal length of 1000: 1.5 m / 0.15 = 10 m."""
    found = from_ground(seen((740, 410, 840, 510)), CAMERA, 1.5)
    assert found.position[0] == pytest.approx([1.5, 1.0, 10])  # the box's middle, 10 m away
    assert found.center[0] == pytest.approx([1.5, 1.0, 10])
    assert found.size[0] == pytest.approx([1, 1, 0])
    assert found.pixels.tolist() == [0] and found.without_depth == 0


def test_a_camera_that_looks_down_sees_the_horizon_above() -> None:
    """What lies on the axis of a camera that looks down by 0.1 rad is 1.5 m / sin 0.1 away."""
    box = seen((600, 310, 680, 360))
    assert len(from_ground(box, CAMERA, 1.5)) == 0  # on the horizon
    found = from_ground(box, CAMERA, 1.5, 0.1, Limits(extents=(4.0,)))
    depth = 1.5 / math.sin(0.1)
    assert found.position[0, 2] == pytest.approx(depth)
    assert found.center[0, 2] == pytest.approx(depth + 2) and found.size[0, 2] == 4


def test_the_uncertainty_grows_with_the_square_of_the_distance() -> None:
    """At 10 m: 100 / 1.5 m a radian, of 0.01 rad of pitch and 3 pixels of edge; 5 % of height."""
    found = from_ground(seen((590, 409.5, 690, 509.5), (590, 410, 690, 435)), CAMERA, 1.5)
    by_hand = math.hypot(100 / 1.5 * math.hypot(0.01, 0.003), 0.5)
    near, far = np.sqrt(found.covariance[:, 2, 2])
    assert near == pytest.approx(by_hand, rel=0.01)
    assert found.position[1, 2] == pytest.approx(20) and 2.5 < far / near < 4


def test_what_has_no_foot_in_the_picture_or_none_on_the_ground_is_left_out() -> None:
    boxes = seen((0, 500, 300, 720), (0, 100, 50, 300), (0, 300, 50, 364), (9, 300, 90, 500))
    found = from_ground(boxes, CAMERA, 1.5)
    assert found.index.tolist() == [3] and found.without_depth == 3
    assert len(from_ground(boxes, CAMERA, 1.5, lowest=502)) == 0
    assert len(from_ground(seen(), CAMERA, 1.5)) == 0
    with pytest.raises(ValueError, match="above"):
        from_ground(boxes, CAMERA, 0.0)
