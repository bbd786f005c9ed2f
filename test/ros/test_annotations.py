"""Annotations for Foxglove: what they say, made with classes of ROS 2's own generator."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

rclpy = pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from node_bench import Bench, frame, until
from std_msgs.msg import Header

from jointseg_core import CITYSCAPES
from jointseg_core.predictions import Masks, Predictions
from jointseg_ros.annotations import annotations_message, outlines
from jointseg_ros.conversions import Result
from jointseg_ros.parameters import Settings

INSTALLED = find_spec("foxglove_msgs") is not None
SIZE = (120, 200)
TIME = "builtin_interfaces/Time timestamp"
# The fields as foxglove_msgs 3 has them; later versions add to them.
DEFINITIONS = {
    "Point2": ["float64 x", "float64 y"],
    "Color": ["float64 r", "float64 g", "float64 b", "float64 a"],
    "CircleAnnotation": [
        *[TIME, "Point2 position", "float64 diameter", "float64 thickness"],
        *["Color fill_color", "Color outline_color"],
    ],
    "PointsAnnotation": [
        *[TIME, "uint8 UNKNOWN=0", "uint8 POINTS=1", "uint8 LINE_LOOP=2", "uint8 LINE_STRIP=3"],
        *["uint8 LINE_LIST=4", "uint8 type", "Point2[] points", "Color outline_color"],
        *["Color[] outline_colors", "Color fill_color", "float64 thickness"],
    ],
    "TextAnnotation": [
        *[TIME, "Point2 position", "string text", "float64 font_size"],
        *["Color text_color", "Color background_color"],
    ],
    "ImageAnnotations": [
        *["CircleAnnotation[] circles", "PointsAnnotation[] points", "TextAnnotation[] texts"]
    ],
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """foxglove_msgs.msg, generated where it is not installed: classes, but nothing to send with."""
    if INSTALLED:
        yield import_module("foxglove_msgs.msg")
        return
    adapter = pytest.importorskip("rosidl_adapter.msg", reason="ROS 2's generators are not here")
    generator = pytest.importorskip("rosidl_generator_py")
    folder = tmp_path_factory.mktemp("foxglove")
    for name, lines in DEFINITIONS.items():
        (folder / f"{name}.msg").write_text("\n".join(lines) + "\n")
        adapter.convert_msg_to_idl(folder, "foxglove_msgs", Path(f"{name}.msg"), folder / "msg")
    resource = Path(get_package_share_directory("rosidl_generator_py")) / "resource"
    arguments = {
        "package_name": "foxglove_msgs",
        "output_dir": str(folder / "foxglove_msgs"),
        "template_dir": str(resource),
        "idl_tuples": [f"{folder}:msg/{name}.idl" for name in DEFINITIONS],
        "ros_interface_dependencies": [],
        "target_dependencies": [],
    }
    (folder / "arguments.json").write_text(json.dumps(arguments))
    generator.generate_py(str(folder / "arguments.json"), [])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield import_module("foxglove_msgs.msg")
    for name in [name for name in sys.modules if name.split(".")[0] == "foxglove_msgs"]:
        del sys.modules[name]


def ring() -> Predictions:
    """A ring with a hole, and behind it a less certain person without a mask."""
    bitmaps = torch.zeros(2, *SIZE, dtype=torch.bool)
    bitmaps[0, 60:100, 50:150] = True
    bitmaps[0, 70:90, 80:120] = False
    boxes = torch.tensor([[50.0, 60.0, 150.0, 100.0], [0.5, 2.0, 9.5, 30.0]])
    labels = torch.tensor([CITYSCAPES.things.index(name) for name in ("car", "person")])
    return Predictions(SIZE, boxes, torch.tensor([0.9, 0.4]), labels, Masks.from_bitmaps(bitmaps))


HEADER = Header(stamp=Time(sec=3, nanosec=7), frame_id="front")


def result(seen: Predictions, **settings: float) -> Result:
    """These predictions as the node hands them over."""
    image = np.zeros((*SIZE, 3), np.uint8)
    return Result(HEADER, image, seen, CITYSCAPES, Settings(**settings))


def test_every_object_has_a_box_a_caption_and_its_outlines(messages: ModuleType) -> None:
    message = annotations_message(messages, result(ring()))
    corners = [[(p.x, p.y) for p in one.points] for one in message.points]
    assert corners[0] == [(0.5, 2.0), (9.5, 2.0), (9.5, 30.0), (0.5, 30.0)]  # the less certain one
    assert corners[-1] == [(50, 60), (150, 60), (150, 100), (50, 100)]
    assert len(corners) == 4  # and the two edges of the ring
    assert [text.text for text in message.texts] == ["person 0.40", "car 0.90"]
    assert (message.texts[1].position.x, message.texts[1].position.y) == (50, 60)
    for one in message.points:
        assert one.type == messages.PointsAnnotation.LINE_LOOP and one.thickness == 1
    for one in [*message.points, *message.texts]:
        assert one.timestamp == HEADER.stamp
    color = message.points[-1].outline_color
    assert color.b > color.r and color.a == 1  # the blue of cars


def test_a_caption_has_the_track(messages: ModuleType) -> None:
    tracked = replace(result(ring()), tracks=np.array([31, 0]))
    texts = annotations_message(messages, tracked).texts
    assert [text.text for text in texts] == ["person 0.40", "car 31 0.90"]


def test_a_caption_at_the_upper_edge_goes_below_it(messages: ModuleType) -> None:
    text = annotations_message(messages, result(ring())).texts[0]
    assert text.position.y >= text.font_size


def test_objects_below_the_score_and_empty_results_are_left_out(messages: ModuleType) -> None:
    some = annotations_message(messages, result(ring(), overlay_min_score=0.5))
    assert [text.text for text in some.texts] == ["car 0.90"]
    none = annotations_message(messages, result(Predictions.empty(SIZE)))
    assert not none.points and not none.texts


def test_outlines_follow_the_mask_within_a_pixel() -> None:
    rows, columns = np.mgrid[:80, :120]
    mask = np.hypot((rows - 40) / 38, (columns - 60) / 55) < 1
    (points,) = outlines(mask, [30, 10, 150, 90])
    filled = np.zeros((100, 200), np.uint8)
    cv2.fillPoly(filled, [np.round(points - 0.5).astype(np.int32)], 1)
    whole = np.zeros((100, 200), bool)
    whole[10:90, 30:150] = mask
    near = cv2.dilate(whole.astype(np.uint8), np.ones((3, 3))) > 0
    assert not (filled > 0)[~near].any()
    assert (filled[whole] > 0).mean() > 0.97
    assert len(points) < 60


@pytest.mark.skipif(not INSTALLED, reason="foxglove_msgs is not installed")
def test_the_node_publishes_annotations_while_somebody_listens(bench: Bench) -> None:
    foxglove = import_module("foxglove_msgs.msg")
    node = bench.active(score_threshold=0.001, max_detections=5, overlay__min_score=0.0)
    camera = bench.camera()
    heard = bench.listen("/jointseg/camera/annotations", foxglove.ImageAnnotations)
    until(lambda: node.count_subscribers("/jointseg/camera/annotations"))
    until(lambda: camera.publish(frame(stamp=5)) or heard, 30)
    assert heard[0].texts and heard[0].texts[0].timestamp.nanosec == 5
