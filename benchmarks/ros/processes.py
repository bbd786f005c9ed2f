"""The perception node in a process of its own, and the threads that spin the nodes of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from jointseg_ros import large_images


def with_large_images(given: Mapping[str, str]) -> dict[str, str]:
    """An environment, and in it shared memory for large images; what is set already stays."""
    return {**given, **large_images.environment(large_images.profile(), given)}


class NodeProcess:
    """The node with these parameters; what it prints goes into a file."""

    def __init__(self, name: str, parameters: Mapping[str, Any], log: Path) -> None:
        given = [word for item in parameters.items() for word in ("-p", "{}:={}".format(*item))]
        command = [sys.executable, "-m", "jointseg_ros.perception_node", "--ros-args", *given]
        self._log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                [*command, "-r", f"__node:={name}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=with_large_images(os.environ),
                start_new_session=True,  # Ctrl-C comes to us alone
            )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line that it printed."""
        return (self._log.read_text(errors="replace").strip().splitlines() or ["(nothing)"])[-1]

    def stop(self, number: int = signal.SIGINT, seconds: float = 15.0) -> int | None:
        """Send a signal; the exit code, None where it did not end in time and was killed."""
        self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


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
            if hasattr(node, "close"):  # the perception node
                node.close()
            executor.shutdown()
            node.destroy_node()
