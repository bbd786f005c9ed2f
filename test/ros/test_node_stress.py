"""The node under stress: what fails costs itself only, what hangs ends, and a stop is a stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jointseg_msgs.msg", reason="the messages are not built")

sys.path.insert(0, str(Path(__file__).parents[1]))
pytest.register_assert_rewrite("node_bench")
pytest_plugins = ["node_bench"]

from node_bench import Bench, frame, send_until_heard, stamp_of, until
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from stressed_node import FULL_WIDTH, HANGING_WIDTH, LOST_WIDTH, stressed, with_weak_spots
from vision_msgs.msg import Detection2DArray

from jointseg_core.predictor import Predictor

DETECTIONS = "/jointseg/camera/detections"
SOON = 3  # seconds in which the node has to end


def wide(width: int, stamp: int) -> Any:
    return frame(stamp, size=(8, width))


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictors of this test meet what can happen on a device."""
    monkeypatch.setattr(Predictor, "__call__", with_weak_spots(Predictor.__call__))


# One frame is lost, the next is processed


def test_a_full_device_costs_one_frame(bench: Bench, weak: None) -> None:
    node = bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    send_until_heard(camera, frame(1), detections)
    camera.publish(wide(FULL_WIDTH, 2))
    until(lambda: node.counts()["camera"].dropped.get("out_of_memory") == 1)
    send_until_heard(camera, frame(3), detections)
    until(lambda: bench.status("latency"))
    until(lambda: bench.status("latency")[1]["batches without memory"] == "1")
    assert node.ready and 2 not in {stamp_of(m) for m in detections}


def test_a_device_that_works_again_gets_its_model_anew(bench: Bench, weak: None) -> None:
    node = bench.active()
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    send_until_heard(camera, frame(1), detections)
    before = node.predictor
    camera.publish(wide(LOST_WIDTH, 2))
    until(lambda: node.predictor is not before)
    send_until_heard(camera, frame(3), detections)
    assert node.ready and not node.hopeless(time.monotonic())
    camera.publish(wide(LOST_WIDTH, 4))  # within a minute
    reason = until(lambda: node.hopeless(time.monotonic()))
    assert "failed again" in reason and "illegal memory access" in reason
    assert not node.ready and not node.alive(time.monotonic())
    until(lambda: (s := bench.status("model")) and "failed again" in s[0].message)


def test_a_device_that_stays_lost_is_given_up(
    bench: Bench, weak: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, camera = bench.active(), bench.camera()

    def gone(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Predictor, "from_file", gone)
    for stamp in range(1, 30):
        camera.publish(wide(LOST_WIDTH, stamp))
        if reason := node.hopeless(time.monotonic()):
            break
        time.sleep(0.2)
    assert "the device is lost" in reason
    until(lambda: node.counts()["camera"].dropped.get("device"))


def test_stamps_that_jump_back_are_processed_and_flagged(bench: Bench) -> None:
    bench.active(diagnostics__max_age_ms=3.6e6)
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()
    for stamp in (9_000_000_000, 1_000_000_000, 0, 2_000_000_000):
        send_until_heard(camera, frame(stamp), detections)
    _, values = until(
        lambda: (s := bench.status("input camera")) and s[1]["stamps backwards"] == "2" and s
    )
    assert float(values["age p50 [ms]"]) >= 0


def test_a_simulated_clock_that_does_not_run_is_said(bench: Bench) -> None:
    bench.start(use_sim_time=True, autostart=False)
    until(
        lambda: (s := bench.status("input camera")) and "nothing has come on /clock" in s[0].message
    )


# What the node says of itself


def test_ready_and_live_are_two_things(bench: Bench, tmp_path: Path) -> None:
    node = bench.start(autostart=False)
    ready = bench.listen("/jointseg/ready", Bool, latched=True)
    live = bench.listen("/jointseg/live", Bool)
    until(lambda: ready and live)
    assert not ready[-1].data and live[-1].data
    bench.run(node.trigger_configure)
    until(lambda: ready[-1].data)
    late = bench.listen("/jointseg/ready", Bool, latched=True)
    until(lambda: late)
    assert late[-1].data and all(message.data for message in live)
    bench.run(node.trigger_cleanup)
    until(lambda: not ready[-1].data)


def test_a_batch_that_hangs_is_an_error_and_the_node_is_not_alive(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = bench.active(watchdog__timeout_ms=2000.0)
    live, released = bench.listen("/jointseg/live", Bool), threading.Event()
    predict = Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", lambda *a: released.wait(60) and predict(*a))
    camera = bench.camera()
    camera.publish(frame(1))
    until(lambda: node.monitor.busy_since is not None)
    status = until(lambda: (s := bench.status("latency")) and s[0].level == b"\x02" and s[0])
    assert "a batch has been running for" in status.message and node.alive(time.monotonic())
    until(lambda: not live[-1].data)
    assert "limit 2 s" in node.hopeless(time.monotonic())
    released.set()
    until(lambda: live[-1].data)


def test_every_topic_has_a_state(bench: Bench) -> None:
    bench.active(diagnostics__input_warn_rate_hz=100.0, diagnostics__input_error_rate_hz=0.0)
    detections, camera = bench.listen(DETECTIONS, Detection2DArray), bench.camera()

    def state(name: str, key: str) -> str | None:
        found = bench.status(name)
        return found and found[1].get(key)

    until(lambda: state("input camera", "state") == "NOT_RECEIVED")
    until(lambda: state("outputs", "camera/detections state") == "NOT_RECEIVED")
    for stamp in range(1, 200):
        camera.publish(frame(stamp))
        time.sleep(0.05)
        if detections and state("input camera", "state") == "SLOW":
            break
    assert state("input camera", "state") == "SLOW"
    until(lambda: state("input camera", "state") == "TIMEOUT")
    until(lambda: state("outputs", "camera/instance_masks state") == "TIMEOUT")
    assert bench.status("outputs")[0].level == b"\x02"
    assert state("outputs", "camera/instance_labels state") is None  # nobody listens
    assert bench.call(SetBool, "/jointseg/enable", data=False).success
    until(lambda: "not subscribed" in bench.status("input camera")[0].message)
    until(lambda: bench.status("outputs")[0].level == b"\x00")


def test_parameters_change_together_or_not_at_all(bench: Bench) -> None:
    node = bench.active()
    torn, closing = [], threading.Event()

    def watch() -> None:
        while not closing.is_set():
            settings = node.settings
            if settings.score_threshold != settings.nms_iou:
                torn.append(settings)

    assert all(r.successful for r in node.set_parameters([both(0.5)[0], both(0.5)[1]]))
    thread = threading.Thread(target=watch)
    thread.start()
    for step in range(500):
        assert node.set_parameters_atomically(both(step / 500)).successful
    before = node.settings
    refused = node.set_parameters_atomically([*both(0.9), Parameter("max_detections", value=0)])
    closing.set()
    thread.join()
    assert not torn and not refused.successful and node.settings is before
    assert node.get_parameter("score_threshold").value == pytest.approx(499 / 500)


def both(value: float) -> list[Parameter]:
    return [Parameter("score_threshold", value=value), Parameter("nms_iou", value=value)]


def test_what_another_callback_refuses_is_not_used(bench: Bench) -> None:
    node = bench.active()
    response = bench.call(
        SetParametersAtomically,
        "/jointseg/set_parameters_atomically",
        parameters=[
            Parameter("score_threshold", value=0.9).to_parameter_msg(),
            Parameter("use_sim_time", value="yes").to_parameter_msg(),
        ],
    )
    assert not response.result.successful
    assert node.settings.score_threshold == pytest.approx(0.3)


def test_a_process_that_was_stopped_for_a_while_does_not_hang(bench: Bench) -> None:
    node = bench.start(autostart=False)
    node.reporter.close()  # nobody asks, as when the process is stopped
    began = node.monitor.busy_since = time.monotonic()
    back = began + 60
    for second in range(10):
        assert not node.hopeless(back + second)
    assert "a batch has been running" in node.hopeless(back + 11)


# Ten thousand bad messages

MANY = """
import gc, itertools, sys, time
sys.path.insert(0, "test")
from node_bench import PerceptionNode, Parameter, frame
from benchmarks.soak.faults import SPOILERS
from jointseg_ros.mailbox import Frame
import rclpy
rclpy.init()
node = PerceptionNode(parameter_overrides=[
    Parameter("model.type", value="rdsnet"), Parameter("model.weights", value=sys.argv[1]),
    Parameter("autostart", value=False)])
assert node.trigger_configure() == node.trigger_activate()
node.get_logger().set_level(50)
spoilt = [frame(1) for _ in SPOILERS]
for message, spoil in zip(spoilt, SPOILERS):
    spoil(message)
def pages():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1])
for number, message in zip(range(1, 10_001), itertools.cycle(spoilt)):
    node._receive(Frame("camera", message, time.monotonic()))
    while node.counts()["camera"].pending:
        time.sleep(0)
    if number == 1000:
        early = pages()
late, counts = pages(), node.counts()["camera"]
print(counts.received, counts.processed, sum(counts.dropped.values()), len(counts.dropped))
print(late / early)
node.close(); node.destroy_node(); rclpy.shutdown()
"""


def test_ten_thousand_bad_messages_need_no_more_memory_than_one_thousand(
    weights: dict[str, Path],
) -> None:
    command = [sys.executable, "-c", MANY, str(weights["rdsnet"])]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    counts, growth = done.stdout.splitlines()[-2:]
    received, processed, dropped, reasons = map(int, counts.split())
    assert (received, processed, dropped) == (10_000, 0, 10_000) and reasons >= 4
    assert float(growth) < 1.05


# Stops


def running(bench: Bench) -> None:
    """Until the node in its process listens to the camera."""
    until(lambda: bench.observer.count_subscribers("/camera/image_raw"))


STATES = ("loading", "unconfigured", "active", "inference")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_in_any_state(
    bench: Bench, tmp_path: Path, state: str, number: int
) -> None:
    weights = bench.weights["rdsnet"]
    options = {"autostart": "false"} if state == "unconfigured" else {}
    with stressed(tmp_path, weights, state == "loading", **options) as process:
        until(lambda: "stressed" in bench.observer.get_node_names())
        if state in ("active", "inference"):
            running(bench)
        if state == "loading":
            live = bench.listen("/stressed/live", Bool)
            until(lambda: live and live[-1].data)  # also while it loads
        if state == "inference":
            begin_to_hang(bench)
        process.signal(number)
        assert process.ended(SOON) == 0
        assert "Traceback" not in process.said()


def begin_to_hang(bench: Bench, node: str = "stressed") -> None:
    """Send frames that hang until the node says that a batch is being processed for long."""
    camera = bench.camera()
    bench.status("latency")

    def hangs() -> bool:
        camera.publish(wide(HANGING_WIDTH, 1))
        time.sleep(0.2)
        return any(
            "a batch has been running" in status.message
            for message in list(bench.heard["/diagnostics"])
            for status in message.status
            if status.name == f"{node}: latency"
        )

    until(hangs)


def test_a_batch_that_hangs_ends_the_process_which_a_supervisor_starts_again(
    bench: Bench, tmp_path: Path
) -> None:
    """As `respawn` in the launch file does."""
    weights, results = bench.weights["rdsnet"], []
    bench.observer.create_subscription(
        Detection2DArray, "/stressed/camera/detections", results.append, 10
    )
    with stressed(tmp_path, weights, watchdog__timeout_ms=2500.0) as process:
        running(bench)
        begin_to_hang(bench)
        assert process.ended(2.5 + SOON) == 5
        said = process.said()
        assert "a batch has been running for" in said and "Traceback" not in said
    with stressed(tmp_path, weights) as process:
        send_until_heard(bench.camera(), frame(7), results)
        process.signal(signal.SIGKILL)
        assert process.ended(SOON) == -signal.SIGKILL
    killed, results[:] = time.monotonic(), []
    with stressed(tmp_path, weights):
        send_until_heard(bench.camera(), frame(8), results)
        print(f"{time.monotonic() - killed:.1f} s from kill -9 to the first result")


def test_a_model_that_does_not_load_in_time_ends_the_process(bench: Bench, tmp_path: Path) -> None:
    options = {"watchdog__loading_timeout_ms": 1000.0}
    with stressed(tmp_path, bench.weights["rdsnet"], True, **options) as process:
        assert process.ended(15) == 5
        assert "a model has been loading for" in process.said()
