"""The node obeys: lifecycle, parameters, services, signals; what it refuses it explains."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_bench import SOME, Bench, frame, send_until_heard, until
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray, LabelInfo

from benchmarks.soak.samples import sample
from jointseg_core import Predictor, shipped_weights
from jointseg_core.runtime.malloc import keep_memory
from jointseg_ros.inputs import Matched
from jointseg_ros.model import apply_settings, named_weights
from jointseg_ros.parameters import Settings
from jointseg_ros.paths import expanded
from jointseg_ros.perception_node import FAILURE, SUCCESS, PerceptionNode

OF_ROS = ("qos_overrides", "use_sim_time", "start_type_description")

DETECTIONS = "/jointseg/camera/detections"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("score_threshold", 1.5, "out of range"),
        ("score_threshold", float("nan"), "out of range"),
        ("score_threshold", "high", "expected"),
        ("max_detections", 0, "out of range"),
        ("overlay.max_rate_hz", 1000.0, "out of range"),
        ("batch.anchor_camera", "rear", "the cameras are camera"),
        ("batch.sync", "exact", "one of none, approximate"),
        ("batch.sync", "approximate", "set batch.max_stamp_difference_ms"),
        ("classes_filter", ["unicorn"], "knows person, rider"),
        ("model.type", "segrpn", "the node is configured"),
        ("device", "cuda:0", "the node is configured"),
        ("cameras.camera.image_topic", "/other", "the node is configured"),
        ("watchdog.timeout_ms", 1.0, "at least 1000"),
        ("watchdog.timeout_ms", 999.9, "at least 1000"),
        ("watchdog.timeout_ms", 5e-324, "at least 1000"),
        ("watchdog.timeout_ms", -1.0, "out of range"),
        ("watchdog.timeout_ms", float("inf"), "out of range"),
        ("watchdog.loading_timeout_ms", 1.0, "at least 1000"),
        ("watchdog.loading_timeout_ms", 999.9, "at least 1000"),
        ("watchdog.loading_timeout_ms", float("nan"), "out of range"),
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


def test_a_misspelt_parameter_is_refused_with_the_nearest_name(shared: Bench) -> None:
    result = shared.node.set_parameters_atomically([Parameter("score_treshold", value=0.4)])
    assert not result.successful
    assert result.reason == "no parameter is called score_treshold; did you mean score_threshold?"


def test_a_timeout_that_healthy_work_would_exceed_is_refused_with_its_time(bench: Bench) -> None:
    node = bench.start(autostart=False)
    assert bench.run(node.trigger_configure) == SUCCESS
    node.predictor.timing = replace(node.predictor.timing, inference_ms=4000.0)
    refused = bench.set("watchdog.timeout_ms", 7000.0)
    assert not refused.successful and "a batch took 40" in refused.reason
    assert bench.set("watchdog.timeout_ms", 9000.0).successful
    assert bench.set("watchdog.timeout_ms", 0.0).successful
    node.liveness._load_ms = 5000.0
    assert "loading the model took 5000" in bench.set("watchdog.loading_timeout_ms", 4000.0).reason


def test_a_slow_batch_refuses_no_parameter_that_has_nothing_to_do_with_it(bench: Bench) -> None:
    node = bench.start(autostart=False)
    assert bench.run(node.trigger_configure) == SUCCESS
    node.predictor.timing = replace(node.predictor.timing, inference_ms=60000.0)
    assert bench.set("score_threshold", 0.4).successful
    assert not bench.set("watchdog.timeout_ms", 9000.0).successful
    assert not bench.set("classes_filter", ["unicorn"]).successful


def test_more_frames_in_a_batch_than_cameras_are_not_warmed_up() -> None:
    assert Settings(batch_max_size=64).batch_size == Settings().batch_size == 1
    assert Settings(camera_names=("a", "b", "c"), batch_max_size=2).batch_size == 2


def test_a_topic_that_is_set_before_configure_is_the_one_that_is_heard(bench: Bench) -> None:
    node = bench.start(autostart=False)
    assert bench.set("cameras.camera.image_topic", "/other/image").successful
    assert bench.run(node.trigger_configure) == bench.run(node.trigger_activate) == SUCCESS
    topics = [subscription.topic_name for subscription in node.subscriptions]
    assert "/other/image" in topics and "/camera/image_raw" not in topics
    assert node.matched("camera").topic == "/other/image"


def test_a_topic_that_no_node_can_subscribe_to_is_refused_when_it_is_set(bench: Bench) -> None:
    node = bench.start(autostart=False)
    refused = bench.set("cameras.camera.image_topic", "front camera")
    assert not refused.successful and "topic name must not contain" in refused.reason
    assert node.matched("camera").topic == "/camera/image_raw"


@pytest.mark.parametrize("rule", ["camera/image_raw:=/front/rgb", "/camera/image_raw:=/front/rgb"])
def test_a_remapping_of_the_images_is_one_of_the_compressed_ones(bench: Bench, rule: str) -> None:
    compressed = ["-p", "cameras.camera.transport:=compressed", "-p", "autostart:=false"]
    words = ["--ros-args", "-r", rule, *compressed]
    node = PerceptionNode("joint", context=bench.context, cli_args=words)
    camera = node.settings.cameras[0]
    beside, itself = camera.topic(node), replace(camera, transport="raw").topic(node)
    seen = node.matched("camera").topic
    node.close()
    node.destroy_node()
    assert (itself, beside, seen) == ("/front/rgb", "/front/rgb/compressed", beside)


def test_the_compressed_images_may_be_remapped_by_their_own_name(bench: Bench) -> None:
    rule = "camera/image_raw/compressed:=/front/jpeg"
    words = ["--ros-args", "-r", rule, "-p", "cameras.camera.transport:=compressed"]
    node = PerceptionNode(
        "joint", context=bench.context, cli_args=[*words, "-p", "autostart:=false"]
    )
    seen = node.matched("camera").topic
    node.close()
    node.destroy_node()
    assert seen == "/front/jpeg"


def test_one_camera_that_cannot_be_looked_at_leaves_the_others_as_they_are(bench: Bench) -> None:
    node = bench.active(camera_names=["front", "rear"])
    matched = node.matched

    def broken(camera: str) -> Matched:
        if camera == "front":
            raise RuntimeError("no such camera")
        return matched(camera)

    node.matched = broken
    until(lambda: (s := bench.status("input front")) and "no such camera" in s[0].message)
    assert "rear" in bench.status("input rear")[1]["topic"]
    assert bench.status("model")[1]["state"] == "active"
    del node.matched


def test_a_second_node_of_the_same_name_is_a_warning(shared: Bench) -> None:
    text = "another node is called /jointseg as well"
    before = until(lambda: shared.status("model"))[0]
    assert before.message != text
    second = Node("jointseg", context=shared.context)
    status = until(lambda: (s := shared.status("model")[0]).message == text and s)
    assert status.level == b"\x01"
    second.destroy_node()
    assert until(lambda: shared.status("model")[0].message == before.message)


def test_paths_of_weights_may_be_written_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/driver")
    monkeypatch.setenv("MODELS", "/opt/models")
    written = ["~/w.safetensors", "$HOME/w.safetensors", "file:///home/driver/w.safetensors"]
    assert {expanded(path) for path in written} == {"/home/driver/w.safetensors"}
    assert expanded("file://localhost/w") == "/w" and expanded("${MODELS}/w") == "/opt/models/w"
    assert expanded("") == "" and expanded("models/$none") == "models/$none"


def test_shipped_weights_may_be_named():
    for name in ("segrpn", "segrpn_tiny"):
        assert named_weights(Settings(model_weights=name)) == shipped_weights("segrpn")
    assert named_weights(Settings(model_type="rdsnet")) == shipped_weights("rdsnet")
    assert named_weights(Settings(model_weights="m/segrpn_tiny")) == Path("m/segrpn_tiny")


def test_every_parameter_has_a_description(shared: Bench) -> None:
    names = own_names(shared.node)
    assert "score_threshold" in names and "cameras.camera.transport" in names
    for descriptor in shared.node.describe_parameters(names):
        assert descriptor.description and descriptor.additional_constraints, descriptor.name


def own_names(node: PerceptionNode) -> list[str]:
    """The parameters that are the node's own, without those that rclpy gives to every node."""
    return [n for n in node.list_parameters([], 0).names if not n.startswith(OF_ROS)]


def dumped(bench: Bench) -> dict[str, ParameterValue]:
    """All values, asked for in one request, as `ros2 param dump` does."""
    names = bench.node.list_parameters([], 0).names
    answer = bench.call(GetParameters, "/jointseg/get_parameters", names=names)
    return dict(zip(names, answer.values, strict=True))


def test_every_parameter_has_a_value_and_may_be_set_to_it_again(shared: Bench) -> None:
    values = dumped(shared)
    assert {"classes_filter", "score_threshold", "cameras.camera.image_topic"} <= values.keys()
    for name in own_names(shared.node):
        result = shared.set(name, parameter_value_to_python(values[name]))
        assert result.successful or "read-only" in result.reason, (name, result.reason)
    assert dumped(shared) == values


def test_a_node_starts_with_what_another_one_has_dumped(shared: Bench, tmp_path: Path) -> None:
    names = own_names(shared.node)
    values = {name: shared.node.get_parameter(name).value for name in names}
    plain = {name: list(v) if isinstance(v, list) else v for name, v in values.items()}
    file = tmp_path / "dumped.yaml"
    file.write_text(yaml.safe_dump({"/again": {"ros__parameters": plain | {"autostart": False}}}))
    words = ["--ros-args", "--params-file", str(file)]
    again = PerceptionNode("again", context=shared.context, cli_args=words)
    found = {name: again.get_parameter(name).value for name in names}
    again.close()
    again.destroy_node()
    assert found == values | {"autostart": False}


def test_numbers_and_lists_are_taken_as_they_are_meant(shared: Bench) -> None:
    as_the_tools_send = Parameter("classes_filter", Parameter.Type.BOOL_ARRAY, [])
    assert shared.node.set_parameters([as_the_tools_send])[0].successful
    assert shared.node.get_parameter("classes_filter").type_ == Parameter.Type.STRING_ARRAY
    assert "names unicorn; " in shared.set("classes_filter", "car,unicorn").reason
    assert shared.set("classes_filter", "car,bus").successful
    assert shared.node.settings.classes_filter == ("car", "bus")
    assert shared.set("classes_filter", []).successful
    assert shared.set("overlay.scale", 2).successful
    assert shared.node.settings.overlay_scale == 2.0
    assert shared.node.get_parameter("overlay.scale").type_ == Parameter.Type.DOUBLE
    assert shared.set("overlay.scale", 1).successful
    assert not shared.set("overlay.scale", 5).successful
    assert not shared.set("max_detections", 5.0).successful


def test_a_start_takes_whole_numbers_where_others_may_be(bench: Bench) -> None:
    node = bench.start(autostart=False, score_threshold=1, diagnostics__max_age_ms=250)
    assert node.settings.score_threshold == 1.0 and node.settings.diagnostics_max_age_ms == 250.0


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"device": "tpu"}, "auto, cpu, cuda"),
        ({"precision": "fp8"}, "one of auto, fp32"),
        ({"camera_names": ["front", "front"]}, "each once"),
        ({"camera_names": ["front left"]}, "letters, digits and _"),
        ({"cameras__camera__transport": "theora"}, "in_transport:=theora"),
        ({"cameras__camera__bits": 17}, "17"),
        ({"cameras__camera__roi": "0,200,1280"}, "X,Y,WIDTH,HEIGHT in pixels"),
        ({"watchdog__timeout_ms": 1.0}, "at least 1000"),
        (
            {"cameras__camera__image_topic": "front camera"},
            "'; topic name must not contain",
        ),
        ({"cameras__camera__image_topic": ""}, "must not be empty"),
        ({"cameras__camera__image_topic": "a//b"}, "must not contain repeated '/'"),
        ({"cameras__camera__image_topic": "{car}/image"}, "unknown substitution: {car}"),
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


@pytest.mark.parametrize("model", ["joint", "rdsnet", "segrpn"])
def test_thresholds_of_zero_are_those_of_the_weights(model: str) -> None:
    predictor = Predictor.from_file(shipped_weights(model), "cpu")
    own, names = predictor.manifest.config, ("nms_iou", "mask_threshold")
    for nms_iou in (0.0, 0.25, 0.0):
        apply_settings(predictor, Settings(nms_iou=nms_iou))
        expected = {name: getattr(own, name, None) for name in names}
        expected |= {"nms_iou": nms_iou or own.nms_iou}
        used = predictor.model.config
        assert {name: getattr(used, name, None) for name in names} == expected


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


def _free_and_keep(megabytes: int) -> float:
    """Let the C library keep so much freed memory; MB of the process's own with it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [libc.malloc(1 << 20) for _ in range(megabytes)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    for block in blocks:
        libc.free(block)
    return sample(os.getpid(), 0).anon_mb


@pytest.mark.skipif(not keep_memory(), reason="the C library is not glibc")
def test_memory_is_given_back_when_a_model_goes(bench: Bench) -> None:
    node = bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    send_until_heard(camera, frame(1), detections)
    old = weakref.ref(node.predictor)
    assert bench.call(Trigger, "/jointseg/reload_model").success
    kept = _free_and_keep(300)
    send_until_heard(camera, frame(2), detections)
    assert old() is None and sample(os.getpid(), 0).anon_mb < kept - 200
    kept = _free_and_keep(300)
    for transition in (node.trigger_deactivate, node.trigger_cleanup):
        assert bench.run(transition) == SUCCESS
    assert sample(os.getpid(), 0).anon_mb < kept - 200


def test_the_node_answers_and_works_while_it_loads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = bench.start(autostart=False)
    opened, go_on, load = threading.Event(), threading.Event(), Predictor.from_file

    def slow(*words: Any, **options: Any) -> Predictor:
        opened.set()
        assert go_on.wait(60)
        return load(*words, **options)

    def begun(kind: type, service: str, **fields: Any) -> Any:
        client = bench.observer.create_client(kind, service)
        assert client.wait_for_service(10)
        opened.clear(), go_on.clear()
        future = client.call_async(kind.Request(**fields))
        assert opened.wait(10)
        return future

    monkeypatch.setattr(Predictor, "from_file", slow)
    configure = {"transition": Transition(id=Transition.TRANSITION_CONFIGURE)}
    answer = begun(ChangeState, "/jointseg/change_state", **configure)
    state = bench.call(GetState, "/jointseg/get_state").current_state.label
    assert state == "unconfigured" and node.loading_since is not None
    assert not bench.call(ChangeState, "/jointseg/change_state", **configure).success
    assert "is configured" in bench.set("device", "cuda:0").reason
    assert bench.set("classes_filter", ["unicorn"]).successful  # nobody knows it yet
    go_on.set()
    until(answer.done)
    assert not answer.result().success and "unicorn" in node.trouble
    assert bench.set("classes_filter", ["car"]).successful
    assert bench.call(ChangeState, "/jointseg/change_state", **configure).success

    assert bench.run(node.trigger_activate) == SUCCESS
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    answer = begun(Trigger, "/jointseg/reload_model")
    send_until_heard(camera, frame(1), detections)
    again = bench.call(Trigger, "/jointseg/reload_model")
    assert not again.success and "already" in again.message and node.trouble == ""
    before = node.predictor
    go_on.set()
    until(answer.done)
    assert answer.result().success and node.predictor is not before


def test_a_new_score_threshold_is_told_to_those_who_listen(bench: Bench) -> None:
    bench.active()
    infos = bench.listen("/jointseg/camera/label_info", LabelInfo, latched=True)
    until(lambda: len(infos) == 1)
    assert bench.set("score_threshold", 0.75).successful
    until(lambda: len(infos) == 2)
    assert infos[-1].threshold == pytest.approx(0.75)


def test_every_transition_works_twice(bench: Bench) -> None:
    node = bench.start(autostart=False)
    threads = threading.active_count()
    detections = bench.listen("/jointseg/camera/detections", Detection2DArray)
    for stamp in (1, 2):
        assert bench.run(node.trigger_configure) == SUCCESS and node.state == "inactive"
        assert bench.run(node.trigger_activate) == SUCCESS and node.state == "active"
        camera = bench.camera()
        send_until_heard(camera, frame(stamp), detections)
        bench.run(bench.observer.destroy_publisher, camera)
        assert bench.run(node.trigger_deactivate) == SUCCESS and not node.receiving
        assert node.predictor is not None
        assert bench.run(node.trigger_cleanup) == SUCCESS and node.predictor is None
    assert threading.active_count() == threads
    assert bench.run(node.trigger_shutdown) == SUCCESS and node.state == "finalized"


def test_missing_weights_fail_configure_with_their_path(bench: Bench, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.safetensors")
    node = bench.start(autostart=False, model__weights=missing)
    assert bench.run(node.trigger_configure) == FAILURE
    assert node.state == "unconfigured"
    assert missing in node.trouble and "\n" not in node.trouble
    status = until(lambda: (s := bench.status("model")) and s[0].level == b"\x02" and s[0])
    assert missing in status.message
    assert bench.set("model.weights", str(bench.weights["rdsnet"])).successful
    assert bench.run(node.trigger_configure) == SUCCESS


ODD = [MemoryError(), KeyError("w"), OSError(5, "Input/output error"), RuntimeError("a\nb")]
ODD += [RecursionError(), AssertionError(), StopIteration(), Exception("\n"), ValueError("x")]


def test_whatever_loading_raises_is_an_error_with_its_type(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, raised = bench.start(autostart=False), iter(ODD)

    def fail(*_: Any, **__: Any) -> None:
        raise next(raised)

    monkeypatch.setattr(Predictor, "from_file", fail)
    configure = {"transition": Transition(id=Transition.TRANSITION_CONFIGURE)}
    for error in ODD:
        assert not bench.call(ChangeState, "/jointseg/change_state", **configure).success
        assert type(error).__name__ in node.trouble and "\n" not in node.trouble
    status = until(lambda: (s := bench.status("model")) and s[0].level == b"\x02" and s[0])
    assert status.message.startswith("ValueError: x")


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"model__type": "segrpn"}, "rdsnet model, wanted segrpn"),
        ({"model__type": "joint"}, "rdsnet model, wanted joint"),
        ({"model__sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_weights_that_are_not_what_was_asked_for_fail_configure(
    bench: Bench, parameters: dict[str, Any], reason: str
) -> None:
    node = bench.start(autostart=False, **parameters)
    assert bench.run(node.trigger_configure) == FAILURE
    assert reason in node.trouble and str(bench.weights["rdsnet"]) in node.trouble


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_the_executable_ends_cleanly_on_a_signal(bench: Bench, signal_name: str) -> None:
    with executable(bench) as process:
        until(lambda: bench.observer.count_publishers("/in_a_process/camera/detections"), 90)
        process.send_signal(getattr(signal, signal_name))
        assert process.wait(10) == 0  # a tenth of a second on an idle machine
        until(lambda: "in_a_process" not in bench.observer.get_node_names(), 5)
        assert "Traceback" not in process.stderr.read()


def test_the_executable_refuses_a_wrong_start_in_one_sentence(bench: Bench) -> None:
    with executable(bench, "score_threshold:=1.5") as process:
        assert process.wait(90) == 2
        [line] = process.stderr.read().splitlines()
        assert "score_threshold" in line and "1.5" in line


@contextmanager
def executable(bench: Bench, *parameters: str) -> Iterator[subprocess.Popen[str]]:
    """The node as a process of its own."""
    root = Path(__file__).parents[2]
    given = ["model.type:=rdsnet", f"model.weights:={bench.weights['rdsnet']}", *parameters]
    command = [sys.executable, root / "jointseg_ros" / "perception_node.py", "--ros-args"]
    command += ["-r", "__node:=in_a_process"]
    command += [word for parameter in given for word in ("-p", parameter)]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
