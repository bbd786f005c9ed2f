"""Levels rise at once, say why, and come down after a while."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

from jointseg_ros.diagnostics import (
    input_level,
    input_status,
    latency_level,
    latency_status,
    model_level,
)
from jointseg_ros.inputs import Matched
from jointseg_ros.levels import ERROR, OK, WARN, Level
from jointseg_ros.mailbox import Counts
from jointseg_ros.monitor import Budget, Input, Monitor, Window
from jointseg_ros.parameters import Settings
from jointseg_ros.worker import Complaints, Failure

SETTINGS = Settings()  # 100 ms a batch, 1 s of patience, 1 s without frames, 300 ms of age
TOPIC = Matched("/camera/image_raw", count=1)


def camera(last: float = 10.0, **facts) -> Input:
    """A camera of 10 Hz whose last frame came at this time."""
    found = Input(**({"last_good": last} | facts))
    found.rhythm.watch(0.0)
    for index in reversed(range(6)):
        found.rhythm.note(last - index / 10)
    return found


def test_a_camera_that_delivers_is_fine() -> None:
    assert input_level(camera(), 10.1, SETTINGS, TOPIC) == Level(OK, "receiving")


def test_silence_is_an_error_after_the_timeout() -> None:
    level, text, _ = input_level(camera(), 11.1, SETTINGS, TOPIC)
    assert level == ERROR and "no message for 1.1 s on /camera/image_raw, 1 publisher" in text


def test_a_topic_that_nobody_publishes_is_a_warning_at_first() -> None:
    facts = Input()
    facts.rhythm.watch(10.0)
    level = input_level(facts, 10.5, SETTINGS, Matched("/camera/image_raw"))
    assert level == Level(WARN, "no publisher on /camera/image_raw", "NOT_RECEIVED")


def test_publishers_that_cannot_be_heard_are_an_error() -> None:
    matched = replace(TOPIC, problems=("incompatible QoS of /driver: reliability",))
    assert input_level(camera(), 10.5, SETTINGS, matched) == Level(ERROR, matched.problems[0])


def test_what_is_strange_about_a_frame_is_a_warning() -> None:
    hint = "of 16 bits no more than 12 are used"
    assert input_level(camera(hint=hint), 10.1, SETTINGS, TOPIC) == Level(WARN, hint)


def test_a_bad_frame_is_an_error_until_a_good_one_and_a_warning_for_a_while() -> None:
    facts = {"last_bad": 10.2, "bad_text": "step is 7"}
    bad = camera(10.2, last_good=10.1, **facts)
    assert input_level(bad, 10.3, SETTINGS, TOPIC) == Level(ERROR, "bad frame: step is 7")
    assert input_level(camera(10.3, **facts), 10.4, SETTINGS, TOPIC).level == WARN
    assert input_level(camera(14.0, **facts), 14.0, SETTINGS, TOPIC).level == OK


@pytest.mark.parametrize(
    ("age_ms", "stamp", "text"),
    [
        (400.0, None, "400 ms old"),
        (2 * 3.6e6, None, "stamps are 2 h behind the clock; set use_sim_time"),
        (
            26672 * 3.6e6,
            1_700_000_000_000_000_000,
            "1111 days behind the clock (2023-11-14 22:13 UTC)",
        ),
        (1.7e12, 0, "the driver sets no stamp"),
    ],
)
def test_old_frames_are_a_warning(age_ms: float, stamp: int | None, text: str) -> None:
    facts = camera(last_stamp=stamp)
    facts.ages_ms.add(10.0, age_ms)
    level = input_level(facts, 10.1, SETTINGS, TOPIC)
    assert level.level == WARN and text in level.text


@pytest.mark.parametrize(
    ("ahead_ms", "text"),
    [
        (0.0, ""),
        (400.0, ""),  # a simulated clock ticks now and then
        (600.0, "0.6 s ahead"),
        (59_000.0, "59.0 s ahead"),
        (61_000.0, "1 min ahead"),
        (3.6e6, "60 min ahead"),
        (1e15, "ahead of the clock; set the clocks"),
    ],
)
def test_a_camera_ahead_of_the_clock_is_a_warning_with_the_difference(
    ahead_ms: float, text: str
) -> None:
    facts = camera()
    for _ in range(5):
        facts.ages_ms.add(10.0, -ahead_ms)
    level = input_level(facts, 10.1, SETTINGS, TOPIC)
    assert level.level == (WARN if text else OK) and text in level.text
    status = input_status(facts, Counts(), 10.1, level, TOPIC)
    assert {v.key: v.value for v in status.values}["age p50 [ms]"] == "0.0"


def test_stamps_that_go_backwards_are_counted_and_reported() -> None:
    monitor = Monitor(("camera",))
    monitor.watch(time.monotonic())
    for stamp in (5, 6, 2, 3):
        monitor.arrived("camera", stamp, 0.0)
    facts = monitor.inputs["camera"]
    assert facts.backwards == 1
    level = input_level(facts, facts.rhythm.last, SETTINGS, TOPIC)
    assert level == Level(WARN, "stamps went backwards")


def test_results_after_the_deadline_are_counted_and_a_warning() -> None:
    monitor = Monitor(("camera",))
    for latency_ms in (80.0, 120.0, 130.0):
        monitor.published("camera", latency_ms, deadline_ms=100.0)
    monitor.published("camera", 500.0, deadline_ms=0.0)
    facts = camera()
    late = monitor.inputs["camera"]
    assert late.late == 2
    facts.last_late, facts.late_text = 10.0, late.late_text
    level, text, _ = input_level(facts, 10.1, SETTINGS, TOPIC)
    assert level == WARN and "130 ms after the stamp, 100 ms are allowed" in text


def late(*ends: float, took_ms: float = 150.0) -> Monitor:
    monitor = Monitor(("camera",))
    for end in ends:
        monitor.budget.add(end, took_ms, SETTINGS.diagnostics_max_processing_time_ms)
    return monitor


def test_a_batch_over_the_limit_is_a_warning() -> None:
    level, text, _ = latency_level(late(10.0), 10.5, SETTINGS)
    assert level == WARN and "took 150 ms, limit 100 ms" in text


def test_over_the_limit_for_long_is_an_error() -> None:
    assert latency_level(late(10.0, 10.5, 10.9), 11.0, SETTINGS).level == WARN
    assert latency_level(late(10.0, 10.5, 11.1), 11.2, SETTINGS).level == ERROR


def test_a_batch_in_time_ends_the_delay() -> None:
    monitor = late(10.0, 11.5)
    monitor.budget.add(11.6, 20.0, SETTINGS.diagnostics_max_processing_time_ms)
    assert latency_level(monitor, 11.7, SETTINGS) == Level(OK, "in time")


def test_cameras_whose_stamps_are_too_far_apart_are_a_warning_with_the_difference() -> None:
    monitor = late()
    for _ in range(3):
        monitor.differ(35.0)
    now = time.monotonic()
    assert latency_level(monitor, now, SETTINGS) == Level(OK, "in time")
    limited = replace(SETTINGS, batch_max_stamp_difference_ms=20.0)
    level, text, _ = latency_level(monitor, now, limited)
    assert (level, text) == (WARN, "stamps of the cameras differ by 35 ms, limit 20 ms")
    values = {v.key: v.value for v in latency_status(monitor, now, Level(OK, "")).values}
    assert values["stamps differ p50 [ms]"] == "35.0"


def test_a_batch_that_does_not_end_is_an_error() -> None:
    monitor = Monitor(("camera",))
    monitor.busy_since = 10.0
    assert latency_level(monitor, 11.0, SETTINGS).level == OK
    level, text, _ = latency_level(monitor, 11.5, SETTINGS)
    assert level == ERROR and "running for 1.5 s" in text


def test_the_time_over_the_limit_is_that_from_the_first_to_the_last_batch() -> None:
    budget = Budget()
    assert budget.over_for_ms() is None
    budget.add(1.0, 101.0, 100.0)
    budget.add(1.5, 101.0, 100.0)
    assert budget.over_for_ms() == pytest.approx(500)
    budget.add(2.0, 100.0, 100.0)
    assert budget.over_for_ms() is None


def test_weights_that_do_not_load_are_an_error_with_the_reason() -> None:
    level = model_level("unconfigured", None, "weights not found: /x", "auto")
    assert level == Level(ERROR, "weights not found: /x")
    assert model_level("unconfigured", None, "", "auto").level == OK


def test_a_window_forgets() -> None:
    window = Window(seconds=10.0)
    for second in range(20):
        window.add(second, second)
    assert window.values(20.0) == list(range(10, 20))
    assert window.quantile(20.0, 0.5) == pytest.approx(14.5)
    assert window.quantile(40.0, 0.5) is None


def test_complaints_come_once_a_second_for_each_reason() -> None:
    said: list[str] = []
    complain = Complaints(said.append)
    for _ in range(100):
        complain("step", "bad step")
    complain("encoding", "bad encoding")
    assert said == ["bad step", "bad encoding"]
    time.sleep(1.01)
    complain("step", "bad step")
    assert said[2] == "bad step (99 more since the last)"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (RuntimeError("cuBLAS: CUBLAS_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (ValueError("images is empty"), "inference"),
    ],
)
def test_a_lost_gpu_and_a_full_one_are_told_from_other_failures(
    error: Exception, reason: str
) -> None:
    assert Failure.of(error, "inference").reason == reason
