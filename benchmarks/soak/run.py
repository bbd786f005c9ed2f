"""The node in a process of its own, a camera with faults, and somebody who uses the results."""

from __future__ import annotations

import copy
import re
import signal
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
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
from benchmarks.soak.faults import Event, events
from benchmarks.soak.requests import Operator
from benchmarks.soak.samples import Control, Record, sample
from benchmarks.soak.verdict import Finding, of_frames
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


class Soak(Node):
    """The camera, the operator and the user in one node."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__("soak")
        self._plan, self._record = plan, record
        self.ready = False
        self.told: dict[str, str] = {}  # by the node about the camera, last of all
        self._messages = _messages(plan.image_size, 1.0)
        self._scale = 1.0
        self.operator = Operator(self, NODE, str(plan.weights or ""))
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
        plan, due = self._plan, self._record.now()
        for number, event in enumerate(events(plan.faults, plan.seed)):
            due = max(due + 1 / plan.rate_hz + event.wait, self._record.now())
            if due > plan.seconds:
                return
            time.sleep(max(0.0, due - self._record.now()))
            if process.exit_code is not None:
                raise SoakError(f"the node ended with exit code {process.exit_code}")
            self._send(event, number)

    def _send(self, event: Event, number: int) -> None:
        if event.scale != self._scale:
            self._scale = event.scale
            self._messages = _messages(self._plan.image_size, event.scale)
        if event.asks:
            self.operator.ask(event.asks)
        message = self._messages[number % len(self._messages)]
        if event.spoil:
            message = copy.copy(message)
            event.spoil(message)
        stamp = self.get_clock().now().nanoseconds - int(event.behind * 1e9)
        set_stamp(message, stamp)
        self._record.sent.append((stamp, self._record.now(), event.fault))
        self._camera.publish(message)

    def _arrived(self, message: Detection2DArray) -> None:
        self._record.arrived.append((nanoseconds(message), self._record.now()))

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{NODE}: input camera":
                self.told = {pair.key: pair.value for pair in status.values}

    def _readiness(self, message: Bool) -> None:
        self.ready = message.data


def _messages(size: tuple[int, int], scale: float) -> list[Image]:
    """Pictures of this size times `scale` as messages."""
    width, height = (round(side * scale) for side in size[::-1])
    header = Header(frame_id="camera_optical")
    return [
        image_message(header, cv2.resize(picture, (width, height)), "bgr8")
        for picture in pictures(size)
    ]


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
        record.start = time.monotonic()
        given = record, process, plan.seconds
        threading.Thread(target=_sample, args=given, daemon=True).start()
        with closing(Control(record)):
            soak.play(process)
        time.sleep(SETTLE_SECONDS)
        code = process.stop(signal.SIGTERM, STOP_SECONDS)
        wanted = re.compile(r"received|processed|pending|dropped.*|stamps backwards")
        node = {name: int(n) for name, n in soak.told.items() if wanted.fullmatch(name)}
        counts = record.counts() | {"node": node, "requests": dict(soak.operator.counts)}
        return record, counts, list(of_frames(counts, code, log.read_text()))


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


def _sample(record: Record, process: NodeProcess, seconds: float) -> None:
    """Once a second, less often in runs of hours, until the plan or the node ends."""
    while record.now() <= seconds:
        try:
            record.samples.append(sample(process.pid, record.now()))
        except OSError:
            return
        time.sleep(max(1.0, seconds / 3600))
