"""What a node makes of depth: objects in space, and what it says where that is missing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="no rclpy: neither a ROS 2 nor its wheels are here")
pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from diagnostic_msgs.msg import DiagnosticArray
from node_bench import SOME, Bench, frame, stamp_of, until
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from jointseg_core import CITYSCAPES, Masks, Predictions
from jointseg_core.errors import BadConfig
from jointseg_ros import space_messages
from jointseg_ros.conversions import Result
from jointseg_ros.depth_diagnostics import depth_status
from jointseg_ros.depth_inputs import KEPT, DepthInputs, Registered, _Kept, _Waiting
from jointseg_ros.levels import OK, WARN
from jointseg_ros.parameters import Camera, Settings, checked
from jointseg_ros.places import Places, Space

SIZE = (48, 96)
SECOND = 1_000_000_000
FRONT = Camera("front", "/front/image_raw", "raw", depth_topic="/front/depth")
ON = Settings(camera_names=("front",), cameras=(FRONT,))


def header(stamp: int = SECOND, frame_id: str = "front_optical") -> Header:
    found = Header(frame_id=frame_id)
    found.stamp.sec, found.stamp.nanosec = divmod(stamp, SECOND)
    return found


def info(k: float = 100.0, size: tuple[int, int] = SIZE, p: float = 0.0) -> CameraInfo:
    message = CameraInfo(height=size[0], width=size[1])
    message.k = [k, 0.0, 47.5 if k else 0.0, 0.0, k, 23.5 if k else 0.0, 0.0, 0.0, 1.0 * bool(k)]
    message.p = [p, 0.0, 47.5, 0.0, 0.0, p, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def depth(
    values: float | np.ndarray = 10.0, stamp: int = SECOND, encoding: str = "32FC1", **changed: Any
) -> Image:
    """A depth image of one value in metres, or of an array."""
    metres = np.broadcast_to(np.asarray(values, np.float64), changed.pop("size", SIZE))
    pixels = metres.astype("<f4") if encoding == "32FC1" else (metres * 1e3).astype("<u2")
    made = Image(height=metres.shape[0], width=metres.shape[1], encoding=encoding)
    made.step, made.data = pixels.nbytes // metres.shape[0], pixels.tobytes()
    made.header = header(stamp, changed.pop("frame_id", "front_optical"))
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def seen() -> Predictions:
    """A car of 20 x 10 pixels around the axis, and a person at the left."""
    bitmaps = torch.zeros(2, *SIZE, dtype=torch.bool)
    bitmaps[0, 19:29, 38:58] = True
    bitmaps[1, 10:30, 2:8] = True
    masks = Masks.from_bitmaps(bitmaps)
    boxes = masks.windows.float()
    return Predictions(SIZE, boxes, torch.tensor([0.9, 0.5]), torch.tensor([2, 0]), masks)


def places(*images: Image, calibration: CameraInfo | None = None) -> Places:
    """As after these messages have come."""
    inputs = DepthInputs(None, lambda: (FRONT,))
    waiting = inputs._waiting["front"] = _Waiting()
    if calibration is not None:
        waiting.infos.put(calibration)
    for image in images:
        waiting.images.put(image)
    return Places(inputs)


def placed(
    of: Places, settings: Settings = ON, picture: Header | None = None, found: Any = None
) -> Space:
    return of("front", picture or header(), found or seen(), CITYSCAPES, settings)


# In space


def test_without_depth_and_height_nothing_is_done() -> None:
    plain = replace(ON, cameras=(Camera("front", "/front/image_raw", "raw"),))
    of = places(depth(), calibration=info())
    assert placed(of, plain) is None and of._inputs.facts == {}


@pytest.mark.parametrize("encoding", ["32FC1", "16UC1"])
def test_objects_are_placed_by_the_depth_of_their_stamp(encoding: str) -> None:
    """20 x 10 pixels at 5 m with a focal length of 100: 1 m x 0.5 m."""
    images = [depth(far, stamp * SECOND, encoding) for far, stamp in ((9, 1), (5, 2), (7, 3))]
    space = placed(places(*images, calibration=info()), picture=header(2 * SECOND + 4_000_000))
    assert space.objects.index.tolist() == [0, 1]
    assert space.objects.center[0] == pytest.approx([0, 0, 5], abs=1e-6)
    assert space.objects.size[0] == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_the_matrix_of_rectified_pictures_wins() -> None:
    space = placed(places(depth(5.0), calibration=info(100.0, p=50.0)))
    assert space.registered.intrinsics.fx == 50


def test_what_is_known_of_a_class_and_limits_are_parameters() -> None:
    known = replace(ON, depth_extents=("car=4.0", "tram=20"))
    space = placed(places(depth(10.0), calibration=info()), known)
    assert space.objects.size[:, 2].tolist() == [4, 0]
    near = placed(places(depth(10.0), calibration=info()), replace(ON, depth_max_m=9.0))
    assert near.objects.without_depth == 2


def test_what_has_no_depth_may_stand_on_the_ground() -> None:
    """The person's box ends 6 pixels below the horizon: 1.2 m / 0.06 = 20 m."""
    low = replace(ON, cameras=(replace(FRONT, ground_height=1.2),))
    car = np.where(seen().masks.bitmaps(SIZE)[0].numpy(), 5.0, np.nan)
    space = placed(places(depth(car), calibration=info()), low)
    assert space.objects.position[:, 2] == pytest.approx([5, 20])
    assert (space.objects.pixels > 0).tolist() == [True, False]
    part = replace(low.cameras[0], roi="0,0,96,30")  # the person may go on below
    space = placed(places(depth(car), calibration=info()), replace(ON, cameras=(part,)))
    assert space.objects.index.tolist() == [0]
    alone = replace(low.cameras[0], depth_topic="")
    of = places(calibration=info())
    assert placed(of, replace(ON, cameras=(alone,))).objects.pixels.tolist() == [0, 0]
    assert not of._inputs.facts["front"].problems  # no depth was promised


# What goes wrong costs only the places, and is said


@pytest.mark.parametrize(
    ("image", "calibration", "reason", "text"),
    [
        (depth(), None, "calibration", "no camera_info has come"),
        (depth(), info(0.0), "calibration", "uncalibrated"),
        (depth(), info(size=(24, 48)), "calibration", "of 48 x 24 pixels, the picture has 96 x 48"),
        (None, info(), "not_in_time", "no depth has come"),
        (depth(stamp=2 * SECOND), info(), "not_in_time", "the nearest depth is 1000 ms away"),
        (depth(frame_id="lidar"), info(), "frame_id", "depth is in the frame 'lidar'"),
        (depth(size=(24, 48)), info(), "size", "depth is 48 x 24, the picture 96 x 48"),
        (depth(encoding="rgb8"), info(), "encoding", "'rgb8' is no depth"),
        (depth(step=10), info(), "step", "step is 10"),
        (depth(data=b"1234"), info(), "data_size", "data has 4 bytes"),
    ],
)
def test_bad_input_is_counted_and_said(
    image: Image | None, calibration: CameraInfo | None, reason: str, text: str
) -> None:
    of = places(*([image] if image else []), calibration=calibration)
    space = placed(of)
    facts = of._inputs.facts["front"]
    assert len(space.objects) == 0 and space.objects.without_depth == 2
    assert dict(facts.problems) == {reason: 1} and facts.used == 0
    status = depth_status({"front": facts}, facts.last + 1)
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == bytes([WARN]) and text in status.message
    assert values[f"front {reason}"] == "1" and values["front objects without a place"] == "2"
    later = depth_status({"front": facts}, facts.last + 5)
    assert later.level == bytes([OK]) and f"front {reason}" in f"{later.values}"


def test_what_fails_inside_costs_only_the_places() -> None:
    of = places(depth(), calibration=info())
    broken = replace(seen(), masks=Masks(seen().masks.windows + 90, seen().masks.pixels))
    assert len(placed(of, found=broken).objects) == 0
    assert of._inputs.facts["front"].problems == {"failed": 1}


def test_a_clock_that_jumps_back_makes_older_depth_forgotten() -> None:
    waiting = _Kept()
    assert waiting.put(depth(stamp=9 * SECOND)) and waiting.put(depth(stamp=10 * SECOND))
    assert not waiting.put(depth(stamp=8 * SECOND))
    assert [stamp_of(image) for image in waiting._messages] == [8 * SECOND]


def test_a_picture_is_placed_by_the_calibration_of_its_time_else_by_the_newest() -> None:
    of = places(depth(), calibration=info())
    of._inputs._waiting["front"].infos.put(info(70.0))  # both without a stamp, as latched ones
    assert placed(of).registered.intrinsics.fx == 70
    for k, stamp in ((100.0, SECOND), (50.0, 2 * SECOND)):
        zoomed = info(k)
        zoomed.header = header(stamp)
        of._inputs._waiting["front"].infos.put(zoomed)
    assert placed(of).registered.intrinsics.fx == 100


@pytest.mark.parametrize(("wait_ms", "comes"), [(500.0, True), (0.0, False)])
def test_depth_that_comes_after_the_network_may_be_waited_for(wait_ms: float, comes: bool) -> None:
    of = places(depth(9.0, SECOND - 100_000_000), calibration=info())
    keep = of._inputs._keepers(FRONT)[1]
    late = threading.Timer(0.1, keep, (depth(5.0),))
    late.start()
    space = placed(of, replace(ON, depth_max_wait_ms=wait_ms))
    assert (len(space.objects) == 2) is comes
    late.join()
    begun = time.monotonic()  # what is here is not waited for, and what is later has replaced it
    for stamp in (SECOND, SECOND // 2):
        placed(of, replace(ON, depth_max_wait_ms=500.0), header(stamp))
    assert time.monotonic() - begun < 0.4


def test_the_depth_of_a_picture_at_work_is_kept() -> None:
    waiting = _Kept()
    waiting.wanted = 3 * SECOND
    for second in range(1, 40):
        waiting.put(depth(stamp=second * SECOND))
    assert len(waiting._messages) == KEPT
    assert stamp_of(waiting.nearest(3 * SECOND)) == 3 * SECOND
    assert stamp_of(waiting._messages[-1]) == 39 * SECOND


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"depth_extents": ("car",)}, "depth.extents has 'car'"),
        ({"depth_extents": ("car=-1",)}, "depth.extents has 'car=-1'"),
        ({"depth_min_m": 300.0}, "depth.min_m is 300"),
        ({"model_type": "segrpn"}, "segrpn has no masks"),
        ({"cameras": (replace(FRONT, depth_topic="a b"),)}, "cameras.front.depth_topic is 'a b'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changed: dict, text: str) -> None:
    with pytest.raises(BadConfig, match=text):
        checked(replace(ON, **changed))


# Messages


def result(settings: Settings = ON, **changed: Any) -> Result:
    space = placed(places(depth(5.0), calibration=info()), settings)
    image, tracks = np.zeros((*SIZE, 3), np.uint8), np.array([7, 0])
    whole = Result(header(), image, seen(), CITYSCAPES, settings, tracks, space)
    return replace(whole, **changed)


def test_detections_in_space_have_place_box_covariance_and_track() -> None:
    car, person = space_messages.detections_3d_message(result()).detections
    assert (car.id, person.id) == ("7", "")
    assert car.header == header()
    hypothesis, pose = car.results[0].hypothesis, car.results[0].pose
    assert (hypothesis.class_id, hypothesis.score) == ("car", pytest.approx(0.9))
    assert pose.pose.position.z == 5 and pose.pose.orientation.w == 1
    covariance = np.reshape(pose.covariance, (6, 6))
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert covariance[0, 0] == pytest.approx(result().space.objects.covariance[0, 0, 0])
    assert (car.bbox.size.x, car.bbox.size.y) == (pytest.approx(1), pytest.approx(0.5))
    assert car.bbox.center.orientation.w == 1


def test_markers_replace_those_before_and_say_what_and_how_far() -> None:
    clear, box, text, *_ = space_messages.markers_message(result()).markers
    assert clear.action == Marker.DELETEALL
    assert (box.type, box.header, box.scale.x) == (Marker.CUBE, header(), pytest.approx(1))
    assert box.scale.z > 0  # rviz complains of none
    assert text.text == "car 7 5.0 m" and text.pose.position.y < box.pose.position.y
    shown = {(m.ns, m.id) for m in space_messages.markers_message(result()).markers[1:]}
    assert len(shown) == 4


@pytest.mark.parametrize("with_classes", [True, False])
def test_points_carry_class_instance_and_confidence(with_classes: bool) -> None:
    found = seen()
    if with_classes:
        maps = {"semantic": torch.full(SIZE, 10).byte(), "confidence": torch.full(SIZE, 0.25)}
        found = replace(found, **maps)
    cloud = space_messages.points_message(result(predictions=found))
    kinds = {1: "i1", 2: "u1", 4: "u2", 7: "f4"}
    layout = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [kinds[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    points = np.frombuffer(cloud.data, layout)
    assert len(points) == cloud.width * cloud.height == 12 * 24  # every fourth pixel
    assert (points["z"] == 5).all() and points["x"][0] == pytest.approx(-47.5 / 100 * 5)
    on_car = points["instance"] == 1
    assert (np.abs(points["x"][on_car]) <= 0.5).all() and on_car.sum() == 15
    assert set(points["class"][on_car]) == {10 if with_classes else 2}
    assert points["confidence"][on_car] == pytest.approx(0.25 if with_classes else 0.9)
    assert set(points["class"][points["instance"] == 0]) == {10 if with_classes else 255}
    none = replace(result().space, registered=Registered(result().space.registered[0], None))
    assert space_messages.points_message(result(space=none)).width == 0


# The node


def sent_until(ready: Callable[[], Any], send: Callable[[int], None]) -> Any:
    """Send pictures of later and later stamps until something is so."""
    for k in range(1, 100):
        send(k * 10_000_000)
        try:
            return until(ready, 0.2)
        except AssertionError:
            continue
    raise AssertionError("waited in vain")


def test_a_node_places_objects_and_goes_on_without_depth(bench: Bench) -> None:
    topics = {"depth_topic": "/camera/depth", "camera_info_topic": "/camera/info"}
    given = {f"cameras__camera__{name}": topic for name, topic in topics.items()}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    infos = bench.observer.create_publisher(CameraInfo, "/camera/info", latched)
    infos.publish(info())
    own = "qos_overrides__/camera/info__subscription__"
    early = {f"{own}durability": "transient_local", f"{own}reliability": "reliable"}
    bench.active(**SOME, **given, **early)
    of = "/jointseg/camera"
    flat = bench.listen(f"{of}/detections", Detection2DArray)
    found = bench.listen(f"{of}/detections_3d", Detection3DArray)
    camera = bench.camera()
    bench.listen("/diagnostics", DiagnosticArray)
    lacking = lambda: (s := bench.status("depth")) and "no depth has come on" in s[0].message  # noqa: E731
    sent_until(lacking, lambda stamp: camera.publish(frame(stamp)))
    assert bench.status("depth")[0].message.endswith("come on /camera/depth")
    depths = bench.camera("/camera/depth")

    def send(stamp: int, **changed: Any) -> None:
        if changed:  # else that which was published before the node came
            infos.publish(info(**changed))
        depths.publish(depth(4.0, stamp))
        camera.publish(frame(stamp))

    [first] = sent_until(lambda: [m for m in found if m.detections][:1], send)
    assert first.header.frame_id == "front_optical"
    assert all(one.results[0].pose.pose.position.z == 4 for one in first.detections)
    markers = bench.listen(f"{of}/markers", MarkerArray)
    points = bench.listen(f"{of}/points", PointCloud2)
    sent_until(lambda: markers and points and points[-1].width, send)
    assert any(marker.type == Marker.CUBE for marker in markers[-1].markers)
    before = stamp_of(flat[-1])
    sent_until(  # uncalibrated: in the picture all goes on
        lambda: [m for m in flat if stamp_of(m) > before + SECOND and m.detections],
        lambda stamp: send(stamp + before + SECOND, k=0.0),
    )
    until(lambda: stamp_of(found[-1]) > before + SECOND and not found[-1].detections)
    status, values = until(
        lambda: (s := bench.status("depth")) and "uncalibrated" in s[0].message and s
    )
    assert status.level == bytes([WARN]) and int(values["camera calibration"]) >= 1
    assert int(values["camera objects placed"]) >= 1


def test_a_node_without_depth_has_neither_topics_nor_an_entry(shared: Bench) -> None:
    names = {name for name, _ in shared.observer.get_topic_names_and_types()}
    until(lambda: shared.status("outputs"))
    assert shared.status("depth") is None
    assert not [name for name in names if name.endswith(("_3d", "/markers", "/points"))]
