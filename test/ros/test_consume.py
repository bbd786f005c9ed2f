"""The examples of docs/consume.md work as they are printed there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

import rclpy
import torch
from jointseg_msgs.msg import InstanceMask, InstanceMaskArray, PanopticSegmentArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray

from jointseg_core import CITYSCAPES, Masks, PanopticFusion, Predictions
from jointseg_objects.depth import Objects3D
from jointseg_objects.messages import detections_3d_message
from jointseg_ros.conversions import (
    Result,
    detections_message,
    instance_masks_message,
    panoptic_message,
    panoptic_segments_message,
)
from jointseg_ros.parameters import Settings
from jointseg_ros.serialized import message_class

PAGE = (Path(__file__).parents[2] / "docs" / "consume.md").read_text()
PYTHON, PANOPTIC_PYTHON, FOLLOWER_PYTHON = re.findall("```python\n(.*?)```", PAGE, re.S)
DECODE, CONSUMER, PANOPTIC, FOLLOWER, FOLLOWER_NODE = re.findall("```cpp\n(.*?)```", PAGE, re.S)


def seen() -> Predictions:
    """A smooth object that is sent as runs and a noisy one that is sent as bits."""
    bitmaps = torch.zeros(2, 60, 90, dtype=torch.bool)
    bitmaps[0, 5:45, 10:80] = True
    bitmaps[1, :31, :43] = torch.from_numpy(np.random.default_rng(1).random((31, 43)) > 0.5)
    boxes = torch.tensor([[10.0, 5, 80, 45], [0, 0, 43, 31]])
    masks = Masks.from_bitmaps(bitmaps)
    return Predictions((60, 90), boxes, torch.tensor([0.9, 0.5]), torch.tensor([2, 0]), masks)


def result(header: Header, seen: Predictions) -> Result:
    image = np.zeros((*seen.image_size, 3), np.uint8)
    return Result(header, image, seen, CITYSCAPES, Settings())


def header(stamp: int) -> Header:
    header = Header(frame_id="camera_optical")
    header.stamp.sec = stamp
    return header


def test_both_ways_to_send_a_mask_are_tried() -> None:
    masks = instance_masks_message(result(header(1), seen())).masks
    assert [mask.encoding for mask in masks] == [
        InstanceMask.ENCODING_RLE,
        InstanceMask.ENCODING_BITMAP,
    ]


@pytest.fixture
def ros(ros_domain: int) -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


def test_the_python_example_joins_by_header_and_decodes(
    ros: None, capsys: pytest.CaptureFixture[str]
) -> None:
    example: dict = {"__name__": "example"}
    exec(compile(PYTHON, "consume.md", "exec"), example)
    consumer, joined = example["Consumer"](), []
    consumer.use = lambda *pair: joined.append(pair) or type(consumer).use(consumer, *pair)
    sender = rclpy.create_node("sender")
    publishers = {
        kind: sender.create_publisher(kind, f"/joint/camera/{name}", 5)
        for kind, name in ((Detection2DArray, "detections"), (InstanceMaskArray, "instance_masks"))
    }
    executor = SingleThreadedExecutor()
    for node in (consumer, sender):
        executor.add_node(node)
    matched = threading.Event()
    for _ in range(1500):
        executor.spin_once(timeout_sec=0.01)
        if all(p.get_subscription_count() for p in publishers.values()):
            matched.set()
            break
    assert matched.is_set()
    detections = detections_message(result(header(7), seen()))
    masks = instance_masks_message(result(header(7), seen()))
    publishers[InstanceMaskArray].publish(masks)
    publishers[InstanceMaskArray].publish(instance_masks_message(result(header(8), seen())))
    publishers[Detection2DArray].publish(detections_message(result(header(6), seen())))
    publishers[Detection2DArray].publish(detections)
    for _ in range(1500):
        executor.spin_once(timeout_sec=0.01)
        if joined:
            break
    executor.shutdown()
    for node in (consumer, sender):
        node.destroy_node()
    assert [(d.header, m.header) for d, m in joined] == [(header(7), header(7))]
    counts = [int(crop.sum()) for crop in seen().masks.crops()]
    assert capsys.readouterr().out.splitlines() == [
        f"car 0.90: {counts[0]} pixels",
        f"person 0.50: {counts[1]} pixels",
    ]
    for mask, crop in zip(masks.masks, seen().masks.crops(), strict=True):
        assert np.array_equal(example["decode"](mask), crop.numpy())


def include_flags() -> list[str]:
    """The include folders of every package on AMENT_PREFIX_PATH; they lie one level down."""
    folders: list[Path] = []
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix and (include := Path(prefix) / "include").is_dir():
            folders += [include, *(f for f in include.iterdir() if (f / f.name).is_dir())]
    return [f"-I{folder}" for folder in folders]


def compiled(source: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "decode.hpp").write_text(DECODE)
    (folder / "panoptic.hpp").write_text(PANOPTIC)
    (folder / "follower.hpp").write_text(FOLLOWER)
    (folder / "main.cpp").write_text(source)
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", *flags, "main.cpp", *include_flags()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def needs(*headers: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folders = [Path(flag[2:]) for flag in include_flags()]
    for name in headers:
        if not any((folder / name).is_file() for folder in folders):
            pytest.skip(f"the header {name} is not installed")


def cpp_mask(mask: InstanceMask) -> str:
    """The message as a C++ expression."""
    numbers = {name: ",".join(map(str, getattr(mask, name))) for name in ("rle", "bitmap")}
    return (
        f"[] {{ jointseg_msgs::msg::InstanceMask m; m.encoding = {mask.encoding}; "
        f"m.roi.height = {mask.roi.height}; m.roi.width = {mask.roi.width}; "
        f"m.rle = {{{numbers['rle']}}}; m.bitmap = {{{numbers['bitmap']}}}; return m; }}()"
    )


def test_the_cpp_decoder_gives_the_same_pixels(tmp_path: Path) -> None:
    needs("jointseg_msgs/msg/instance_mask.hpp", "sensor_msgs/msg/region_of_interest.hpp")
    masks = instance_masks_message(result(header(1), seen())).masks
    lines = [
        f'for (int p : decode({cpp_mask(m)})) {{std::cout << p;}} std::cout << "\\n";'
        for m in masks
    ]
    body = "\n".join(lines)
    source = f'#include <iostream>\n#include "decode.hpp"\nint main() {{\n{body}\n}}\n'
    build = compiled(source, tmp_path, "-o", "main")
    assert build.returncode == 0, build.stderr
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    for line, crop in zip(printed.stdout.splitlines(), seen().masks.crops(), strict=True):
        assert np.array_equal(np.array(list(line), int).astype(bool), crop.numpy().reshape(-1))


@pytest.mark.parametrize("node", [CONSUMER, FOLLOWER_NODE], ids=["consumer", "follower"])
def test_the_cpp_nodes_compile(node: str, tmp_path: Path) -> None:
    needs("rclcpp/rclcpp.hpp", "jointseg_msgs/msg/instance_mask_array.hpp")
    build = compiled(node, tmp_path, "-fsyntax-only")
    assert build.returncode == 0, build.stderr


def panoptic() -> tuple[Image, PanopticSegmentArray]:
    """The two objects on a road that ends in row 50, as messages."""
    semantic = torch.full((60, 90), 255, dtype=torch.uint8)
    semantic[:50] = 0
    fusion = PanopticFusion(CITYSCAPES.thing_to_semantic, min_visible=0.0)
    found = replace(seen(), semantic=semantic, fusion=fusion)
    sent = result(header(7), found)
    return panoptic_message(sent), panoptic_segments_message(sent)


def test_the_python_example_takes_the_panoptic_picture_apart() -> None:
    example: dict = {}
    exec(compile(PANOPTIC_PYTHON, "consume.md", "exec"), example)
    image, segments = panoptic()
    ids, regions = example["ids"](image), example["regions"](image, segments)
    names = [CITYSCAPES.semantic[segment.class_id] for segment, _ in regions]
    assert names == ["car", "person", "road"]
    for segment, region in regions:
        assert region.sum() == segment.area > 0
        assert set(ids[region] >> 8) == {segment.class_id}
        assert set(ids[region] & 255) == {int(segment.is_thing)}
    unsure = ids == PanopticSegmentArray.VOID
    assert np.array_equal(unsure, ~np.any([region for _, region in regions], 0)) and unsure.any()


def test_the_cpp_example_takes_the_panoptic_picture_apart(tmp_path: Path) -> None:
    needs("jointseg_msgs/msg/panoptic_segment_array.hpp", "sensor_msgs/msg/image.hpp")
    image, array = panoptic()
    sent = ",".join(map(str, bytes(image.data)))
    added = "".join(
        f"segment.id = {s.id}; segment.area = {s.area}; array.segments.push_back(segment);\n"
        for s in array.segments
    )
    source = f"""#include <iostream>
#include "panoptic.hpp"
int main() {{
  sensor_msgs::msg::Image image;
  image.step = {image.step};
  image.data = {{{sent}}};
  jointseg_msgs::msg::PanopticSegmentArray array;
  jointseg_msgs::msg::PanopticSegment segment;
  {added}
  std::map<uint16_t, size_t> areas;
  for (size_t k = 0; k < 60 * 90; ++k) {{++areas[id_at(image, k / 90, k % 90)];}}
  for (const auto & [id, found] : by_id(array)) {{std::cout << (areas[id] == found.area);}}
  std::cout << " " << areas[array.VOID];
}}
"""
    build = compiled(source, tmp_path, "-o", "main")
    assert build.returncode == 0, build.stderr
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    unsure = 60 * 90 - sum(segment.area for segment in array.segments)
    assert printed.stdout == f"111 {unsure}"


CARS = [  # seconds, and the objects in space then: class, track, metres ahead
    (5, [("car", "4", 20), ("car", "7", 12), ("person", "9", 3)]),
    (6, [("car", "4", 8), ("car", "7", 11)]),
    (6.5, [("car", "4", 7), ("car", "", 2)]),
    (8, [("car", "4", 6), ("car", "8", 9)]),
]
FOLLOWED = [("7", 12), ("7", 11), ("4", 6)]


def in_space(second: float, objects: list[tuple[str, str, float]]) -> Detection3DArray:
    names, tracks, ahead = zip(*objects, strict=True)
    places = np.array([(0, 0, z) for z in ahead], float)
    count = np.arange(len(ahead))
    spread = np.broadcast_to(np.eye(3), (len(ahead), 3, 3))
    found = Objects3D(count, places, spread, places, places, count)
    of_time = header(int(second))
    of_time.stamp.nanosec = int(second % 1 * 1e9)
    scores = [0.9] * len(ahead)
    return detections_3d_message(message_class, of_time, found, scores, names, tracks)


def test_the_python_example_follows_the_nearest_car_by_its_track(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example: dict = {"__name__": "example"}
    exec(compile(FOLLOWER_PYTHON, "consume.md", "exec"), example)
    follower = SimpleNamespace(track="", seen=0.0)
    for moment in CARS:
        example["Follower"].follow(follower, in_space(*moment))
    said = [f"car {track} is {metres:.1f} m away" for track, metres in FOLLOWED]
    assert capsys.readouterr().out.splitlines() == said


def test_the_cpp_example_follows_the_nearest_car_by_its_track(tmp_path: Path) -> None:
    needs("vision_msgs/msg/detection3_d_array.hpp", "geometry_msgs/msg/pose.hpp")
    body = ""
    for second, objects in CARS:
        sent = "".join(
            f'add(message, "{name}", "{track}", {metres});' for name, track, metres in objects
        )
        body += f"{{vision_msgs::msg::Detection3DArray message; {sent} show(message, {second});}}\n"
    source = f"""#include <iostream>
#include "follower.hpp"
using Array = vision_msgs::msg::Detection3DArray;
Follower follower;
void add(Array & message, const char * name, const char * track, double metres)
{{
  vision_msgs::msg::Detection3D car;
  car.id = track;
  car.results.resize(1);
  car.results[0].hypothesis.class_id = name;
  car.results[0].pose.pose.position.z = metres;
  message.detections.push_back(car);
}}
void show(Array & message, double now)
{{
  message.header.stamp.sec = static_cast<int32_t>(now);
  message.header.stamp.nanosec = static_cast<uint32_t>((now - message.header.stamp.sec) * 1e9);
  const double metres = follower.follow(message);
  if (metres >= 0) {{std::cout << follower.track << " " << metres << "\\n";}}
}}
int main() {{
{body}}}
"""
    build = compiled(source, tmp_path, "-o", "main")
    assert build.returncode == 0, build.stderr
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == [f"{track} {metres}" for track, metres in FOLLOWED]
