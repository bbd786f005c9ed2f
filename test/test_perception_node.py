"""The node does what it says, over real DDS: one frame in, results with its header out."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jointseg_ros.msg", reason="the messages of jointseg_ros are not built")

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray, LabelInfo

from jointseg_core import CITYSCAPES, Preprocessing, preset, save_model
from jointseg_core.checkpoint import build_model
from jointseg_ros.conversions import masks_from_message
from jointseg_ros.msg import InferenceStats, InstanceMaskArray
from jointseg_ros.perception_node import FAILURE, SUCCESS, PerceptionNode

PATIENCE = 15  # seconds; discovery alone may take three
SOME = {"score_threshold": 0.001, "max_detections": 5}  # an untrained network sees something

OUTPUTS = {
    "rdsnet": {
        "detections": Detection2DArray,
        "instance_masks": InstanceMaskArray,
        "instance_labels": Image,
        "instance_labels/color": Image,
        "overlay": Image,
        "overlay/compressed": CompressedImage,
    },
    "segrpn": {
        "detections": Detection2DArray,
        "semantic/image": Image,
        "semantic/image/compressed": CompressedImage,
        "semantic/color": Image,
        "semantic/confidence": Image,
        "foreground/image": Image,
        "overlay": Image,
        "overlay/compressed": CompressedImage,
    },
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained tiny models for small images."""
    folder = tmp_path_factory.mktemp("weights")
    for model_type in OUTPUTS:
        torch.manual_seed(0)
        model = build_model(preset(model_type, "tiny"))
        save_model(
            model, folder / f"{model_type}.safetensors", CITYSCAPES, Preprocessing((64, 128))
        )
    return {model_type: folder / f"{model_type}.safetensors" for model_type in OUTPUTS}


class Bench:
    """The node under test and an observer, each spinning in a thread of its own."""

    def __init__(self, weights: dict[str, Path]) -> None:
        self._weights = weights
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self._spinning: list[tuple[SingleThreadedExecutor, threading.Thread, Node]] = []
        self.observer = Node("observer", context=self.context)
        self._spin(self.observer)
        self.node: PerceptionNode | None = None
        self.heard: dict[str, list[Any]] = {}

    def _spin(self, node: Node) -> None:
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        self._spinning.append((executor, thread, node))

    def start(self, model_type: str = "rdsnet", **parameters: Any) -> PerceptionNode:
        """Start the node; double underscores stand for the dots in names."""
        given = {"model__type": model_type, "model__weights": str(self._weights[model_type])}
        overrides = [
            Parameter(name.replace("__", "."), value=value)
            for name, value in (given | parameters).items()
        ]
        self.node = PerceptionNode(context=self.context, parameter_overrides=overrides)
        self._spin(self.node)
        return self.node

    def active(self, model_type: str = "rdsnet", **parameters: Any) -> PerceptionNode:
        """Start the node and wait until it receives."""
        node = self.start(model_type, **parameters)
        until(lambda: node.receiving)
        return node

    def listen(self, topic: str, kind: type, latched: bool = False, depth: int = 50) -> list[Any]:
        """What arrives on a topic from now on; waits for the publisher when the node is there."""
        heard = self.heard.setdefault(topic, [])
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        self.observer.create_subscription(
            kind, topic, heard.append, QoSProfile(depth=depth, durability=durability)
        )
        if self.node is not None and self.node.receiving:
            until(lambda: self.observer.count_publishers(topic) > 0)
        return heard

    def camera(self, topic: str = "/camera/image_raw", kind: type = Image, qos: Any = 50):
        """A publisher that somebody hears."""
        publisher = self.observer.create_publisher(kind, topic, qos)
        until(lambda: publisher.get_subscription_count() > 0)
        return publisher

    def status(self, name: str) -> Any:
        """The newest diagnostics of that name, with `values` as a dictionary."""
        heard = self.heard.get("/diagnostics") or self.listen("/diagnostics", DiagnosticArray)
        for message in reversed(heard):
            for status in message.status:
                if status.name == f"jointseg: {name}":
                    return status, {pair.key: pair.value for pair in status.values}
        return None

    def call(self, kind: type, service: str, **fields: Any) -> Any:
        """The response of a service of the node."""
        client = self.observer.create_client(kind, service)
        assert client.wait_for_service(PATIENCE)
        future = client.call_async(kind.Request(**fields))
        until(future.done)
        return future.result()

    def set(self, name: str, value: Any) -> Any:
        """Set one parameter of the node; the result has `successful` and `reason`."""
        return self.node.set_parameters([Parameter(name, value=value)])[0]

    def close(self) -> None:
        if self.node is not None:
            assert self.node.close(), "the worker did not stop"
        for executor, thread, node in self._spinning:
            executor.shutdown()
            thread.join(5)
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def bench(weights: dict[str, Path], ros_domain: int) -> Iterator[Bench]:
    bench = Bench(weights)
    yield bench
    bench.close()


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def frame(stamp: int = 1, camera: str = "front_optical", size: tuple[int, int] = (48, 96)) -> Image:
    """A noisy rgb8 image, another one for each stamp (in nanoseconds)."""
    height, width = size
    pixels = np.random.default_rng(stamp).integers(0, 255, (height, width, 3), dtype=np.uint8)
    image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    image.data = pixels.tobytes()
    image.header.frame_id = camera
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
    return image


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def send_until_heard(publisher: Any, message: Any, heard: list[Any]) -> Any:
    """Publish a frame until its result arrives: matching is not the same moment on both sides."""
    for _ in range(30):
        publisher.publish(message)
        try:
            return until(
                lambda: next((m for m in heard if stamp_of(m) == stamp_of(message)), None), 0.5
            )
        except AssertionError:
            continue
    raise AssertionError("no result")


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_every_output_has_the_header_and_the_size_of_its_image(
    bench: Bench, model_type: str
) -> None:
    bench.active(model_type, **SOME, overlay__max_rate_hz=120.0)
    heard = {
        name: bench.listen(f"/jointseg/camera/{name}", kind)
        for name, kind in OUTPUTS[model_type].items()
    }
    heard["stats"] = bench.listen("/jointseg/stats", InferenceStats)
    camera = bench.camera()
    for stamp in (5_000_000_007, 6_123_456_789):
        image = frame(stamp)
        send_until_heard(camera, image, heard["detections"])
        for name, messages in heard.items():
            found = send_until_heard(camera, image, messages)
            assert found.header == image.header, name
            if hasattr(found, "height"):
                assert (found.height, found.width) == (48, 96), name
    assert heard["detections"][-1].detections
    stats = heard["stats"][-1]
    assert (stats.model, stats.device, stats.batch_size) == (model_type, "cpu", 1)
    assert stats.frames_received >= stats.frames_processed > 0 and stats.inference_ms > 0


def test_masks_and_detections_belong_together(bench: Bench) -> None:
    bench.active(**SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera()
    found = send_until_heard(camera, frame(3), detections)
    joined = send_until_heard(camera, frame(3), masks)
    assert len(found.detections) == len(joined.masks) == 5
    assert [mask.detection_index for mask in joined.masks] == [0, 1, 2, 3, 4]
    names = [d.results[0].hypothesis.class_id for d in found.detections]
    assert names == [CITYSCAPES.things[mask.class_id] for mask in joined.masks]
    assert masks_from_message(joined).bitmaps((48, 96)).shape == (5, 48, 96)


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_a_frame_in_which_nothing_is_found_gives_empty_messages(
    bench: Bench, model_type: str
) -> None:
    bench.active(model_type, score_threshold=1.0)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    assert not send_until_heard(camera, frame(9), detections).detections
    if model_type == "rdsnet":
        masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
        assert not send_until_heard(camera, frame(10), masks).masks


def test_costly_topics_are_filled_only_while_somebody_listens(bench: Bench) -> None:
    node = bench.active("segrpn")
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(bench.camera(), frame(4), detections)
    assert set(node.published()["camera"]) == {"detections", "semantic/image"}


def test_under_overload_old_frames_are_overwritten_and_the_counters_add_up(bench: Bench) -> None:
    node = bench.active(**SOME)
    camera = bench.camera()
    for stamp in range(1, 200):
        camera.publish(frame(stamp))
        counts = node.counts()["camera"]
        gone = counts.processed + sum(counts.dropped.values()) + counts.pending
        assert counts.received == gone
        time.sleep(0.002)
    counts = until(lambda: (c := node.counts()["camera"]).pending == 0 and c)
    assert counts.dropped["overwritten"] > 0 and counts.processed > 0
    assert counts.received == counts.processed + sum(counts.dropped.values())
    until(
        lambda: (
            (s := bench.status("input camera"))
            and s[1]["pending"] == "0"
            and s[1]["received"] == str(counts.received)
        )
    )
    values = bench.status("input camera")[1]
    assert int(values["received"]) == int(values["processed"]) + int(values["dropped"])
    assert values["dropped overwritten"] == str(counts.dropped["overwritten"])


@pytest.mark.parametrize("model_type", OUTPUTS)
def test_who_joins_late_still_learns_the_classes(bench: Bench, model_type: str) -> None:
    bench.active(model_type)
    things = bench.listen("/jointseg/camera/label_info", LabelInfo, latched=True)
    info = until(lambda: things)[0]
    assert [c.class_name for c in info.class_map] == list(CITYSCAPES.things)
    assert info.threshold == pytest.approx(0.3)
    if model_type == "segrpn":
        semantic = bench.listen("/jointseg/camera/semantic/label_info", LabelInfo, latched=True)
        names = [c.class_name for c in until(lambda: semantic)[0].class_map]
        assert names == list(CITYSCAPES.semantic)


def test_a_publisher_that_cannot_be_heard_is_named_in_the_diagnostics(bench: Bench) -> None:
    name = "qos_overrides./camera/image_raw.subscription.reliability"
    bench.active(**{name: "reliable"})
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    camera = bench.observer.create_publisher(Image, "/camera/image_raw", best_effort)
    status = until(lambda: (s := bench.status("input camera")) and "QoS" in s[0].message and s[0])
    assert status.level == b"\x02"
    assert "/observer" in status.message and "reliab" in status.message.lower()
    bench.observer.destroy_publisher(camera)
    until(lambda: "QoS" not in bench.status("input camera")[0].message)


def test_silence_is_reported_also_before_the_first_frame(bench: Bench) -> None:
    bench.active(diagnostics__input_timeout_ms=200.0)
    status, values = until(
        lambda: (s := bench.status("input camera")) and s[0].level == b"\x02" and s
    )
    assert "no frame for" in status.message and "/camera/image_raw, 0 publishers" in status.message
    assert values["received"] == "0"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("score_threshold", 1.5, "out of range"),
        ("score_threshold", float("nan"), "out of range"),
        ("score_threshold", "high", "expected"),
        ("max_detections", 0, "out of range"),
        ("overlay.max_rate_hz", 1000.0, "out of range"),
        ("batch.anchor_camera", "rear", "the cameras are camera"),
        ("classes_filter", ["unicorn"], "the model knows person, rider"),
        ("model.type", "segrpn", "the node is configured"),
        ("device", "cuda:0", "the node is configured"),
        ("cameras.camera.image_topic", "/other", "the node is configured"),
        ("camera_names", ["a", "b"], "read-only"),
        ("autostart", False, "read-only"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused_with_the_reason(
    shared: Bench, name: str, value: Any, reason: str
) -> None:
    before = shared.node.settings
    result = shared.set(name, value)
    assert not result.successful and reason in result.reason
    assert shared.node.settings is before


@pytest.fixture(scope="module")
def shared(weights: dict[str, Path]) -> Iterator[Bench]:
    """One active node for tests that leave it as it was."""
    bench = Bench(weights)
    bench.active()
    yield bench
    bench.close()


def test_every_parameter_has_a_description(shared: Bench) -> None:
    names = [
        name
        for name in shared.node.list_parameters([], 0).names
        if not name.startswith(("qos_overrides", "use_sim_time", "start_type_description"))
    ]
    assert "score_threshold" in names and "cameras.camera.transport" in names
    for descriptor in shared.node.describe_parameters(names):
        assert descriptor.description and descriptor.additional_constraints, descriptor.name


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": "tpu"}, "auto, cpu, cuda"),
        ({"precision": "fp8"}, "one of fp32"),
        ({"camera_names": ["front", "front"]}, "each once"),
        ({"camera_names": ["front left"]}, "letters, digits and _"),
        ({"cameras__camera__transport": "smoke"}, "raw or compressed"),
    ],
)
def test_a_start_with_parameters_that_make_no_sense_fails_with_the_reason(
    bench: Bench, parameters: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        bench.start(**parameters)


def test_a_threshold_takes_effect_with_the_next_frame(bench: Bench) -> None:
    bench.active(**SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    assert len(send_until_heard(camera, frame(1), detections).detections) == 5
    assert bench.set("max_detections", 2).successful
    assert len(send_until_heard(camera, frame(2), detections).detections) == 2
    assert bench.set("classes_filter", ["car"]).successful
    seen = send_until_heard(camera, frame(3), detections).detections
    assert {d.results[0].hypothesis.class_id for d in seen} <= {"car"}


def test_enable_false_drops_the_subscriptions_and_true_takes_them_up(bench: Bench) -> None:
    bench.active()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    send_until_heard(camera, frame(1), detections)
    assert bench.call(SetBool, "/jointseg/enable", data=False).success
    until(lambda: camera.get_subscription_count() == 0)
    assert bench.call(SetBool, "/jointseg/enable", data=True).success
    send_until_heard(camera, frame(2), detections)


def test_a_failed_reload_keeps_the_model_and_says_why(bench: Bench, tmp_path: Path) -> None:
    node = bench.active()
    old = node.predictor
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(old.weights.read_bytes()[:-1] + b"?")
    damaged.with_suffix(".json").write_bytes(old.weights.with_suffix(".json").read_bytes())
    for path in (damaged, tmp_path / "missing.safetensors"):
        assert bench.set("model.weights", str(path)).successful
        response = bench.call(Trigger, "/jointseg/reload_model")
        assert not response.success and str(path) in response.message
        assert node.predictor is old
    status = until(lambda: (s := bench.status("model")) and s[0].level == b"\x02" and s[0])
    assert "old model" in status.message
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(bench.camera(), frame(1), detections)


def test_a_reload_exchanges_the_model_and_repeats_the_label_info(bench: Bench) -> None:
    node = bench.active()
    infos = bench.listen("/jointseg/camera/label_info", LabelInfo, latched=True)
    until(lambda: len(infos) == 1)
    old = node.predictor
    assert bench.call(Trigger, "/jointseg/reload_model").success
    assert node.predictor is not old
    until(lambda: len(infos) == 2)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(bench.camera(), frame(1), detections)


def test_every_transition_works_twice(bench: Bench) -> None:
    node = bench.start(autostart=False)
    threads = threading.active_count()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    for stamp in (1, 2):
        assert node.trigger_configure() == SUCCESS and node.state == "inactive"
        assert node.trigger_activate() == SUCCESS and node.state == "active"
        camera = bench.camera()
        send_until_heard(camera, frame(stamp), detections)
        bench.observer.destroy_publisher(camera)
        assert node.trigger_deactivate() == SUCCESS and not node.receiving
        assert node.predictor is not None
        assert node.trigger_cleanup() == SUCCESS and node.predictor is None
    assert threading.active_count() == threads
    assert node.trigger_shutdown() == SUCCESS and node.state == "finalized"


def test_missing_weights_fail_configure_with_their_path(bench: Bench, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.safetensors")
    node = bench.start(autostart=False, model__weights=missing)
    assert node.trigger_configure() == FAILURE
    assert node.state == "unconfigured"
    assert missing in node.trouble and "\n" not in node.trouble
    status = until(lambda: (s := bench.status("model")) and s[0].level == b"\x02" and s[0])
    assert missing in status.message
    assert bench.set("model.weights", str(bench._weights["rdsnet"])).successful
    assert node.trigger_configure() == SUCCESS


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [({"model__type": "segrpn"}, "segrpn"), ({"model__sha256": "0" * 64}, "SHA-256")],
)
def test_weights_that_are_not_what_was_asked_for_fail_configure(
    bench: Bench, parameters: dict[str, Any], reason: str
) -> None:
    node = bench.start(autostart=False, **parameters)
    assert node.trigger_configure() == FAILURE
    assert reason in node.trouble and str(bench._weights["rdsnet"]) in node.trouble


def test_two_cameras_in_one_batch_keep_their_names(bench: Bench) -> None:
    bench.active(camera_names=["left", "right"], batch__max_wait_ms=1000.0)
    heard = {
        name: bench.listen(f"/jointseg/{name}/detections", Detection2DArray)
        for name in ("left", "right")
    }
    stats = bench.listen("/jointseg/stats", InferenceStats)
    left, right = bench.camera("/left/image_raw"), bench.camera("/right/image_raw")
    for stamp in range(1, 30):
        left.publish(frame(stamp, "left_optical"))
        right.publish(frame(stamp + 1000, "right_optical", size=(64, 64)))
        try:
            until(lambda: any(s.batch_size == 2 for s in stats) and all(heard.values()), 1)
            break
        except AssertionError:
            continue
    assert any(s.batch_size == 2 for s in stats)
    assert {m.header.frame_id for m in heard["left"]} == {"left_optical"}
    assert {m.header.frame_id for m in heard["right"]} == {"right_optical"}


def test_bad_frames_are_counted_by_reason_and_the_next_good_one_is_processed(bench: Bench) -> None:
    node = bench.active()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    camera = bench.camera()
    send_until_heard(camera, frame(1), detections)
    bad = {"step": frame(2), "data_size": frame(3), "zero_size": frame(4), "encoding": frame(5)}
    bad["step"].step = 7
    bad["data_size"].data = bytes(5)
    bad["zero_size"].height = 0
    bad["encoding"].encoding = "foo8"
    for reason, message in bad.items():
        before = node.counts()["camera"]
        camera.publish(message)
        until(lambda key=f"bad_image:{reason}": node.counts()["camera"].dropped.get(key) == 1)
        assert node.counts()["camera"].processed == before.processed
    status, values = until(
        lambda: (s := bench.status("input camera")) and "foo8" in s[0].message and s
    )
    assert status.level == b"\x02"
    assert all(values[f"dropped bad_image:{reason}"] == "1" for reason in bad)
    send_until_heard(camera, frame(6), detections)
    assert not {stamp_of(m) for m in detections} & {2, 3, 4, 5}


def test_compressed_images_are_decoded_and_a_damaged_one_is_dropped(bench: Bench) -> None:
    node = bench.active(cameras__camera__transport="compressed", **SOME)
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera("/camera/image_raw/compressed", CompressedImage)
    file = io.BytesIO()
    Picture.fromarray(np.frombuffer(frame().data, np.uint8).reshape(48, 96, 3)).save(file, "JPEG")
    message = CompressedImage(header=frame(1).header, format="jpeg", data=file.getvalue())
    send_until_heard(camera, message, detections)
    sent = send_until_heard(camera, message, masks)
    assert (sent.height, sent.width) == (48, 96)
    camera.publish(CompressedImage(header=frame(2).header, data=file.getvalue()[:-400]))
    until(lambda: node.counts()["camera"].dropped.get("bad_image:undecodable") == 1)
    message.header = frame(3).header
    send_until_heard(camera, message, detections)


def test_the_size_of_the_images_may_change(bench: Bench) -> None:
    bench.active()
    masks = bench.listen("/jointseg/camera/instance_masks", InstanceMaskArray)
    camera = bench.camera()
    for stamp, size in enumerate([(48, 96), (96, 48), (1, 1), (7, 13)], start=1):
        sent = send_until_heard(camera, frame(stamp, size=size), masks)
        assert (sent.height, sent.width) == size


def test_frames_older_than_allowed_are_dropped(bench: Bench) -> None:
    node = bench.active(max_input_age_ms=1000.0)
    camera = bench.camera()
    camera.publish(frame(stamp=1_000_000_000))
    until(lambda: node.counts()["camera"].dropped.get("too_old"))
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    fresh = frame()
    for _ in range(20):
        fresh.header.stamp = bench.observer.get_clock().now().to_msg()
        camera.publish(fresh)
        time.sleep(0.1)
        if detections:
            break
    assert detections


def test_slow_batches_are_reported_as_late(bench: Bench) -> None:
    bench.active(
        diagnostics__max_processing_time_ms=1.0, diagnostics__max_consecutive_delay_ms=300.0
    )
    camera = bench.camera()
    deadline = time.monotonic() + PATIENCE
    while not ((s := bench.status("latency")) and s[0].level == b"\x02"):
        camera.publish(frame())
        time.sleep(0.02)
        assert time.monotonic() < deadline
    assert "limit 1 ms" in s[0].message


def test_a_frame_that_the_model_fails_on_is_dropped_and_a_reload_heals(bench: Bench) -> None:
    node = bench.active()
    camera = bench.camera()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    send_until_heard(camera, frame(1), detections)
    del node.predictor.model.object_stream  # as broken as a model can be
    camera.publish(frame(2))
    until(lambda: node.counts()["camera"].dropped.get("inference"))
    status = until(lambda: (s := bench.status("latency")) and s[0].level == b"\x02" and s[0])
    assert "inference failed" in status.message
    assert bench.call(Trigger, "/jointseg/reload_model").success
    send_until_heard(camera, frame(3), detections)


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_the_executable_ends_cleanly_on_a_signal(bench: Bench, signal_name: str) -> None:
    with executable(bench) as process:
        until(lambda: bench.observer.count_publishers("/jointseg/camera/detections"), 90)
        process.send_signal(getattr(signal, signal_name))
        assert process.wait(10) == 0  # a tenth of a second on an idle machine
        until(lambda: "jointseg" not in bench.observer.get_node_names(), 5)
        assert "Traceback" not in process.stderr.read()


def test_the_executable_refuses_a_wrong_start_in_one_sentence(bench: Bench) -> None:
    with executable(bench, "score_threshold:=1.5") as process:
        assert process.wait(90) == 2
        [line] = process.stderr.read().splitlines()
        assert "score_threshold" in line and "1.5" in line


@contextmanager
def executable(bench: Bench, *parameters: str) -> Iterator[subprocess.Popen[str]]:
    """The node as a process of its own."""
    root = Path(__file__).parents[1]
    given = [f"model.weights:={bench._weights['rdsnet']}", *parameters]
    command = [sys.executable, root / "jointseg_ros" / "perception_node.py", "--ros-args"]
    command += [word for parameter in given for word in ("-p", parameter)]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
