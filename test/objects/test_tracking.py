"""What stays the same from frame to frame."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from jointseg_core.predictions import Predictions
from jointseg_objects.tracking import Tracker, TrackingConfig

MS = 1_000_000
PERIOD = 100 * MS
CAR, BUS = 2, 4


def frame(*objects: tuple[Sequence[float], float, int]) -> Predictions:
    """Objects as (box, score, label)."""
    boxes = torch.tensor([box for box, _, _ in objects], dtype=torch.float32).view(-1, 4)
    scores = torch.tensor([score for _, score, _ in objects], dtype=torch.float32)
    labels = torch.tensor([label for _, _, label in objects], dtype=torch.int64)
    return Predictions((256, 512), boxes, scores, labels)


def box(x: float, y: float = 100, width: float = 60, height: float = 40) -> list[float]:
    return [x, y, x + width, y + height]


def car(x: float, score: float = 0.9, label: int = CAR) -> tuple[list[float], float, int]:
    return box(x), score, label


def test_objects_that_move_keep_their_ids_in_any_order() -> None:
    tracker = Tracker()
    assert tracker(1, frame(car(10), car(300))).tolist() == [1, 2]
    for k in range(1, 20):
        ids = tracker(1 + k * PERIOD, frame(car(300 - 8 * k), car(10 + 8 * k)))
        # they pass each other at k = 18
        assert ids.tolist() == [2, 1]


def test_a_track_lives_through_an_occlusion_of_almost_a_second_and_not_of_more() -> None:
    for unseen, same in ((9, True), (11, False)):
        tracker = Tracker()
        for k in range(10):
            tracker(1 + k * PERIOD, frame(car(20 + 10 * k)))
        for k in range(10, 10 + unseen):
            assert tracker(1 + k * PERIOD, frame()).tolist() == []
        ids = tracker(1 + (10 + unseen) * PERIOD, frame(car(20 + 10 * (10 + unseen))))
        assert (ids.tolist() == [1]) == same


def test_seconds_count_and_not_frames() -> None:
    """Half of the frames are dropped, unevenly, and what moves fast is still found."""
    tracker, kept = Tracker(), [0, 1, 2, 3, 5, 8, 9, 13, 14, 18]
    ids = [tracker(1 + k * PERIOD, frame(car(20 + 20 * k))).tolist() for k in kept]
    assert ids == [[1]] * len(kept)


def test_what_comes_near_grows() -> None:
    tracker = Tracker()
    for k in range(20):
        half = 10 * 1.15**k
        seen = [256 - half, 128 - half, 256 + half, 128 + half]
        assert tracker(1 + k * PERIOD, frame((seen, 0.9, CAR))).tolist() == [1]


def test_an_uncertain_object_continues_a_track_and_begins_none() -> None:
    tracker = Tracker()
    assert tracker(1, frame(car(20), car(200, 0.2))).tolist() == [1, 0]
    assert tracker(1 + PERIOD, frame(car(22, 0.2), car(200, 0.2))).tolist() == [1, 0]
    assert tracker(1 + 2 * PERIOD, frame(car(24, 0.05))).tolist() == [0]
    # and none that was not seen in the frame before
    assert tracker(1 + 3 * PERIOD, frame(car(26, 0.2))).tolist() == [0]
    assert tracker(1 + 4 * PERIOD, frame(car(28))).tolist() == [1]


def test_objects_of_two_classes_are_never_the_same() -> None:
    tracker = Tracker()
    tracker(1, frame(car(20)))
    assert tracker(1 + PERIOD, frame(car(20, label=BUS), car(21))).tolist() == [2, 1]


@pytest.mark.parametrize("jump", [0, -PERIOD, -3_600_000 * MS])
def test_a_clock_that_does_not_go_on_begins_anew_and_no_id_comes_back(jump: int) -> None:
    tracker, start = Tracker(), 7_200_000 * MS
    tracker(start, frame(car(20)))
    assert tracker(start + jump, frame(car(20))).tolist() == [2]
    assert tracker(start + jump + PERIOD, frame(car(20))).tolist() == [2]
    tracker.reset()
    assert tracker(start + jump + 2 * PERIOD, frame(car(20))).tolist() == [3]


def test_a_clock_that_jumps_far_ahead_ends_every_track() -> None:
    tracker = Tracker()
    tracker(1, frame(car(20)))
    assert tracker(10**18, frame(car(20))).tolist() == [2]


def test_a_clock_that_stands_still_fills_no_memory() -> None:
    tracker = Tracker()
    for k in range(50):
        tracker(0, frame(car(5 * k), car(300)))
    assert len(tracker._ids) == 2


def test_two_runs_find_the_same_and_gaps_are_as_the_config_says() -> None:
    rng = np.random.default_rng(1)
    frames = [frame(*(car(x, s) for x, s in rng.random((12, 2)) * (450, 1))) for _ in range(20)]
    runs = [
        [tracker(1 + k * PERIOD, one).tolist() for k, one in enumerate(frames)]
        for tracker in (Tracker(), Tracker())
    ]
    assert runs[0] == runs[1]
    tracker = Tracker(TrackingConfig(max_gap_s=0.15))
    ids = [tracker(1 + k * PERIOD, one)[:1].tolist() for k, one in enumerate([frames[0]] * 2)]
    assert ids[0] == ids[1]
    assert tracker(1 + 3 * PERIOD, frames[0]).min() != 1


def test_fifty_objects_take_less_than_two_milliseconds() -> None:
    """In the time of this process, and in the best of some frames: machines are shared."""
    rng, tracker, took = np.random.default_rng(0), Tracker(), []
    corners, scores = rng.uniform(0, 900, (50, 2)), rng.uniform(0.2, 0.9, 50)
    for k in range(30):
        boxes = np.concatenate([corners + 2 * k, corners + 2 * k + 60], 1)
        boxes += rng.normal(0, 1, (50, 4))
        found = frame(*zip(boxes.tolist(), scores.tolist(), [CAR] * 50, strict=True))
        began = time.process_time()
        tracker(1 + k * PERIOD, found)
        took.append(time.process_time() - began)
    assert sorted(took[1:])[len(took) // 4] < 0.002
