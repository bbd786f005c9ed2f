"""The node in a process of its own, a camera with faults, and somebody who uses the results."""

from __future__ import annotations

import copy
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Header
from vision_msgs.msg import Detection2DArray

from benchmarks.ros.cameras import pictures, set_stamp
from benchmarks.ros.listener import nanoseconds
from benchmarks.ros.processes import NodeProcess, Spinning
from benchmarks.soak.faults import SCALES, Event, events
from benchmarks.soak.samples import Control, Record, sample
from benchmarks.soak.verdict import Finding
from jointseg_core.errors import SegError
from jointseg_ros.conversions import image_message

NODE = "soak_node"
TOPIC = "/camera/image_raw"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
SETTLE_SECONDS = 2.5  # after the last frame, until the node has told its last counters


class SoakError(SegError):
    """What stopped the soak, in one sentence."""


@dataclass(frozen=True)
class Plan:
    """What is run: for how long (s), at which rate, with which share of faults and which picture.

    image_size  (height, width)
    """

    seconds: float
    rate_hz: float
    faults: float
    image_size: tuple[int, int]
    model: str
    weights: Path | None
    device: str
    seed: int

    def parameters(self) -> dict[str, str]:
        """Of the node; all others keep their defaults."""
        weights = {"model.weights": str(self.weights)} if self.weights else {}
        return {"model.type": self.model, "device": self.device, **weights}


@dataclass
class Sent:
    """What the camera sent, and what came back; frames by stamp (ns)."""

    good: dict[int, float] = field(default_factory=dict)  # steady seconds; until answered
    faults: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    answered: int = 0
    unasked: int = 0  # results for frames that were bad, or never sent
    recoveries: list[bool] = field(default_factory=list)  # of the first good frame after a bad one


class Soak(Node):
    """The camera and the user in one node."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__("soak")
        self.plan, self.record, self.sent = plan, record, Sent()
        self.ready = False
        self.diagnosed: dict[str, dict[str, str]] = {}
        self.start = time.monotonic()
        self._after_bad: int | None = None
        self._messages = list(_messages(plan.image_size))
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._camera = self.create_publisher(Image, TOPIC, qos)
        topic = f"/{NODE}/camera/detections"
        self.create_subscription(Detection2DArray, topic, self._arrived, 50)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Bool, f"/{NODE}/ready", self._readiness, latched)

    def heard(self) -> bool:
        """Whether the node listens to the camera."""
        return self._camera.get_subscription_count() > 0

    def play(self, process: NodeProcess) -> None:
        """Send frames and faults for the time of the plan. SoakError when the node ends."""
        plan, due = self.plan, time.monotonic()
        for number, event in enumerate(events(plan.faults, plan.seed)):
            due = max(due + 1 / plan.rate_hz + event.wait, time.monotonic())
            if due - self.start > plan.seconds:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            if process.exit_code is not None:
                raise SoakError(f"the node ended with exit code {process.exit_code}")
            self._send(event, number)

    def _send(self, event: Event, number: int) -> None:
        message = self._messages[number % len(self._messages)][event.scale]
        if event.spoil:
            message = copy.copy(message)
            event.spoil(message)
        stamp = self.get_clock().now().nanoseconds - int(event.behind * 1e9)
        set_stamp(message, stamp)
        self.sent.frames += 1
        self.sent.faults[event.fault or "none"] += 1
        if not event.spoil:
            self.sent.good[stamp] = time.monotonic()
        self._note_recovery(event, stamp)
        self._camera.publish(message)
        self._forget()

    def _note_recovery(self, event: Event, stamp: int) -> None:
        """The first good frame after a bad one has to be answered before it is forgotten."""
        if event.spoil:
            self._after_bad = -1
        elif self._after_bad == -1:
            self._after_bad = stamp

    def _forget(self) -> None:
        """Frames that were not answered in ten seconds never will be."""
        limit = time.monotonic() - 10
        while self.sent.good and next(iter(self.sent.good.values())) < limit:
            stamp = next(iter(self.sent.good))
            self.sent.good.pop(stamp, None)
            if stamp == self._after_bad:
                self.sent.recoveries.append(False)
                self._after_bad = None

    def _arrived(self, message: Detection2DArray) -> None:
        now = time.monotonic()
        stamp = nanoseconds(message)
        published = self.sent.good.pop(stamp, None)
        if published is None:
            self.sent.unasked += 1
            return
        self.sent.answered += 1
        self.record.latencies.append((now - self.start, 1e3 * (now - published)))
        if stamp == self._after_bad:
            self.sent.recoveries.append(True)
            self._after_bad = None

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(f"{NODE}: "):
                values = {pair.key: pair.value for pair in status.values}
                self.diagnosed[status.name.removeprefix(f"{NODE}: ")] = values

    def _readiness(self, message: Bool) -> None:
        self.ready = message.data


def _messages(size: tuple[int, int]) -> Iterator[dict[float, Image]]:
    """Pictures as messages, each in every size."""
    height, width = size
    for picture in pictures(size):
        yield {
            scale: image_message(
                Header(frame_id="camera_optical"),
                cv2.resize(picture, (round(width * scale), round(height * scale))),
                "bgr8",
            )
            for scale in SCALES
        }


def run(plan: Plan, folder: Path) -> tuple[Record, dict, list[Finding]]:
    """Run the node for the time of the plan: what was measured, counted and found wrong.

    Raises SoakError when the node does not start or ends by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, log = Record(), folder / "node.log"
    with ExitStack() as stack:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        spinning = stack.enter_context(closing(Spinning(rclpy.get_default_context())))
        process = NodeProcess(NODE, plan.parameters(), log)
        stack.callback(process.kill)
        stack.callback(_no_more_signals)
        soak = Soak(plan, record)
        spinning.add(soak)
        _wait_for(soak, process)
        soak.start = time.monotonic()
        threading.Thread(target=_sample, args=(record, process, soak), daemon=True).start()
        with closing(Control(record, soak.start)):
            soak.play(process)
        time.sleep(SETTLE_SECONDS)
        code = process.stop(signal.SIGTERM, STOP_SECONDS)
        return record, _counts(soak), list(_findings(soak, code, log.read_text()))


def _no_more_signals() -> None:
    """A second one must not leave the node alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _wait_for(soak: Soak, process: NodeProcess) -> None:
    end = time.monotonic() + START_SECONDS
    while not (soak.ready and soak.heard()):
        if process.exit_code is not None or time.monotonic() > end:
            raise SoakError(f"the node did not start; it printed last: {process.last_words()}")
        time.sleep(0.05)


def _sample(record: Record, process: NodeProcess, soak: Soak) -> None:
    """Once a second, less often in runs of hours, until the node ends."""
    period = max(1.0, soak.plan.seconds / 3600)
    while (seconds := time.monotonic() - soak.start) <= soak.plan.seconds:
        try:
            record.samples.append(sample(process.pid, seconds))
        except OSError:
            return
        time.sleep(period)


def _counts(soak: Soak) -> dict:
    sent, told = soak.sent, soak.diagnosed.get("input camera", {})
    wanted = re.compile(r"received|processed|pending|dropped.*|stamps backwards")
    return {
        "frames": sent.frames,
        "events": dict(sent.faults),
        "answered": sent.answered,
        "recovered": sum(sent.recoveries),
        "bad_before_good": len(sent.recoveries),
        "node": {name: int(value) for name, value in told.items() if wanted.fullmatch(name)},
    }


def _findings(soak: Soak, code: int | None, said: str) -> Iterator[Finding]:
    """What does not depend on the machine's speed."""
    counts = _counts(soak)
    node = counts["node"]
    yield Finding("stop", code == 0, f"exit code {code} after SIGTERM")
    yield Finding("log", "Traceback" not in said, f"{said.count('Traceback')} tracebacks")
    text = f"{soak.sent.unasked} results for frames that were bad or never sent"
    yield Finding("results", soak.sent.unasked == 0, text)
    added = node.get("processed", 0) + node.get("dropped", 0) + node.get("pending", 0)
    text = f"{node.get('received', 0)} received, {added} processed, dropped and pending"
    yield Finding("counters", 0 < node.get("received", 0) == added, text)
    text = f"{counts['recovered']} of {counts['bad_before_good']} good frames after bad ones came"
    good = sum(n for name, n in soak.sent.faults.items() if name != "bad")
    if counts["answered"] < 0.95 * good:
        yield Finding("recovery", None, f"{text}; the node answers {counts['answered']} of {good}")
    else:
        passed = counts["recovered"] >= 0.9 * counts["bad_before_good"]
        yield Finding("recovery", passed, text)
