"""Cameras, the node under test and a listener: in one process, or with the node in its own."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from benchmarks.machine import Usage
from benchmarks.ros.cameras import Cameras
from benchmarks.ros.listener import NODE, Listener
from benchmarks.ros.processes import NodeProcess, Spinning
from jointseg_core.errors import SegError
from jointseg_ros.perception_node import PerceptionNode

START_SECONDS = 180.0
"""A node may take so long to load its model and to be found."""
SETTLE_SECONDS = 60.0
"""After the last frame, the node may take so long to finish what it has."""
ON_THE_WAY_SECONDS = 0.3
"""Messages that were published need no longer to arrive."""


class BenchmarkError(SegError):
    """What stopped the benchmark, in one sentence."""


@dataclass(frozen=True)
class Setup:
    """What is measured.

    processes  "one", or "two": the node in a process of its own
    transport  "raw" (bgr8) or "compressed" (JPEG)
    image_size  (height, width)
    """

    processes: str
    transport: str
    cameras: int
    image_size: tuple[int, int]
    model: str
    weights: Path
    device: str
    precision: str

    @property
    def camera_names(self) -> tuple[str, ...]:
        """camera_1, camera_2 ..."""
        return tuple(f"camera_{number + 1}" for number in range(self.cameras))

    def parameters(self) -> dict[str, Any]:
        """Of the node; all others keep their defaults."""
        return {
            "camera_names": list(self.camera_names),
            "model.type": self.model,
            "model.weights": str(self.weights),
            "device": self.device,
            "precision": self.precision,
            **{f"cameras.{name}.transport": self.transport for name in self.camera_names},
        }


class Session:
    """The graph of one setup, ready to be measured; a context manager that leaves nothing behind.

    counts  the node's counters when it settled last
    Raises BenchmarkError when the node does not start.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.counts: dict[str, int] = {}
        self._process: NodeProcess | None = None

    def __enter__(self) -> Session:
        with ExitStack() as stack:
            stack.callback(gc.collect)  # a node leaves the network when its last handle is gone
            context = rclpy.Context()
            rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
            stack.callback(rclpy.shutdown, context=context)
            stack.callback(self._forget_nodes)
            spinning = Spinning(context)
            stack.callback(spinning.close)
            setup, names = self.setup, self.setup.camera_names
            self.cameras = Cameras(context, names, setup.transport, setup.image_size)
            spinning.add(self.cameras)
            self.listener = Listener(context, names, setup.model)
            spinning.add(self.listener)
            self._start_node(context, spinning, stack)
            self._warm_up()
            self._close = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def _forget_nodes(self) -> None:
        self.cameras = self.listener = None

    def _start_node(self, context: rclpy.Context, spinning: Spinning, stack: ExitStack) -> None:
        parameters = self.setup.parameters()
        if self.setup.processes == "one":
            given = [Parameter(name, value=value) for name, value in parameters.items()]
            spinning.add(PerceptionNode(NODE, context=context, parameter_overrides=given))
            return
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self._process = NodeProcess(NODE, parameters, Path(folder, "node.log"))
        stack.callback(self._process.stop)

    def _warm_up(self) -> None:
        """Until every camera is heard, and some frames have come back."""
        self._until(self.cameras.heard, START_SECONDS, "subscribe to the cameras")

        def came_back() -> bool:
            self.cameras.run(5, 0.5)
            return len(self.listener.complete()) >= 3 * self.setup.cameras

        self._until(came_back, START_SECONDS, "send results for the frames of the warm-up")
        self.settle()

    def usage(self) -> Usage:
        """The CPU time of the processes from now on."""
        if self._process is None:
            return Usage({"all": os.getpid()})
        return Usage({"cameras and listener": os.getpid(), "node": self._process.pid})

    def settle(self) -> None:
        """Wait until the node has no frame any more and all results are here; updates `counts`."""
        since = time.monotonic() + ON_THE_WAY_SECONDS

        def counts() -> dict[str, int] | None:
            told = self.listener.counts_since(since)
            return told if told and not told["pending"] else None

        self.counts = self._until(counts, SETTLE_SECONDS, "come to an end with its frames")
        time.sleep(ON_THE_WAY_SECONDS)

    def _until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            if self._process is not None and self._process.exit_code is not None:
                words = self._process.last_words()
                raise BenchmarkError(
                    f"the node ended instead of going on; it printed last: {words}"
                )
            if self.listener.trouble:
                raise BenchmarkError(f"the node has no model: {self.listener.trouble}")
            if time.monotonic() > end:
                raise BenchmarkError(f"the node did not {what} in {seconds:g} s")
            time.sleep(0.02)
        return value
