"""What the player and the recorder share: a node that signals stop, and a journal of JSON lines."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.node import Node

from jointseg_ros.start import start_ros


@contextmanager
def stoppable_node(name: str, stop: threading.Event) -> Iterator[Node]:
    """A node with the ROS arguments of this process; SIGINT and SIGTERM set `stop`.

    Raises BadConfig or ResourceError where ROS does not start.
    """
    start_ros()
    node = rclpy.create_node(name)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


class Journal:
    """A file of JSON objects, one a line, flushed one by one; no file without a path."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("w") if path else None

    def note(self, **values: object) -> None:
        """Add one line."""
        if self._file:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
