"""Ends the process where nothing else can: a batch that hangs, a stop that takes too long."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import rclpy

if TYPE_CHECKING:
    from jointseg_ros.perception_node import PerceptionNode

EXIT_RESOURCE = 5
"""What the process ends with when only a new one can go on."""
LOOKS = 0.1
"""Seconds between two looks."""
GRACE = 2.4
"""Seconds from the request to stop until the process ends, whatever it is doing."""


class Watchdog:
    """Looks after the process from a thread of its own, once rclpy is initialised.

    A thread that hangs in a library cannot be ended, only its process can. What hangs with Python's
    own lock in its hand stops this thread as well: only silence on ~/live tells of that.

    node  whom to ask; may be set later
    code  what the process should end with
    """

    def __init__(self) -> None:
        self.node: PerceptionNode | None = None
        self.code = 0
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while rclpy.ok():
            time.sleep(LOOKS)
            if self.node is not None and (reason := self.node.hopeless(time.monotonic())):
                self._give_up(self.node, reason)
                break
        time.sleep(GRACE)
        os._exit(self.code)

    def _give_up(self, node: PerceptionNode, reason: str) -> None:
        """Tell why, then stop as if somebody had asked for it."""
        self.code = EXIT_RESOURCE
        try:
            node.get_logger().fatal(f"{reason}; the process ends, to be started again")
            node.reporter.look(at_once=True)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
