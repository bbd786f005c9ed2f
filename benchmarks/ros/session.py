"""Cameras, the node under test and a listener: in one process, or with the node in its own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from benchmarks.ros.cameras import Cameras
from benchmarks.ros.listener import NODE, Listener
from benchmarks.ros.usage import Usage
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
        transports = {f"cameras.{c}.transport": self.transport for c in self.camera_names}
        return {
            "camera_names": list(self.camera_names),
            "model.type": self.model,
            "model.weights": str(self.weights),
            "device": self.device,
            "precision": self.precision,
            **transports,
        }


class Spinning:
    """Nodes of this process, each spun by a thread of its own."""

    def __init__(self, context: rclpy.Context) -> None:
        self._context = context
        self._running: list[tuple[Node, SingleThreadedExecutor, threading.Thread]] = []
        self._closing = threading.Event()

    def add(self, node: Node) -> None:
        """Spin this node from now on."""
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(node)
        thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
        thread.start()
        self._running.append((node, executor, thread))

    def _spin(self, executor: SingleThreadedExecutor) -> None:
        while not self._closing.is_set():
            executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Stop all threads, then take the nodes from the network."""
        self._closing.set()
        for _, _, thread in self._running:
            thread.join()
        while self._running:
            node, executor, _ = self._running.pop()
            if isinstance(node, PerceptionNode):
                node.close()
            executor.shutdown()
            node.destroy_node()


class Session:
    """The graph of one setup, ready to be measured; a context manager that leaves nothing behind.

    Raises BenchmarkError when the node does not start.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._process: subprocess.Popen | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed with the session
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._spinning = Spinning(self._context)
        names = setup.camera_names
        self.cameras = Cameras(self._context, names, setup.transport, setup.image_size)
        self.listener = Listener(self._context, names, setup.model)
        self.counts: dict[str, int] = {}  # of the node when it settled last

    def __enter__(self) -> Session:
        try:
            for node in (self.cameras, self.listener):
                self._spinning.add(node)
            self._start_node()
            self._warm_up()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

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

    def _start_node(self) -> None:
        parameters = self.setup.parameters()
        if self.setup.processes == "one":
            overrides = [Parameter(name, value=value) for name, value in parameters.items()]
            self._spinning.add(
                PerceptionNode(NODE, context=self._context, parameter_overrides=overrides)
            )
            return
        given = [part for item in parameters.items() for part in ("-p", "{}:={}".format(*item))]
        command = [sys.executable, "-m", "jointseg_ros.perception_node", "--ros-args"]
        self._process = subprocess.Popen(
            [*command, "-r", f"__node:={NODE}", *given],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us alone
        )

    def _warm_up(self) -> None:
        """Until every camera is heard, and some frames have come back."""
        self._until(self.cameras.heard, START_SECONDS, "subscribe to the cameras")

        def came_back() -> bool:
            self.cameras.run(5, 0.5)
            return len(self.listener.complete()) >= 3 * self.setup.cameras

        self._until(came_back, START_SECONDS, "send results for the frames of the warm-up")
        self.settle()

    def _until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            if self._process is not None and self._process.poll() is not None:
                raise BenchmarkError(f"the node ended instead of going on; {self._last_words()}")
            if self.listener.trouble:
                raise BenchmarkError(f"the node has no model: {self.listener.trouble}")
            if time.monotonic() > end:
                raise BenchmarkError(f"the node did not {what} in {seconds:g} s")
            time.sleep(0.02)
        return value

    def _last_words(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return f"it printed last: {lines[-1] if lines else '(nothing)'}"

    def _close(self) -> None:
        if self._process is not None:
            _end(self._process)
        self._spinning.close()
        del self.cameras, self.listener
        rclpy.shutdown(context=self._context)
        gc.collect()  # a node leaves the network when its last handle is gone
        self._output.close()


def _end(process: subprocess.Popen) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(15)
            return
        except subprocess.TimeoutExpired:
            continue
