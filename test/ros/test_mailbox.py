"""Newest frame wins, batches form by the rule, every frame is accounted for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="rclpy is not installed")

from sensor_msgs.msg import Image

from jointseg_ros.mailbox import Counts, Frame, Mailbox
from jointseg_ros.parameters import Camera, Settings

CAMERAS = ("left", "right", "rear")
SETTINGS = Settings(
    camera_names=CAMERAS,
    cameras=tuple(Camera(name, f"{name}/image_raw", "raw") for name in CAMERAS),
    batch_max_wait_ms=0.0,
)


def frame(camera: str = "left", stamp_ms: int = 0, arrived: float = 0.0) -> Frame:
    message = Image()
    message.header.stamp.sec, rest = divmod(stamp_ms, 1000)
    message.header.stamp.nanosec = rest * 1_000_000
    return Frame(camera, message, arrived)


def take(mailbox: Mailbox, **settings) -> list[Frame] | None:
    return mailbox.take(lambda: replace(SETTINGS, **settings))


def adds_up(counts: Counts) -> bool:
    return counts.received == counts.processed + sum(counts.dropped.values()) + counts.pending


def test_the_newest_frame_replaces_the_one_that_waits() -> None:
    mailbox = Mailbox(CAMERAS)
    old, new = frame(stamp_ms=1), frame(stamp_ms=2)
    mailbox.put(old)
    mailbox.put(new)
    assert take(mailbox) == [new]
    assert mailbox.counts()["left"] == Counts(2, 0, {"overwritten": 1}, 1)
    mailbox.processed(new)
    assert mailbox.counts()["left"] == Counts(2, 1, {"overwritten": 1}, 0)


def test_a_batch_holds_one_frame_of_each_camera_in_their_order() -> None:
    mailbox = Mailbox(CAMERAS)
    for camera in reversed(CAMERAS):
        mailbox.put(frame(camera))
    assert [f.camera for f in take(mailbox)] == list(CAMERAS)


def test_of_more_frames_than_fit_the_longest_waiting_go_first() -> None:
    mailbox = Mailbox(CAMERAS)
    for camera, arrived in zip(CAMERAS, (3.0, 1.0, 2.0), strict=True):
        mailbox.put(frame(camera, arrived=arrived))
    assert [f.camera for f in take(mailbox, batch_max_size=2)] == ["right", "rear"]
    assert [f.camera for f in take(mailbox, batch_max_size=2)] == ["left"]


def test_a_batch_waits_for_the_other_cameras_but_not_for_ever() -> None:
    mailbox = Mailbox(CAMERAS)
    mailbox.put(frame("left"))
    threading.Timer(0.05, mailbox.put, [frame("right")]).start()
    began = time.monotonic()
    assert [f.camera for f in take(mailbox, batch_max_wait_ms=300.0)] == ["left", "right"]
    assert 0.25 < time.monotonic() - began < 2


def test_a_full_batch_does_not_wait() -> None:
    mailbox = Mailbox(("left",))
    mailbox.put(frame("left"))
    began = time.monotonic()
    assert len(take(mailbox, batch_max_wait_ms=60_000.0)) == 1
    assert time.monotonic() - began < 5


def test_only_the_anchor_camera_starts_a_batch() -> None:
    mailbox = Mailbox(CAMERAS)
    mailbox.put(frame("left"))
    threading.Timer(0.1, mailbox.put, [frame("rear")]).start()
    batch = take(mailbox, batch_anchor_camera="rear")
    assert [f.camera for f in batch] == ["left", "rear"]


def test_the_anchor_is_in_the_batch_also_when_it_came_last() -> None:
    mailbox = Mailbox(CAMERAS)
    for arrived, camera in enumerate(CAMERAS):
        mailbox.put(frame(camera, arrived=arrived))
    batch = take(mailbox, batch_anchor_camera="rear", batch_max_size=1)
    assert [f.camera for f in batch] == ["rear"]


def test_stragglers_are_dropped_and_counted() -> None:
    mailbox = Mailbox(CAMERAS)
    mailbox.put(frame("left", stamp_ms=1000))
    mailbox.put(frame("right", stamp_ms=1060))
    batch = take(mailbox, batch_max_stamp_difference_ms=50.0)
    assert [f.camera for f in batch] == ["right"]
    assert mailbox.counts()["left"] == Counts(1, 0, {"stamp_difference": 1}, 0)


def test_the_rate_limit_lets_every_second_frame_of_twice_the_rate_pass() -> None:
    mailbox = Mailbox(("left",))
    jitter = (0.0, 0.004, -0.003, 0.002, -0.004)
    for index in range(20):
        mailbox.put(frame(arrived=100 + index / 10 + jitter[index % 5]), max_rate_hz=5.0)
    assert mailbox.counts()["left"].dropped["rate"] == 10


def test_the_rate_limit_lets_a_camera_of_that_rate_pass() -> None:
    mailbox = Mailbox(("left",))
    jitter = (0.0, 0.004, -0.003, 0.002, -0.004)
    for index in range(50):
        mailbox.put(frame(arrived=100 + index / 10 + jitter[index % 5]), max_rate_hz=10.0)
    assert "rate" not in mailbox.counts()["left"].dropped


def test_a_closed_mailbox_sends_the_worker_home_and_opens_again() -> None:
    mailbox = Mailbox(CAMERAS)
    threading.Timer(0.05, mailbox.close).start()
    assert take(mailbox) is None
    mailbox.reopen()
    mailbox.put(frame())
    assert len(take(mailbox)) == 1


def test_a_frame_has_one_fate() -> None:
    mailbox = Mailbox(CAMERAS)
    mailbox.put(frame())
    [taken] = take(mailbox)
    mailbox.drop(taken, "inference")
    mailbox.drop(taken, "internal")
    mailbox.processed(taken)
    assert mailbox.counts()["left"] == Counts(1, 0, {"inference": 1}, 0)


@given(st.lists(st.sampled_from(["put", "take", "processed", "drop", "clear"]), max_size=40))
def test_received_is_processed_and_dropped_and_pending_at_every_moment(steps: list[str]) -> None:
    mailbox, taken = Mailbox(("left",)), []
    for step in steps:
        if step == "put":
            mailbox.put(frame())
        elif step == "take" and mailbox.counts()["left"].pending > len(taken):
            taken += take(mailbox)
        elif step == "processed" and taken:
            mailbox.processed(taken.pop())
        elif step == "drop" and taken:
            mailbox.drop(taken.pop(), "bad_image:step")
        elif step == "clear":
            mailbox.clear("disabled")
        assert adds_up(mailbox.counts()["left"])


# batch.sync approximate


KEPT = Settings(batch_sync="approximate", batch_max_stamp_difference_ms=20.0).kept_frames
TOGETHER = {"batch_sync": "approximate", "batch_max_stamp_difference_ms": 20.0}


def sent(mailbox: Mailbox, camera: str, *stamps_ms: int, arrived: float = 0.0) -> None:
    for stamp_ms in stamps_ms:
        mailbox.put(frame(camera, stamp_ms, arrived), keep=KEPT)


def stamps(frames: list[Frame]) -> dict[str, int]:
    return {one.camera: one.stamp // 1_000_000 for one in frames}


def test_a_camera_that_arrives_late_meets_the_frames_of_its_time() -> None:
    apart: list[float] = []
    mailbox = Mailbox(("left", "right"), apart.append)
    sent(mailbox, "left", 0, 33, 67, 100)
    sent(mailbox, "right", 5)
    assert stamps(take(mailbox, **TOGETHER)) == {"left": 0, "right": 5}
    sent(mailbox, "right", 38, 72)
    assert stamps(take(mailbox, **TOGETHER)) == {"left": 67, "right": 72}  # the newest set
    assert apart == [5.0, 5.0]
    assert mailbox.counts()["left"] == Counts(4, 0, {"unmatched": 1}, 3)
    assert mailbox.counts()["right"] == Counts(3, 0, {"unmatched": 1}, 2)


def test_frames_that_nothing_belongs_to_are_counted_with_how_far_they_are_apart() -> None:
    apart: list[float] = []
    mailbox = Mailbox(("left", "right"), apart.append)
    sent(mailbox, "right", 35)
    sent(mailbox, "left", *range(100, 100 + 33 * (KEPT + 1), 33))
    assert apart == [65.0]
    assert mailbox.counts()["left"] == Counts(KEPT + 1, 0, {"unmatched": 1}, KEPT)
    threading.Timer(0.05, sent, [mailbox, "right", 130]).start()
    assert stamps(take(mailbox, **TOGETHER)) == {"left": 133, "right": 130}


def test_a_camera_that_is_silent_is_not_waited_for() -> None:
    mailbox = Mailbox(("left", "right"))
    sent(mailbox, "left", 0, arrived=1.0)
    sent(mailbox, "right", 0, arrived=1.0)
    assert stamps(take(mailbox, **TOGETHER)) == {"left": 0, "right": 0}
    sent(mailbox, "left", 1500, arrived=2.5)
    assert stamps(take(mailbox, **TOGETHER, diagnostics_input_timeout_ms=1000.0)) == {"left": 1500}


@hypothesis(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 99)), max_size=40))
def test_a_set_has_a_frame_of_each_camera_and_none_too_far_apart(sends: list) -> None:
    mailbox = Mailbox(CAMERAS)
    settings = replace(SETTINGS, **TOGETHER)
    heard = set()
    assert not mailbox._triggered(settings)
    for camera, stamp_ms in sends:
        sent(mailbox, camera, stamp_ms)
        heard.add(camera)
        if mailbox._triggered(settings):
            found = stamps(take(mailbox, **TOGETHER))
            assert found.keys() == heard
            assert max(found.values()) - min(found.values()) <= 20
        assert all(map(adds_up, mailbox.counts().values()))
