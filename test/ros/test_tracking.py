"""What a node makes of tracks: ids in its messages, and who keeps one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_ros.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from node_bench import Bench, stamp_of, until
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from jointseg_core import CITYSCAPES, Masks, Predictions, shipped_weights
from jointseg_core.visualize import instance_colors
from jointseg_ros import conversions
from jointseg_ros.conversions import Result
from jointseg_ros.msg import InstanceMaskArray
from jointseg_ros.parameters import Settings
from jointseg_ros.tracking import CameraTracks
from training.scenes import render_scene

ON = Settings(tracking_enabled=True)
PERIOD = 100_000_000
ONE, OTHER = SimpleNamespace(), SimpleNamespace()  # two models


def seen(*scores: float, size: tuple[int, int] = (6, 80)) -> Predictions:
    """Cars with these scores, side by side."""
    left = 10.0 * torch.arange(len(scores))
    boxes = torch.stack([left, left * 0 + 1, left + 8, left * 0 + 5], 1)
    bitmaps = torch.zeros(len(scores), *size, dtype=torch.bool)
    for k in range(len(scores)):
        bitmaps[k, 1:5, 10 * k : 10 * k + 8] = True
    labels = torch.full((len(scores),), 2)
    return Predictions(size, boxes, torch.tensor(scores), labels, Masks.from_bitmaps(bitmaps))


def test_nothing_is_done_and_no_id_is_sent_without_the_parameter() -> None:
    found, tracks = seen(0.9), CameraTracks()
    kept, ids = tracks("front", 1, found, Settings(), ONE)
    assert kept is found and ids is None
    result = Result(Header(), np.zeros((6, 80, 3), np.uint8), found, CITYSCAPES, Settings())
    assert [d.id for d in conversions.detections_message(result).detections] == [""]
    assert Settings().lowest_score == Settings().score_threshold and ON.lowest_score == 0.1


def test_each_camera_has_its_own_tracks() -> None:
    tracks = CameraTracks()
    assert tracks("front", 1, seen(0.9, 0.8), ON, ONE)[1].tolist() == [1, 2]
    assert tracks("left", 1, seen(0.9), ON, ONE)[1].tolist() == [1]
    assert tracks("front", 1 + PERIOD, seen(0.9), ON, ONE)[1].tolist() == [1]


def test_another_model_or_a_pause_makes_them_forget_and_ids_go_on() -> None:
    tracks = CameraTracks()
    tracks("front", 1, seen(0.9), ON, ONE)
    assert tracks("front", 1 + PERIOD, seen(0.9), ON, OTHER)[1].tolist() == [2]
    tracks("front", 1 + 2 * PERIOD, seen(0.9), Settings(), OTHER)
    assert tracks("front", 1 + 3 * PERIOD, seen(0.9), ON, OTHER)[1].tolist() == [3]


def test_what_is_uncertain_is_published_only_where_it_continues_a_track() -> None:
    tracks = CameraTracks()
    kept, ids = tracks("front", 1, seen(0.9, 0.35, 0.2), ON, ONE)
    assert (len(kept), ids.tolist()) == (2, [1, 0])  # 0.35 is above the score threshold
    kept, ids = tracks("front", 1 + PERIOD, seen(0.2, 0.2), ON, ONE)
    assert (len(kept), ids.tolist()) == (1, [1])


def test_detections_masks_and_colours_carry_the_track() -> None:
    found, ids = seen(0.9, 0.8, 0.7), np.array([12, 0, 7])
    image = np.zeros((6, 80, 3), np.uint8)
    result = Result(Header(), image, found, CITYSCAPES, ON, ids)
    boxes, masks = (
        conversions.detections_message(result),
        conversions.instance_masks_message(result),
    )
    assert [d.id for d in boxes.detections] == ["12", "", "7"]
    assert [m.track_id for m in masks.masks] == ["12", "", "7"]
    turned = replace(result, predictions=found[[2, 0]], tracks=ids[[2, 0]])
    colors = [
        np.frombuffer(conversions.instance_color_message(one).data, np.uint8).reshape(6, 80, 3)
        for one in (result, turned)
    ]
    assert (colors[0][:, 20:28] == colors[1][:, 20:28]).all() and colors[0][2, 22].any()


def test_a_track_keeps_its_shade_where_others_come_and_go() -> None:
    labels, boxes = np.array([2, 2]), np.array([[50.0, 0, 60, 9], [10, 0, 20, 9]])
    before = instance_colors(labels[:1], boxes[:1], CITYSCAPES, np.array([5]))
    after = instance_colors(labels, boxes, CITYSCAPES, np.array([5, 6]))
    assert (after[0] == before[0]).all() and (after[1] != after[0]).any()


def test_the_consumer_of_the_page_follows_a_car_by_its_id(capsys: Any) -> None:
    page = (Path(__file__).parents[2] / "docs/tracks.md").read_text()
    example: dict[str, Any] = {"__name__": "example"}
    exec(re.search("```python\n(.*?)```", page, re.S)[1], example)
    follower = SimpleNamespace(followed="", seen=0.0)
    for second, ids in ((5, [4, 7]), (6, [0, 4]), (8, [9])):
        found = seen(*[0.9] * len(ids))
        result = Result(Header(), np.zeros((6, 80, 3), np.uint8), found, CITYSCAPES, ON)
        message = conversions.detections_message(replace(result, tracks=np.array(ids)))
        message.header.stamp.sec = second
        example["Follower"].follow(follower, message)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said] == ["4", "4", "9"]
    assert said[1] == "car 4 is at column 14, row 3"


def ids_of_the_next(camera: Any, heard: list[Any], images: Iterator[Image]) -> list[str]:
    """Of the first result to an image that is sent from now on."""
    first = next(images)
    for image in (first, *islice(images, 30)):
        camera.publish(image)
        with suppress(AssertionError):
            found = until(lambda: [m for m in heard if stamp_of(m) >= stamp_of(first)], 1)
            return [d.id for d in found[0].detections]
    raise AssertionError("no result")


def pictures() -> Iterator[Image]:
    """The same street with later and later stamps."""
    pixels = render_scene(1000, 0).image
    for stamp in count(1, 10_000_000):
        header = Header(frame_id="front_optical")
        header.stamp.sec, header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        yield conversions.image_message(header, pixels, "rgb8")


def test_a_node_sends_ids_that_last_until_the_model_is_loaded_anew(bench: Bench) -> None:
    bench.active(tracking__enabled=True, model__weights=str(shipped_weights("rdsnet")))
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    sent = bench.camera(), detections, pictures()
    first, second = set(ids_of_the_next(*sent)), set(ids_of_the_next(*sent))
    assert first - {""} and second == first
    until(lambda: masks and {m.track_id for m in masks[-1].masks} == second)
    assert bench.call(Trigger, "/jointseg/reload_model").success
    assert not set(ids_of_the_next(*sent)) & first - {""}
    assert bench.set("tracking.enabled", False).successful
    assert set(ids_of_the_next(*sent)) == {""}
