"""Who uses the results: notes when they arrive, and what the node says about itself."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from jointseg_msgs.msg import InferenceStats
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile

from jointseg_ros.outputs import TOPICS

NODE = "jointseg"
"""The name of the node under test."""


class Listener(Node):
    """Listens to all results that are published for every frame.

    arrived: topic -> (camera, stamp in ns) -> steady time (ns)
    stats: what came on ~/stats, oldest first
    objects: number of detections of each frame
    trouble: why the node has no model, in its words
    """

    def __init__(self, context: Context, cameras: tuple[str, ...], model_type: str) -> None:
        super().__init__("listener", context=context)
        self.stats: list[InferenceStats] = []
        self.objects: list[int] = []
        self.trouble = ""
        self.results = tuple(topic.name for topic in TOPICS[model_type] if not topic.lazy)
        self.arrived: dict[str, dict[tuple[str, int], int]] = {name: {} for name in self.results}
        self._counts: dict[str, dict[str, int]] = {}
        self._counted = -1.0  # steady seconds
        qos = QoSProfile(depth=50)
        for camera in cameras:
            for topic in TOPICS[model_type]:
                if not topic.lazy:
                    self._listen(camera, topic.name, topic.type, qos)
        self.create_subscription(InferenceStats, f"/{NODE}/stats", self.stats.append, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._diagnosed, qos)

    def _listen(self, camera: str, name: str, kind: type, qos: QoSProfile) -> None:
        def note(message: Any) -> None:
            self.arrived[name][camera, nanoseconds(message)] = time.monotonic_ns()
            if name == "detections":
                self.objects.append(len(message.detections))

        self.create_subscription(kind, f"/{NODE}/{camera}/{name}", note, qos)

    def _diagnosed(self, message: DiagnosticArray) -> None:
        inputs = [s for s in message.status if s.name.startswith(f"{NODE}: input ")]
        if inputs:
            self._counts = {s.name: _counters(s) for s in inputs}
            self._counted = time.monotonic()
        for status in message.status:
            if status.name == f"{NODE}: model" and status.level == DiagnosticStatus.ERROR:
                self.trouble = status.message

    def counts_since(self, moment: float) -> dict[str, int] | None:
        """The node's counters over all cameras, if it has told them since that steady time (s)."""
        if self._counted < moment:
            return None
        total: Counter[str] = Counter()
        for counts in list(self._counts.values()):
            total.update(counts)
        return total

    def complete(self) -> dict[tuple[str, int], int]:
        """When the last result of a frame arrived, for the frames with all of them."""
        topics = [dict(self.arrived[name]) for name in self.results]  # copies: more may come in
        frames = set.intersection(*map(set, topics))
        return {frame: max(arrived[frame] for arrived in topics) for frame in frames}

    def forget(self) -> None:
        """Start anew; to be called between two trials."""
        for arrived in self.arrived.values():
            arrived.clear()
        self.stats.clear()
        self.objects.clear()


def nanoseconds(message: Any) -> int:
    """The stamp of a message's header."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _counters(status: Any) -> dict[str, int]:
    """received, processed, pending and `dropped <reason>` of one camera."""
    wanted = ("received", "processed", "pending")
    return {
        pair.key: int(pair.value)
        for pair in status.values
        if pair.key in wanted or pair.key.startswith("dropped ")
    }
